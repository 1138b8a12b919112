/* SPDX-License-Identifier: MIT */
/*
 * Files of NAME=VALUE lines, as programs in Python keep their settings (".env", read as
 * python-decouple does): blanks around names and values are cut, quotes around a whole value, too;
 * of a name that stands there twice the last counts; "#" begins a comment at the beginning of a
 * line only; lines without "=" mean nothing. "export NAME=VALUE" is read, as shells do. Nothing is
 * evaluated or expanded.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define ENV_FILE_MAX  (64 * 1024) /* bytes */
#define ENV_LINES_MAX 1000        /* settings */

struct env_line {
	const char *name, *value; /* borrowed from text */
	unsigned number;
};

struct env_file {
	char *text;             /* owned */
	struct env_line *lines; /* owned; each name once */
	size_t n;
};

/* Reads a regular file. -EINVAL and others with a sentence that begins with the path. *ret is
 * written only on success. */
int env_file_read(const char *path, struct env_file *ret, struct error *err);

/* The same of text of that size; path is what to call it. */
int env_file_parse(
	const char *text, size_t size, const char *path, struct env_file *ret, struct error *err);
void env_file_clear(struct env_file *file);

/* NULL: it is not there. */
const struct env_line *env_file_find(const struct env_file *file, const char *name);
