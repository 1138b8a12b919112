/* SPDX-License-Identifier: MIT */
/* May a program of the site be run with rights of ours? */
#pragma once

#include "base/error.h"

/* It must be an executable file of root (or of who we are), which nobody else can write. */
int trust_program(const char *path, struct error *err);
