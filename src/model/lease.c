/* SPDX-License-Identifier: MIT */
#include "model/lease.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/strtab.h"

static const char *const kinds[LEASE_KIND_MAX] = {
	[LEASE_RUN] = "run",
	[LEASE_HOLD] = "hold",
	[LEASE_JOB] = "job",
	[LEASE_BOOKING] = "booking",
};
DEFINE_STRTAB(lease_kind, enum lease_kind, kinds)

static const char *const states[LEASE_STATE_MAX] = {
	[LEASE_WAITING] = "waiting",
	[LEASE_BOOKED] = "booked",
	[LEASE_ACTIVE] = "active",
	[LEASE_GRACE] = "grace",
	[LEASE_ENDED] = "ended",
};
DEFINE_STRTAB(lease_state, enum lease_state, states)

static const char *const ends[LEASE_END_MAX] = {
	[LEASE_END_NONE] = "none",
	[LEASE_END_EXITED] = "exited",
	[LEASE_END_EXPIRED] = "expired",
	[LEASE_END_LIMIT] = "limit",
	[LEASE_END_RELEASED] = "released",
	[LEASE_END_ADMIN] = "admin",
	[LEASE_END_GONE] = "gone",
	[LEASE_END_TIMEOUT] = "timeout",
	[LEASE_END_REBOOT] = "reboot",
	[LEASE_END_IDLE] = "idle",
	[LEASE_END_FAILED] = "failed",
	[LEASE_END_NEED] = "need",
	[LEASE_END_MEMORY] = "memory",
	[LEASE_END_LOST] = "lost",
};
DEFINE_STRTAB(lease_end, enum lease_end, ends)

struct lease *lease_new(void)
{
	struct lease *lease = calloc(1, sizeof(*lease));

	if (!lease)
		return NULL;
	lease->wait_until_us = TIME_NEVER;
	lease->until_us = TIME_NEVER;
	lease->kill_us = TIME_NEVER;
	return lease;
}

struct lease *lease_free(struct lease *lease)
{
	if (!lease)
		return NULL;
	request_clear(&lease->request);
	free(lease->cgroup);
	job_free(lease->job);
	free(lease);
	return NULL;
}

void lease_label(const struct lease *lease, char dst[LEASE_LABEL_SIZE])
{
	if (lease->job && lease->job->array)
		snprintf(dst, LEASE_LABEL_SIZE, "%" PRId64 ".%" PRId64, lease->job->array,
			lease->job->index);
	else
		snprintf(dst, LEASE_LABEL_SIZE, "%" PRId64, lease->id);
}

bool lease_holds(const struct lease *lease)
{
	return (lease->state == LEASE_ACTIVE || lease->state == LEASE_GRACE) &&
	       !(lease->job && lease->job->is_array);
}
