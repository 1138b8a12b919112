/* SPDX-License-Identifier: MIT */
#include "policy/overuse.h"

#include "base/macro.h"

#define TOLERANCE_PART 16
#define TOLERANCE_MIN  64
#define TOLERANCE_MAX  512

uint64_t overuse_tolerance_mib(uint64_t share_mib)
{
	return MIN(MAX(share_mib / TOLERANCE_PART, TOLERANCE_MIN), TOLERANCE_MAX);
}

uint64_t overuse_used_mib(const struct gpu *gpu, int64_t lease)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < gpu->n_processes; i++)
		if (gpu->processes[i].lease == lease && gpu->processes[i].memory_mib > 0)
			sum += (uint64_t)gpu->processes[i].memory_mib;
	return sum;
}

static struct overuse find_worst(const struct pool *pool, const struct lease *lease)
{
	struct overuse worst = { 0 };

	gpu_set_foreach (slot, &lease->gpus) {
		uint64_t used_mib = pool->gpus[slot].processes_unknown
					    ? 0
					    : overuse_used_mib(&pool->gpus[slot], lease->id);

		if (used_mib > worst.used_mib)
			worst = (struct overuse){ slot, used_mib };
	}
	return worst;
}

enum overuse_verdict overuse_judge(const struct pool *pool, struct lease *lease, int64_t grace_us,
	int64_t now_us, struct overuse *ret)
{
	uint64_t share_mib = lease->request.share_mib;
	struct overuse worst;
	bool above;

	if (lease->state != LEASE_ACTIVE || !lease_holds(lease) || share_mib == 0) {
		lease->share_end_us = 0;
		return OVERUSE_NOTHING;
	}
	worst = find_worst(pool, lease);
	above = worst.used_mib > share_mib + overuse_tolerance_mib(share_mib);
	if (lease->share_end_us == 0 ? !above : now_us < lease->share_end_us)
		return OVERUSE_NOTHING;
	if (!above) {
		lease->share_end_us = 0;
		return OVERUSE_NOTHING;
	}
	*ret = worst;
	if (lease->share_end_us > 0)
		return OVERUSE_END;
	lease->share_end_us = now_us + grace_us;
	return OVERUSE_WARN;
}
