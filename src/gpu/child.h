/* SPDX-License-Identifier: MIT */
/* A program that the sensor runs to read what it writes: with nothing on its standard input, with
 * our standard error, and ended with us. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct child {
	pid_t pid; /* 0 = none runs */
	int fd;    /* its standard output */
};

/* Starts argv[0], a path or a name to look up in PATH. */
int child_start(struct child *child, const char *const argv[], struct error *err);

/* Reads what is there, waiting for it until the deadline (clock_monotonic_ms(); 0 = not at all).
 * Returns the number of bytes, 0 at the end, or a negative errno: -ETIMEDOUT. */
ssize_t child_read(struct child *child, void *dst, size_t size, int64_t deadline_ms);

/* Ends it and what it started, if they still run, and forgets it. Returns its wait status, or -1 if
 * none was running. */
int child_stop(struct child *child);

/* The same, but it may go on until the deadline. */
int child_wait(struct child *child, int64_t deadline_ms);
