/* SPDX-License-Identifier: MIT */
/* Resource limits (getrlimit(2)): all of a process at once, and by the names that people use. */
#pragma once

#include <stdbool.h>
#include <sys/resource.h>

#include "base/error.h"

/* Soft limits that somebody asks for. */
struct limits_wanted {
	rlim_t soft[RLIM_NLIMITS];
	unsigned given; /* bit mask of resources */
};

/* Adds "nofile:4096" or "core:unlimited"; -EINVAL: there is no such limit or number, or it was
 * given before. */
int limits_parse(struct limits_wanted *wanted, const char *text, struct error *err);

struct limits {
	struct rlimit of[RLIM_NLIMITS];
};

int limits_get(struct limits *ret);
int limits_set(const struct limits *limits);

/* Sets these soft limits, lowered to the hard ones. */
int limits_lower(const struct limits_wanted *wanted);

/* Lowers the soft limit of a resource, and the hard one, too, if it is hard. */
int limits_cap(int resource, rlim_t max, bool hard);
