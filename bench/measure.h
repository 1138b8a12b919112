/* SPDX-License-Identifier: MIT */
/* What the measuring programs share. All of them end with a sentence when anything fails: half a
 * measurement is none. */
#pragma once

#include <stdint.h>

#include "base/macro.h"

/* CLOCK_MONOTONIC, which all processes of a machine share. */
int64_t now_ns(void);

/* Says "program: ..." and why (errno if it is not 0), and exits with 1. */
_Noreturn void fail(const char *fmt, ...) _printf_(1, 2);

/* A number of the command line, or fails. */
unsigned number(const char *s, unsigned max);

/* A connection to a UNIX stream socket, or fails. */
int connect_unix(const char *path);

/* Sends text with its NUL and reads a reply up to its NUL into reply, or fails. */
void exchange(int fd, const char *text, char *reply, size_t size);

/* One line of nanoseconds, separated by blanks. */
void print_samples(const int64_t *ns, size_t n);
