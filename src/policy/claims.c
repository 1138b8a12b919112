/* SPDX-License-Identifier: MIT */
/*
 * A card that is shared is, for those who want it alone, held until the last of its sharers ends.
 * Who wants a share may join at once if there is room, but by the same rule as everybody: whoever
 * claimed the card gets it in time. Without room, they claim it from when enough of the sharers
 * have ended.
 *
 * Speed: a bound is always the end of some lease, so there are few different times. They are
 * sorted once, GPUs carry ranks instead of times, and the moment at which n of them are available
 * is found by counting instead of sorting.
 */
#include "policy/claims.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What can be shared of it: nothing if that is not known. */
static uint64_t memory_of(const struct gpu *gpu)
{
	return (uint64_t)MAX(gpu->memory_mib, 0);
}

static int compare_times(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint16_t rank_of(const struct claims *claims, int64_t time_us)
{
	unsigned low = 0, high = claims->never;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (claims->times_us[middle] < time_us)
			low = middle + 1;
		else
			high = middle;
	}
	return (uint16_t)low;
}

static void rank_shares(const struct claims *claims, struct shares *shares)
{
	for (unsigned i = 0; i < shares->n; i++)
		shares->rank[i] = rank_of(claims, shares->end_us[i]);
}

/* After the times of a GPU have changed. */
static void rank_times(struct claims *claims)
{
	unsigned n = 0, unique = 1;

	claims->times_us[n++] = claims->now_us;
	gpu_set_foreach (slot, &claims->usable) {
		claims->times_us[n++] = claims->avail_us[slot];
		claims->times_us[n++] = claims->claim_us[slot];
	}
	gpu_set_foreach (slot, &claims->shared)
		for (unsigned i = 0; i < claims->shares[slot].n; i++)
			claims->times_us[n++] = claims->shares[slot].end_us[i];
	claims->times_us[n++] = TIME_NEVER;
	qsort(claims->times_us, n, sizeof(*claims->times_us), compare_times);
	for (unsigned i = 1; i < n; i++)
		if (claims->times_us[i] != claims->times_us[unique - 1])
			claims->times_us[unique++] = claims->times_us[i];
	claims->never = unique - 1;
	gpu_set_foreach (slot, &claims->usable) {
		claims->avail[slot] = rank_of(claims, claims->avail_us[slot]);
		claims->claim[slot] = rank_of(claims, claims->claim_us[slot]);
	}
	gpu_set_foreach (slot, &claims->shared)
		rank_shares(claims, &claims->shares[slot]);
	claims->version++;
}

/* When a lease that holds GPUs could give them back. */
static int64_t earliest_end(const struct lease *lease, int64_t now_us)
{
	if (lease->state == LEASE_GRACE || lease->until_us == TIME_NEVER)
		return now_us;
	return MAX(lease->until_us, now_us);
}

static void add_share(struct shares *shares, uint64_t mib, int64_t end_us)
{
	unsigned at = shares->n;

	shares->room_mib -= MIN(mib, shares->room_mib);
	if (at == CLAIMS_SHARES) {
		at--;
		mib += shares->mib[at];
		end_us = MIN(end_us, shares->end_us[at]);
		shares->n--;
	}
	for (; at > 0 && shares->end_us[at - 1] > end_us; at--) {
		shares->end_us[at] = shares->end_us[at - 1];
		shares->mib[at] = shares->mib[at - 1];
	}
	shares->end_us[at] = end_us;
	shares->mib[at] = mib;
	shares->n++;
}

/* A lease with shares that can end then has these GPUs, which are shared or free. */
static void add_sharer(
	struct claims *claims, const struct gpu_set *gpus, uint64_t mib, int64_t end_us)
{
	gpu_set_foreach (slot, gpus) {
		struct shares *shares = &claims->shares[slot];

		if (!gpu_set_has(&claims->shared, slot)) {
			gpu_set_add(&claims->shared, slot);
			shares->n = 0;
			shares->room_mib = memory_of(&claims->pool->gpus[slot]);
		}
		add_share(shares, mib, end_us);
		claims->avail_us[slot] = MAX(claims->avail_us[slot], end_us);
		if (shares->room_mib == 0)
			gpu_set_remove(&claims->open, slot);
	}
}

