/* SPDX-License-Identifier: MIT */
/* What people call jobs: "42", and "42.7" for an element of an array. */
#pragma once

#include "daemon/api.h"

struct job_address {
	int64_t id;    /* of a lease, or of an array */
	int64_t index; /* of an element of it; -1 = the lease itself */
};

/* An array of such texts, at least one. *ret is the caller's. OK with *ret == NULL: out of memory.
 */
struct verdict api_parse_ids(json_t *ids, struct job_address **ret, size_t *ret_n);

/* The lease in the pool that has not ended; for an element that has not started, its array. NULL:
 * there is none. */
struct lease *api_find_address(const struct manager *m, const struct job_address *address);

/* One that has ended, in memory only so far: the store will say so with the next commit, and
 * whoever waits for it is told then. NULL: there is none. */
struct lease *api_find_ending(const struct manager *m, const struct job_address *address);

/* The same of those that have ended: *ret is the caller's; NULL: there is none. */
int api_find_ended(struct manager *m, const struct job_address *address, struct lease **ret,
	struct error *err);

/* What to say when neither is there. */
struct verdict api_unknown_address(const struct job_address *address);
