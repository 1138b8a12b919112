/* SPDX-License-Identifier: MIT */
/*
 * GPUs remember when they last did something, leases the latest of these moments: so what a lease
 * did on a GPU that it gave back, or that is lost, still counts, and what others did on its GPUs
 * before it began does not. Both only ever move forward. Those who share a card are idle together:
 * nothing tells whose work its utilisation is.
 */
#include "policy/idle.h"

#define MOVES_MIN 3

static bool has_own_process(const struct gpu *gpu)
{
	for (size_t i = 0; i < gpu->n_processes; i++)
		if (gpu->processes[i].standing == STANDING_LEASE)
			return true;
	return false;
}

/* Would it show if somebody worked on it? */
static bool tells(const struct gpu *gpu)
{
	return gpu_works(gpu) && (gpu->utilization != GPU_UNKNOWN || !gpu->processes_unknown);
}

/* A figure that was not told is compared with the next one that is. */
static bool memory_moves(struct gpu *gpu)
{
	int64_t now_mib = gpu->memory_used_mib, before_mib = gpu->memory_known_mib;
	bool moved = now_mib != GPU_UNKNOWN && before_mib != GPU_UNKNOWN && now_mib != before_mib;

	if (now_mib != GPU_UNKNOWN)
		gpu->memory_known_mib = now_mib;
	gpu->memory_moves = (uint8_t)(gpu->memory_moves << 1 | moved);
	return __builtin_popcount(gpu->memory_moves) >= MOVES_MIN;
}

void idle_note(struct gpu *gpu, int64_t now_us)
{
	bool moves = memory_moves(gpu);

	if (moves || !tells(gpu) || gpu->utilization > 0 || has_own_process(gpu) ||
		gpu->active_us == 0)
		gpu->active_us = now_us;
}

void idle_forget(struct pool *pool, int64_t now_us)
{
	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		pool->gpus[slot].active_us = now_us;
		pool->gpus[slot].memory_known_mib = GPU_UNKNOWN;
		pool->gpus[slot].memory_moves = 0;
	}
}

static int64_t last_active(const struct pool *pool, const struct lease *lease, int64_t now_us)
{
	int64_t last_us = MAX(lease->since_us, lease->active_us);

	gpu_set_foreach (slot, &lease->gpus) {
		const struct gpu *gpu = &pool->gpus[slot];

		if (gpu->active_us == 0 || !gpu_works(gpu))
			return now_us;
		last_us = MAX(last_us, gpu->active_us);
	}
	return last_us;
}

enum idle_verdict idle_judge(const struct pool *pool, struct lease *lease,
	const struct idle_limits *limits, int64_t now_us)
{
	/* What is bound to a process is as a run: it ends by itself. */
	bool bound = lease->request.bound != BOUND_NOT;
	int64_t after_us = limits->after_us[bound ? LEASE_RUN : lease->kind];

	if (lease->state != LEASE_ACTIVE || !lease_holds(lease))
		return IDLE_NOTHING;
	lease->active_us = last_active(pool, lease, now_us);
	if (after_us == 0 || now_us - lease->active_us < after_us) {
		lease->idle_release_us = 0;
		return IDLE_NOTHING;
	}
	if (lease->idle_release_us == 0) {
		lease->idle_release_us = now_us + limits->grace_us;
		return IDLE_WARN;
	}
	return now_us >= lease->idle_release_us ? IDLE_RELEASE : IDLE_NOTHING;
}
