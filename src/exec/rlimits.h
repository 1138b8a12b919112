/* SPDX-License-Identifier: MIT */
/* Resource limits (getrlimit(2)): all of a process at once, and by the names that people use. */
#pragma once

#include <stdbool.h>
#include <sys/resource.h>

#include "base/error.h"

/* Soft limits that somebody asks for. */
struct rlimits_wanted {
	rlim_t soft[RLIM_NLIMITS];
	unsigned given; /* bit mask of resources */
};

/* Adds "nofile:4096" or "core:unlimited"; -EINVAL: there is no such limit or number, or it was
 * given before. */
int rlimits_parse(struct rlimits_wanted *wanted, const char *text, struct error *err);

struct rlimits {
	struct rlimit of[RLIM_NLIMITS];
};

/* All of them; of setting, the first error, and the others are set. */
int rlimits_get(struct rlimits *ret);
int rlimits_set(const struct rlimits *limits);

/* Sets these soft limits, lowered to the hard ones. */
int rlimits_lower(const struct rlimits_wanted *wanted);

/* Lowers the soft limit of a resource, and the hard one, too, if it is hard. */
int rlimits_cap(int resource, rlim_t max, bool hard);
