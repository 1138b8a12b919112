/* SPDX-License-Identifier: MIT */
/* Names of the logs of jobs, from patterns as users write them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define PATTERN_JOB     "dibs-%j.log"
#define PATTERN_ELEMENT "dibs-%A_%a.log"

/* What a pattern may name. A '/' in any of the texts becomes '_'. Between '%' and the letter of a
 * number may stand how many digits it has at least, up to ten as in Slurm: "%8j" is 00000042. */
struct pattern_values {
	int64_t id;       /* %j */
	int64_t array;    /* %A; 0: is no element, %A is its id */
	int64_t index;    /* %a; 0 where it is no element */
	const char *user; /* %u */
	const char *name; /* %x, of the job */
	const char *host; /* %h */
};

/* Writes pattern with these values to dst; "%%" is a '%'. -EINVAL: anything else after a '%', or
 * nothing to name; -ENAMETOOLONG: more than size - 1 bytes. */
int pattern_expand(const char *pattern, const struct pattern_values *values, char *dst, size_t size,
	struct error *err);
