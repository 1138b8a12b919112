/* SPDX-License-Identifier: MIT */
#include "model/pool.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

struct pool *pool_new(void)
{
	return calloc(1, sizeof(struct pool));
}

struct pool *pool_free(struct pool *pool)
{
	if (!pool)
		return NULL;
	for (size_t i = 0; i < pool->n_leases; i++)
		lease_free(pool->leases[i]);
	free(pool->leases);
	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		free(pool->gpus[slot].processes);
	free(pool);
	return NULL;
}

int pool_add(struct pool *pool, struct lease *lease)
{
	assert(pool->n_leases == 0 || pool->leases[pool->n_leases - 1]->id < lease->id);

	if (array_make_room(pool->leases, pool->n_leases, pool->allocated) < 0)
		return -ENOMEM;
	pool->leases[pool->n_leases++] = lease;
	return 0;
}

void pool_sweep(struct pool *pool)
{
	size_t kept = 0;

	for (size_t i = 0; i < pool->n_leases; i++) {
		if (pool->leases[i]->state == LEASE_ENDED)
			lease_free(pool->leases[i]);
		else
			pool->leases[kept++] = pool->leases[i];
	}
	pool->n_leases = kept;
}

int pool_slot_by_uuid(const struct pool *pool, const char *uuid)
{
	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		if (strcmp(pool->gpus[slot].uuid, uuid) == 0)
			return (int)slot;
	return -ENOENT;
}

int pool_slot_by_index(const struct pool *pool, int index)
{
	int found = -ENOENT;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		if (pool->gpus[slot].index != index)
			continue;
		if (pool->gpus[slot].present)
			return (int)slot;
		found = (int)slot;
	}
	return found;
}

int pool_add_gpu(struct pool *pool, const char *uuid)
{
	struct gpu *gpu;

	if (pool->n_gpus == GPU_MAX)
		return -ENOSPC;
	gpu = &pool->gpus[pool->n_gpus];
	*gpu = (struct gpu){
		.index = GPU_UNKNOWN,
		.minor = GPU_UNKNOWN,
		.memory_mib = GPU_UNKNOWN,
		.memory_used_mib = GPU_UNKNOWN,
		.memory_known_mib = GPU_UNKNOWN,
		.utilization = GPU_UNKNOWN,
		.temperature_c = GPU_UNKNOWN,
		.power_w = GPU_UNKNOWN,
	};
	text_copy(gpu->uuid, sizeof(gpu->uuid), uuid);
	return (int)pool->n_gpus++;
}

static void move_slot(struct gpu_set *set, unsigned from, unsigned to)
{
	bool had = gpu_set_has(set, from);

	gpu_set_remove(set, from);
	gpu_set_remove(set, to);
	if (had && from != to)
		gpu_set_add(set, to);
}

void pool_remove_gpu(struct pool *pool, unsigned slot)
{
	unsigned last = pool->n_gpus - 1;

	assert(!pool_holder(pool, slot));
	free(pool->gpus[slot].processes);
	pool->gpus[slot] = pool->gpus[last];
	pool->gpus[last].processes = NULL;
	pool->n_gpus--;
	for (unsigned i = 0; i < pool->n_gpus; i++)
		pool->gpus[i].link[slot] = pool->gpus[i].link[last];
	for (size_t i = 0; i < pool->n_leases; i++) {
		move_slot(&pool->leases[i]->gpus, last, slot);
		move_slot(&pool->leases[i]->eligible, last, slot);
	}
}

/* The first of the leases from number i on that holds the GPU. */
static struct lease *holder_from(const struct pool *pool, unsigned slot, size_t i)
{
	for (; i < pool->n_leases; i++)
		if (lease_holds(pool->leases[i]) && gpu_set_has(&pool->leases[i]->gpus, slot))
			return pool->leases[i];
	return NULL;
}

size_t pool_rank(const struct pool *pool, int64_t id)
{
	size_t low = 0, high = pool->n_leases;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pool->leases[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct lease *pool_find(const struct pool *pool, int64_t id)
{
	size_t i = pool_rank(pool, id);

	return i < pool->n_leases && pool->leases[i]->id == id ? pool->leases[i] : NULL;
}

struct lease *pool_holder(const struct pool *pool, unsigned slot)
{
	return holder_from(pool, slot, 0);
}

struct lease *pool_next_holder(const struct pool *pool, unsigned slot, const struct lease *holder)
{
	return holder_from(pool, slot, pool_rank(pool, holder->id + 1));
}

/* "processes of lease #12, which has ended, still have it open" */
static void format_revoking(const struct pool *pool, int64_t id, char dst[GPU_REASON_SIZE])
{
	const struct lease *lease = pool_find(pool, id);

	snprintf(dst, GPU_REASON_SIZE,
		"processes of lease #%" PRId64 ", which %s, still have it open", id,
		lease && lease_holds(lease) ? "gave it back" : "has ended");
}

enum gpu_state pool_gpu_state(
	const struct pool *pool, unsigned slot, char ret_reason[GPU_REASON_SIZE])
{
	const struct gpu *gpu = &pool->gpus[slot];

	*ret_reason = '\0';
	if (!gpu_works(gpu)) {
		text_copy(ret_reason, GPU_REASON_SIZE,
			gpu->fault[0] ? gpu->fault : "the sensor does not see it");
		return GPU_STATE_LOST;
	}
	if (gpu->drained) {
		text_copy(ret_reason, GPU_REASON_SIZE, gpu->drain_reason);
		return GPU_STATE_DRAINING;
	}
	if (pool_holder(pool, slot))
		return GPU_STATE_LEASED;
	if (gpu->revoking) {
		format_revoking(pool, gpu->revoking, ret_reason);
		return GPU_STATE_FOREIGN;
	}
	if (gpu_is_foreign(gpu)) {
		text_copy(ret_reason, GPU_REASON_SIZE, "in use without a lease");
		return GPU_STATE_FOREIGN;
	}
	return GPU_STATE_FREE;
}

unsigned pool_sort_gpus(
	const struct pool *pool, const struct gpu_set *set, unsigned ret_slots[GPU_MAX])
{
	unsigned n = 0;

	gpu_set_foreach (slot, set) {
		unsigned at = n++;

		for (; at > 0 && pool->gpus[ret_slots[at - 1]].index > pool->gpus[slot].index; at--)
			ret_slots[at] = ret_slots[at - 1];
		ret_slots[at] = slot;
	}
	return n;
}

void pool_format_gpus(const struct pool *pool, const struct gpu_set *set, char *dst, size_t size)
{
	unsigned slots[GPU_MAX], n_slots = pool_sort_gpus(pool, set, slots);
	size_t n = 0;

	*dst = '\0';
	for (unsigned i = 0; i < n_slots && n < size; i++)
		n += (size_t)snprintf(
			dst + n, size - n, "%s%d", n ? "," : "", pool->gpus[slots[i]].index);
}
