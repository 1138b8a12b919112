/* SPDX-License-Identifier: MIT */
/*
 * A small reader of INI files: "[section]", "key = value", "#" or ";" comments on lines of their
 * own, blanks around everything ignored. No quoting, no continuation lines. Lines over
 * INI_LINE_MAX, NUL bytes and text that is not UTF-8 are errors.
 */
#pragma once

#include <stdio.h>

#include "base/error.h"

#define INI_LINE_MAX 4096

/* Called for each key in order; value may be empty. A negative return stops; err then says why
 * without the place, which ini_read puts in front as "file:line: ". */
typedef int ini_fn(
	const char *section, const char *key, const char *value, void *userdata, struct error *err);

/* Reads a whole open file; name is for messages. */
int ini_read(FILE *file, const char *name, ini_fn *fn, void *userdata, struct error *err);
