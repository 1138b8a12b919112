/* SPDX-License-Identifier: MIT */
/* Small pools for the tests of policy. Allocation failures end the test. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "model/pool.h"

#define SEC    INT64_C(1000000)
#define MINUTE (60 * SEC)
#define HOUR   (60 * MINUTE)
#define NOW    (1000 * HOUR)

static inline struct gpu_set set_of(uint64_t bits)
{
	return (struct gpu_set){ { bits } };
}

/* Adds n healthy GPUs of a model, with UUIDs "GPU-00..", "GPU-01..". */
static inline void add_gpus(struct pool *pool, unsigned n, const char *model, int64_t memory_mib)
{
	for (unsigned i = 0; i < n; i++) {
		char uuid[GPU_UUID_SIZE];
		int slot;

		snprintf(uuid, sizeof(uuid), "GPU-%02u%02ua1b2", pool->n_gpus, pool->n_gpus);
		slot = pool_add_gpu(pool, uuid);
		assert(slot >= 0);
		pool->gpus[slot].index = slot;
		pool->gpus[slot].memory_mib = memory_mib;
		pool->gpus[slot].present = true;
		text_copy(pool->gpus[slot].model, sizeof(pool->gpus[slot].model), model);
	}
}

static inline struct pool *pool_of(unsigned n)
{
	struct pool *pool = pool_new();

	assert(pool);
	add_gpus(pool, n, "A100-SXM4-80GB", 81920);
	return pool;
}

/* Somebody without a lease starts a process on the GPU. */
static inline void use_foreign(struct pool *pool, unsigned slot)
{
	pool->gpus[slot].processes = calloc(1, sizeof(struct gpu_process));
	assert(pool->gpus[slot].processes);
	pool->gpus[slot].processes->standing = STANDING_NO_LEASE;
	pool->gpus[slot].n_processes = 1;
}

/* A waiting run of uid 1000 + id, attached, submitted NOW. */
static inline struct lease *add_waiting(
	struct pool *pool, unsigned count, uint64_t eligible, int64_t duration_us)
{
	struct lease *lease = lease_new();
	int r;

	assert(lease);
	lease->id = pool->n_leases ? pool->leases[pool->n_leases - 1]->id + 1 : 1;
	lease->uid = 1000 + (uid_t)lease->id;
	lease->request.count = count;
	lease->request.duration_us = duration_us;
	lease->request.wait_us = TIME_NEVER;
	lease->eligible = set_of(eligible);
	lease->submitted_us = NOW;
	lease->attached = true;
	r = pool_add(pool, lease);
	assert(r == 0);
	return lease;
}

/* A batch job that waits. */
static inline struct lease *add_job(struct pool *pool, unsigned count, uint64_t eligible)
{
	struct lease *lease = add_waiting(pool, count, eligible, TIME_NEVER);

	lease->kind = LEASE_JOB;
	lease->job = job_new();
	assert(lease->job);
	lease->job->name = strdup("job");
	assert(lease->job->name);
	return lease;
}

/* One that waits for a share of a GPU. */
static inline struct lease *add_share(
	struct pool *pool, uint64_t share_mib, uint64_t eligible, int64_t duration_us)
{
	struct lease *lease = add_job(pool, 1, eligible);

	lease->request.share_mib = share_mib;
	lease->request.duration_us = duration_us;
	return lease;
}

/* As add_waiting, and it holds gpus until until_us. */
static inline struct lease *add_active(
	struct pool *pool, enum lease_kind kind, uint64_t gpus, int64_t until_us)
{
	struct gpu_set set = set_of(gpus);
	struct lease *lease = add_waiting(pool, gpu_set_count(&set), gpus, TIME_NEVER);

	lease->kind = kind;
	lease->state = LEASE_ACTIVE;
	lease->gpus = set;
	lease->since_us = NOW;
	lease->until_us = until_us;
	return lease;
}
