/* SPDX-License-Identifier: MIT */
#include "policy/slice.h"

static bool is_running_job(const struct lease *lease)
{
	return lease->kind == LEASE_JOB && lease->state == LEASE_ACTIVE && lease_holds(lease);
}

size_t slice_overdue(
	const struct pool *pool, int64_t now_us, int64_t slice_us, struct lease **ret, size_t max)
{
	return 0;
}

int64_t slice_next(const struct pool *pool, int64_t now_us, int64_t slice_us)
{
	int64_t next_us = TIME_NEVER;

	for (size_t i = 0; slice_us > 0 && i < pool->n_leases; i++) {
		const struct lease *lease = pool->leases[i];

		if (is_running_job(lease) && now_us - lease->since_us < slice_us)
			next_us = MIN(next_us, lease->since_us + slice_us);
	}
	return next_us;
}
