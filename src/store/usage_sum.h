/* SPDX-License-Identifier: MIT */
/* What usage_of_lease adds up, the same for every implementation. Not for other layers. */
#pragma once

#include "store/store.h"

static inline struct usage usage_sum_empty(void)
{
	return (struct usage){ .peak_mib = GPU_UNKNOWN };
}

/* Rows come in their order: a lease that changed hands is of who had it last. *n rows before. */
static inline void usage_sum(
	struct usage *sum, int64_t *held_us, unsigned *n, const struct usage *row)
{
	bool first = (*n)++ == 0;

	sum->lease = row->lease;
	sum->kind = row->kind;
	sum->uid = row->uid;
	sum->gid = row->gid;
	sum->from_us = first ? row->from_us : MIN(sum->from_us, row->from_us);
	sum->to_us = first ? row->to_us : MAX(sum->to_us, row->to_us);
	sum->used_us += MAX(row->used_us, 0);
	sum->peak_mib = MAX(sum->peak_mib, row->peak_mib);
	sum->waited_us = first ? row->waited_us : MAX(sum->waited_us, row->waited_us);
	*held_us += row->to_us - row->from_us;
}
