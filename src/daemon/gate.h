/* SPDX-License-Identifier: MIT */
/* The ways to deny at open(); daemon/guard.c chooses one. */
#pragma once

#include "daemon/manager.h"

struct gate {
	const char *name;  /* "filter", "acl" */
	int64_t verify_us; /* apply again so often, for others may have undone it; 0 = never */
	bool remembered;   /* leaves no pins, so that it is written down that it is in force */
	char problem[400]; /* why it does not hold what it should, as of the last apply; or empty */

	/* Makes it agree with the pool. */
	int (*apply)(struct gate *gate, struct manager *m, struct error *err);

	/* What is in force stays in force. */
	void (*free)(struct gate *gate);
};

/* Both change nothing yet, and fail with a sentence where this machine cannot do it. */
int gate_filter_open(struct manager *m, struct gate **ret, struct error *err);
int gate_acl_open(struct manager *m, struct gate **ret, struct error *err);

/* Opens what the gate of that kind keeps shut, of this daemon or an earlier one with this state. */
int gate_filter_remove(struct manager *m, struct error *err);
int gate_acl_remove(struct manager *m, struct error *err);

/* May whoever has the GPU by that lease open it? Nobody gets in while something is being revoked,
 * but for those who have a share of it beside the one that ended. */
static inline bool gate_is_open(const struct manager *m, const struct lease *lease, unsigned slot)
{
	int64_t revoking = m->pool->gpus[slot].revoking;

	return revoking == 0 || (lease->request.share_mib > 0 && revoking != lease->id);
}
