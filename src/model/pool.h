/* SPDX-License-Identifier: MIT */
/*
 * Everything that decisions are made from: the GPUs and the leases that have not ended. Policy
 * reads it, the daemon changes it, the store keeps it.
 */
#pragma once

#include <stddef.h>

#include "model/gpu.h"
#include "model/lease.h"

struct pool {
	struct gpu gpus[GPU_MAX];
	unsigned n_gpus;
	struct lease *
		*leases; /* owned, and each of them; by rising id: the queue is in this order */
	size_t n_leases, allocated;
};

struct pool *pool_new(void);
struct pool *pool_free(struct pool *pool);
DEFINE_CLEANUP(struct pool *, pool_free)

/* Takes ownership of lease, whose id must be larger than all others. -ENOMEM leaves it with the
 * caller. */
int pool_add(struct pool *pool, struct lease *lease);

/* Frees all leases that have ended. */
void pool_sweep(struct pool *pool);

/* How many leases have an id below that. */
size_t pool_rank(const struct pool *pool, int64_t id);

/* By id, or NULL. */
struct lease *pool_find(const struct pool *pool, int64_t id);

/* The slot of a GPU by UUID, or -ENOENT. */
int pool_slot_by_uuid(const struct pool *pool, const char *uuid);

/* The slot of the GPU that people call index (one that is present, if there are several), or
 * -ENOENT. */
int pool_slot_by_index(const struct pool *pool, int index);

/* A new GPU with that UUID: all metrics unknown, not present. Returns its slot, -ENOSPC when there
 * are GPU_MAX. */
int pool_add_gpu(struct pool *pool, const char *uuid);

/* Forgets a GPU; the last one moves into its slot. No lease may hold it. */
void pool_remove_gpu(struct pool *pool, unsigned slot);

/* The lease that holds the GPU now, or NULL. Leases with shares may hold it together: then that is
 * the first of them, and pool_next_holder the one after holder, or NULL. */
struct lease *pool_holder(const struct pool *pool, unsigned slot);
struct lease *pool_next_holder(const struct pool *pool, unsigned slot, const struct lease *holder);

/* The state to show, with the reason (may be empty). A GPU on which a right that has ended is still
 * being revoked is in foreign use. */
enum gpu_state pool_gpu_state(
	const struct pool *pool, unsigned slot, char ret_reason[GPU_REASON_SIZE]);

/* Why a waiting lease may not have its turn, whatever is free: held, a begin time, what it starts
 * after, how many of its array may be active. A sentence without a full stop; false: it may. ret
 * may be NULL. Times are shown as local wall clock. */
#define POOL_BLOCKED_SIZE 128
bool pool_blocked(const struct pool *pool, const struct lease *lease, int64_t now_us,
	int64_t wall_offset_us, char ret[POOL_BLOCKED_SIZE]);

/* Both wait; does a come before b? By niceness, then turn (0 stands for the id), then id. */
bool pool_before(const struct lease *a, const struct lease *b);

/* Those who wait, blocked or not, in the order of the queue. *ret is the caller's array; -ENOMEM.
 */
int pool_queue(const struct pool *pool, struct lease ***ret, size_t *ret_n);

/* Rank among those who wait and are not blocked, 1 = next; 0 if lease is none of them. Without a
 * clock: a begin time blocks until it is cleared (DUE_BEGIN). */
size_t pool_position(const struct pool *pool, const struct lease *lease);

/* The slots of set in the order of the indices of their GPUs; returns how many. */
unsigned pool_sort_gpus(
	const struct pool *pool, const struct gpu_set *set, unsigned ret_slots[GPU_MAX]);

/* Slots as "0,1,5": indices in rising order. Buffers of GPU_LIST_SIZE always suffice. */
#define GPU_LIST_SIZE (GPU_MAX * sizeof("9999")) /* SAMPLE_INDEX_MAX, and a comma */
void pool_format_gpus(const struct pool *pool, const struct gpu_set *set, char *dst, size_t size);
