/* SPDX-License-Identifier: MIT */
/* The life of one attempt to run a job, from its record to its end. */
#pragma once

#include <stddef.h>

/* bytes: an order. tell: gets a line when the record is there, and is closed when the end is in it.
 * Returns the exit status of the program: 0 if the command was executed and its end is on record.
 */
int supervise(const char *bytes, size_t size, int tell);