/* What leases hold. */
static void add_holders(struct claims *claims, struct gpu_set *ret_alone)
{
	for (size_t i = 0; i < claims->pool->n_leases; i++) {
		const struct lease *lease = claims->pool->leases[i];
		int64_t end_us = earliest_end(lease, claims->now_us);

		if (!lease_holds(lease))
			continue;
		if (lease->request.share_mib > 0) {
			add_sharer(claims, &lease->gpus, lease->request.share_mib, end_us);
			continue;
		}
		*ret_alone = gpu_set_or(*ret_alone, &lease->gpus);
		gpu_set_foreach (slot, &lease->gpus)
			claims->avail_us[slot] = MAX(claims->avail_us[slot], end_us);
	}
}

/*
 * A GPU on which something is being revoked is like one whose lease is about to end: it may be back
 * at any moment, so whoever waits for it claims it. It would not be so if it counted as foreign
 * use, for which nobody knows an end.
 */
void claims_init(struct claims *claims, const struct pool *pool, int64_t now_us)
{
	struct gpu_set held = { 0 };

	memset(claims, 0, offsetof(struct claims, shares));
	claims->pool = pool;
	claims->now_us = now_us;
	claims->least_mib = UINT64_MAX;
	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		const struct gpu *gpu = &pool->gpus[slot];

		claims->avail_us[slot] = now_us;
		claims->claim_us[slot] = TIME_NEVER;
		if (!gpu_is_healthy(gpu))
			continue;
		gpu_set_add(&claims->usable, slot);
		claims->least_mib = MIN(claims->least_mib, memory_of(gpu));
		if (gpu->revoking)
			gpu_set_add(&held, slot);
		else if (gpu_is_foreign(gpu))
			gpu_set_add(&claims->foreign, slot);
	}
	claims->open = gpu_set_minus(claims->usable, &held);
	add_holders(claims, &held);
	claims->open = gpu_set_minus(claims->open, &held);
	claims->free = gpu_set_minus(claims->usable, &held);
	claims->free = gpu_set_minus(claims->free, &claims->shared);
	claims->shared = gpu_set_minus(gpu_set_and(claims->shared, &claims->usable), &held);
	rank_times(claims);
}

/* The rank of the moment from which a card has room for a share. */
static unsigned room_from(const struct shares *shares, uint64_t mib)
{
	uint64_t room_mib = shares->room_mib;
	unsigned gone = 0;

	while (room_mib < mib && gone < shares->n)
		room_mib += shares->mib[gone++];
	return gone > 0 ? shares->rank[gone - 1] : 0;
}

/* The same for shape and a GPU, but for those who claim it. */
static unsigned available(const struct claims *claims, unsigned slot, const struct shape *shape)
{
	if (shape->share_mib == 0 || !gpu_set_has(&claims->shared, slot))
		return claims->avail[slot];
	return room_from(&claims->shares[slot], shape->share_mib);
}

/* Is there anything of it for shape, now? */
static bool has_room(const struct claims *claims, unsigned slot, const struct shape *shape)
{
	if (gpu_set_has(&claims->free, slot))
		return true;
	return shape->share_mib > 0 && gpu_set_has(&claims->shared, slot) &&
	       claims->shares[slot].room_mib >= shape->share_mib;
}

/* If shape has the GPU from that rank on, does it give it back before those who claim it? */
static bool fits_before_claim(
	const struct claims *claims, unsigned slot, unsigned from, int64_t duration_us)
{
	return claims->claim[slot] == claims->never ||
	       claims->claim_us[slot] - claims->times_us[from] >= duration_us;
}

