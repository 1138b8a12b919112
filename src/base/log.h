/* SPDX-License-Identifier: MIT */
/*
 * One line a message on stderr, with the priority prefix that the journal understands when stderr
 * is the journal (sd-daemon(3)). Only programs log, and only the layer that stops an error;
 * libraries are silent.
 */
#pragma once

#include "base/macro.h"

void log_error(const char *fmt, ...) _printf_(1, 2);
void log_warning(const char *fmt, ...) _printf_(1, 2);
void log_info(const char *fmt, ...) _printf_(1, 2);
