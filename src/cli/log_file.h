/* SPDX-License-Identifier: MIT */
/* The output of a job in a file, which may grow, be cut short or be replaced while it is read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Where it is printed to. */
struct log_sink {
	int fd; /* whose reader may go away */
	/* Takes all n bytes, or fails (negative errno). NULL: they are written to fd as they are.
	 */
	int (*put)(void *userdata, const char *text, size_t n);
	void *userdata; /* borrowed */
};

struct log_file {
	const char *path; /* borrowed */
	int fd;
	int64_t offset; /* of what was not printed yet */
	bool tame;      /* nothing is printed that a terminal would obey */
	bool utf8;      /* ... which knows UTF-8 */
	bool after_c2;  /* ... and got half a character, that may be a control character */
};

/* Opens it with the rights of the caller, to be read from offset on; from its beginning if it is
 * shorter. Nothing but a regular file is opened, as opening others may do something. Negative errno
 * with a sentence. tame and utf8 are the caller's to set. */
int log_file_open(struct log_file *file, const char *path, int64_t offset, struct error *err);
void log_file_close(struct log_file *file);

/* Skips all but the last lines of what there is. Negative errno. */
int log_file_tail(struct log_file *file, uint64_t lines);

/* Prints what there is by now. Negative errno: of reading, or -EPIPE for all that went wrong with
 * the output. */
int log_file_print(struct log_file *file, const struct log_sink *out);

/* The same for one that is followed: from the beginning again if it was cut short, and then what is
 * in a new file of that name. */
int log_file_follow(struct log_file *file, const struct log_sink *out);

/* A descriptor that becomes readable when something happened to it, or to its name; -1 if that
 * cannot be had. */
int log_file_watch(const struct log_file *file);

/* Is that to be relied on? Not where other hosts may write. */
bool log_file_is_local(const struct log_file *file);