static void claim(struct claims *claims, unsigned slot, unsigned rank)
{
	if (rank >= claims->claim[slot])
		return;
	claims->claim[slot] = (uint16_t)rank;
	claims->claim_us[slot] = claims->times_us[rank];
	if (rank == 0)
		gpu_set_remove(&claims->open, slot);
	claims->version++;
}

void claims_add(struct claims *claims, const struct shape *shape)
{
	uint16_t bound[GPU_MAX], at[CLAIMS_TIMES];
	uint8_t slots[GPU_MAX], turn[GPU_MAX];
	unsigned n = 0, start = 0, wanted = shape->count;

	memset(at, 0, (claims->never + 1) * sizeof(*at));
	/* Bits by hand: with 100 000 in the queue, gpu_set_foreach costs half as much again. */
	for (unsigned word = 0; word < GPU_SET_WORDS; word++) {
		for (uint64_t bits = shape->eligible.words[word]; bits; bits &= bits - 1) {
			unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
			unsigned from = available(claims, slot, shape);
			bool fits = fits_before_claim(claims, slot, from, shape->duration_us);

			bound[n] = fits ? (uint16_t)from : claims->claim[slot];
			turn[n] = !fits || !has_room(claims, slot, shape);
			at[bound[n]]++;
			slots[n++] = (uint8_t)slot;
		}
	}
	if (n < shape->count)
		return; /* GPUs are missing that nobody knows to come back */
	for (unsigned have = at[0]; have < shape->count; have += at[start])
		start++;
	for (unsigned i = 0; i < n; i++) {
		if (bound[i] < start) {
			claim(claims, slots[i], start);
			wanted--;
		}
	}
	for (unsigned now = 0; now < 2; now++)
		for (unsigned i = 0; i < n && wanted > 0; i++)
			if (bound[i] == start && turn[i] == now) {
				claim(claims, slots[i], start);
				wanted--;
			}
}

struct gpu_set claims_startable(const struct claims *claims, const struct shape *shape)
{
	struct gpu_set gpus = gpu_set_and(shape->eligible, &claims->open);

	if (shape->share_mib == 0)
		gpus = gpu_set_and(gpus, &claims->free);
	if (gpu_set_count(&gpus) >= shape->count)
		gpu_set_foreach (slot, &gpus)
			if (!has_room(claims, slot, shape) ||
				!fits_before_claim(claims, slot, 0, shape->duration_us))
				gpu_set_remove(&gpus, slot);
	return gpus;
}

struct shape claims_shape(const struct claims *claims, const struct lease *lease)
{
	struct shape shape = {
		.eligible = gpu_set_and(lease->eligible, &claims->usable),
		.duration_us = lease->request.duration_us,
		.share_mib = lease->request.share_mib,
		.count = lease->request.count,
	};

	if (!lease->request.force)
		shape.eligible = gpu_set_minus(shape.eligible, &claims->foreign);
	if (claims->least_mib < shape.share_mib)
		gpu_set_foreach (slot, &shape.eligible)
			if (memory_of(&claims->pool->gpus[slot]) < shape.share_mib)
				gpu_set_remove(&shape.eligible, slot);
	return shape;
}

void claims_keep(struct claims *claims, const struct gpu_set *gpus, unsigned count)
{
	gpu_set_foreach (slot, gpus)
		if (count > 0) {
			claim(claims, slot, 0);
			count--;
		}
}

void claims_take(struct claims *claims, const struct request *request, const struct gpu_set *gpus)
{
	int64_t until_us = time_add(claims->now_us, request->duration_us);
	int64_t end_us = until_us == TIME_NEVER ? claims->now_us : until_us;

	claims->free = gpu_set_minus(claims->free, gpus);
	if (request->share_mib > 0) {
		add_sharer(claims, gpus, request->share_mib, end_us);
	} else {
		claims->open = gpu_set_minus(claims->open, gpus);
		gpu_set_foreach (slot, gpus)
			claims->avail_us[slot] = end_us;
	}
	rank_times(claims);
}
