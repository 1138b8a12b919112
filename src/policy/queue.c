/* SPDX-License-Identifier: MIT */
/*
 * One walk along the queue. A request that cannot start claims the GPUs that it could have first,
 * from the earliest moment at which it could have them all; whoever comes behind may use a claimed
 * GPU only if they give it back by then. That moment is taken as early as it can be: a lease
 * without a known end may end at any moment, so it counts as available now. A claim that is too
 * early costs an overtaker their chance, one that is too late would cost the one ahead their turn.
 *
 * Among requests that differ in number and duration only (those for one type, say) nobody is
 * delayed by those behind, as tests/sim checks. Where lists overlap it is a good rule only:
 * somebody ahead may need another GPU than the one that was claimed for them, or fit before a claim
 * that turns out to have been too early.
 *
 * A card that is shared is, for those who want it alone, held until the last of its sharers ends.
 * Who wants a share may join at once if there is room, but by the same rule as everybody: whoever
 * claimed the card gets it in time. Without room, they claim it from when enough of the sharers
 * have ended.
 *
 * Speed: a bound is always the end of some lease, so there are few different times. They are
 * sorted once, GPUs carry ranks instead of times, and the moment at which n of them are available
 * is found by counting instead of sorting. A request of the same shape as one that just changed no
 * claim changes none either, and is skipped.
 */
#include "policy/queue.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "policy/pick.h"

#define SHARES 16 /* whose ends are known of a card; further ones count as ending with the last */

/* Now, when each GPU comes back, when its shares do, when it is claimed, never. */
#define RANKS ((2 + SHARES) * GPU_MAX + 2)
#define MEMOS 256 /* power of two */

/* What decides how a blocked request is treated. */
struct shape {
	struct gpu_set eligible;
	int64_t duration_us;
	uint64_t share_mib;
	unsigned count;
};

/* This shape was blocked and changed nothing at that version of the claims. */
struct memo {
	struct shape shape;
	uint64_t version;
};

/* Who shares a card: the earliest end first. */
struct shares {
	uint64_t room_mib; /* that is left */
	unsigned n;
	int64_t end_us[SHARES];
	uint16_t rank[SHARES]; /* of end_us */
	uint64_t mib[SHARES];
};

struct pass {
	const struct pool *pool;
	int64_t now_us;
	struct gpu_set usable;  /* healthy, perhaps still to be given back by somebody */
	struct gpu_set foreign; /* usable, but somebody without a lease is on them */
	struct gpu_set free;    /* usable, held by nobody, nothing revoked; foreign ones, too */
	struct gpu_set shared;  /* usable, held by leases with shares only, nothing revoked */
	struct gpu_set open;    /* free, or shared with room left, and not claimed from now on */

	int64_t avail_us[GPU_MAX]; /* when it could come back at the earliest */
	int64_t claim_us[GPU_MAX]; /* from when on somebody ahead wants it */

	/* The same as ranks in times_us, which rises: [0] is now, [never] is TIME_NEVER. */
	int64_t times_us[RANKS];
	unsigned never;
	uint16_t avail[GPU_MAX], claim[GPU_MAX];

	uint64_t least_mib; /* memory of the smallest usable GPU */
	uint64_t version;   /* of free and claims; > 0 */
	struct memo memos[MEMOS];
	struct shares shares[GPU_MAX]; /* of those in shared; the others are not initialised */
};

/* What can be shared of it: nothing if that is not known. */
static uint64_t memory_of(const struct gpu *gpu)
{
	return (uint64_t)MAX(gpu->memory_mib, 0);
}

static int64_t time_add(int64_t at_us, int64_t us)
{
	int64_t sum;

	return __builtin_add_overflow(at_us, us, &sum) ? TIME_NEVER : sum;
}

static int compare_times(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint16_t rank_of(const struct pass *pass, int64_t time_us)
{
	unsigned low = 0, high = pass->never;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (pass->times_us[middle] < time_us)
			low = middle + 1;
		else
			high = middle;
	}
	return (uint16_t)low;
}

static void rank_shares(const struct pass *pass, struct shares *shares)
{
	for (unsigned i = 0; i < shares->n; i++)
		shares->rank[i] = rank_of(pass, shares->end_us[i]);
}

/* After the times of a GPU have changed. */
static void rank_times(struct pass *pass)
{
	unsigned n = 0, unique = 1;

	pass->times_us[n++] = pass->now_us;
	gpu_set_foreach (slot, &pass->usable) {
		pass->times_us[n++] = pass->avail_us[slot];
		pass->times_us[n++] = pass->claim_us[slot];
	}
	gpu_set_foreach (slot, &pass->shared)
		for (unsigned i = 0; i < pass->shares[slot].n; i++)
			pass->times_us[n++] = pass->shares[slot].end_us[i];
	pass->times_us[n++] = TIME_NEVER;
	qsort(pass->times_us, n, sizeof(*pass->times_us), compare_times);
	for (unsigned i = 1; i < n; i++)
		if (pass->times_us[i] != pass->times_us[unique - 1])
			pass->times_us[unique++] = pass->times_us[i];
	pass->never = unique - 1;
	gpu_set_foreach (slot, &pass->usable) {
		pass->avail[slot] = rank_of(pass, pass->avail_us[slot]);
		pass->claim[slot] = rank_of(pass, pass->claim_us[slot]);
	}
	gpu_set_foreach (slot, &pass->shared)
		rank_shares(pass, &pass->shares[slot]);
	pass->version++;
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
	if (at == SHARES) {
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
static void add_sharer(struct pass *pass, const struct gpu_set *gpus, uint64_t mib, int64_t end_us)
{
	gpu_set_foreach (slot, gpus) {
		struct shares *shares = &pass->shares[slot];

		if (!gpu_set_has(&pass->shared, slot)) {
			gpu_set_add(&pass->shared, slot);
			shares->n = 0;
			shares->room_mib = memory_of(&pass->pool->gpus[slot]);
		}
		add_share(shares, mib, end_us);
		pass->avail_us[slot] = MAX(pass->avail_us[slot], end_us);
		if (shares->room_mib == 0)
			gpu_set_remove(&pass->open, slot);
	}
}

/* What leases hold. */
static void add_holders(struct pass *pass, struct gpu_set *ret_alone)
{
	for (size_t i = 0; i < pass->pool->n_leases; i++) {
		const struct lease *lease = pass->pool->leases[i];
		int64_t end_us = earliest_end(lease, pass->now_us);

		if (!lease_holds(lease))
			continue;
		if (lease->request.share_mib > 0) {
			add_sharer(pass, &lease->gpus, lease->request.share_mib, end_us);
			continue;
		}
		*ret_alone = gpu_set_or(*ret_alone, &lease->gpus);
		gpu_set_foreach (slot, &lease->gpus)
			pass->avail_us[slot] = MAX(pass->avail_us[slot], end_us);
	}
}

/*
 * A GPU on which something is being revoked is like one whose lease is about to end: it may be back
 * at any moment, so whoever waits for it claims it. It would not be so if it counted as foreign
 * use, for which nobody knows an end.
 */
static void pass_init(struct pass *pass, const struct pool *pool, int64_t now_us)
{
	struct gpu_set held = { 0 };

	memset(pass, 0, offsetof(struct pass, shares));
	pass->pool = pool;
	pass->now_us = now_us;
	pass->least_mib = UINT64_MAX;
	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		const struct gpu *gpu = &pool->gpus[slot];

		pass->avail_us[slot] = now_us;
		pass->claim_us[slot] = TIME_NEVER;
		if (!gpu_is_healthy(gpu))
			continue;
		gpu_set_add(&pass->usable, slot);
		pass->least_mib = MIN(pass->least_mib, memory_of(gpu));
		if (gpu->revoking)
			gpu_set_add(&held, slot);
		else if (gpu_is_foreign(gpu))
			gpu_set_add(&pass->foreign, slot);
	}
	pass->open = gpu_set_minus(pass->usable, &held);
	add_holders(pass, &held);
	pass->open = gpu_set_minus(pass->open, &held);
	pass->free = gpu_set_minus(pass->usable, &held);
	pass->free = gpu_set_minus(pass->free, &pass->shared);
	pass->shared = gpu_set_minus(gpu_set_and(pass->shared, &pass->usable), &held);
	rank_times(pass);
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
static unsigned available(const struct pass *pass, unsigned slot, const struct shape *shape)
{
	if (shape->share_mib == 0 || !gpu_set_has(&pass->shared, slot))
		return pass->avail[slot];
	return room_from(&pass->shares[slot], shape->share_mib);
}

/* Is there anything of it for shape, now? */
static bool has_room(const struct pass *pass, unsigned slot, const struct shape *shape)
{
	if (gpu_set_has(&pass->free, slot))
		return true;
	return shape->share_mib > 0 && gpu_set_has(&pass->shared, slot) &&
	       pass->shares[slot].room_mib >= shape->share_mib;
}

/* If shape has the GPU from that rank on, does it give it back before those who claim it? */
static bool fits_before_claim(
	const struct pass *pass, unsigned slot, unsigned from, int64_t duration_us)
{
	return pass->claim[slot] == pass->never ||
	       pass->claim_us[slot] - pass->times_us[from] >= duration_us;
}

static void claim(struct pass *pass, unsigned slot, unsigned rank)
{
	if (rank >= pass->claim[slot])
		return;
	pass->claim[slot] = (uint16_t)rank;
	pass->claim_us[slot] = pass->times_us[rank];
	if (rank == 0)
		gpu_set_remove(&pass->open, slot);
	pass->version++;
}

/*
 * Claims what a request that cannot start could have first: all GPUs that it could have before the
 * start, and of those that it could have just then as many as it takes. The ones that it could use
 * now, if only there were more of them, come first: one that is claimed already may stay with those
 * ahead, and somebody behind would get the better one.
 */
static void claim_earliest(struct pass *pass, const struct shape *shape)
{
	uint16_t bound[GPU_MAX], at[RANKS];
	uint8_t slots[GPU_MAX], turn[GPU_MAX];
	unsigned n = 0, start = 0, wanted = shape->count;

	memset(at, 0, (pass->never + 1) * sizeof(*at));
	/* Bits by hand: with 100 000 in the queue, gpu_set_foreach costs half as much again. */
	for (unsigned word = 0; word < GPU_SET_WORDS; word++) {
		for (uint64_t bits = shape->eligible.words[word]; bits; bits &= bits - 1) {
			unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
			unsigned from = available(pass, slot, shape);
			bool fits = fits_before_claim(pass, slot, from, shape->duration_us);

			bound[n] = fits ? (uint16_t)from : pass->claim[slot];
			turn[n] = !fits || !has_room(pass, slot, shape);
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
			claim(pass, slots[i], start);
			wanted--;
		}
	}
	for (unsigned now = 0; now < 2; now++)
		for (unsigned i = 0; i < n && wanted > 0; i++)
			if (bound[i] == start && turn[i] == now) {
				claim(pass, slots[i], start);
				wanted--;
			}
}

/* The GPUs that shape can have now without delaying anybody ahead. */
static struct gpu_set startable(const struct pass *pass, const struct shape *shape)
{
	struct gpu_set gpus = gpu_set_and(shape->eligible, &pass->open);

	if (shape->share_mib == 0)
		gpus = gpu_set_and(gpus, &pass->free);
	if (gpu_set_count(&gpus) >= shape->count)
		gpu_set_foreach (slot, &gpus)
			if (!has_room(pass, slot, shape) ||
				!fits_before_claim(pass, slot, 0, shape->duration_us))
				gpu_set_remove(&gpus, slot);
	return gpus;
}

/* Takes the GPU with the least room left out of *gpus, which is not empty. */
static unsigned take_fullest(const struct pass *pass, struct gpu_set *gpus)
{
	unsigned fullest = gpu_set_next(gpus, 0);

	gpu_set_foreach (slot, gpus)
		if (pass->shares[slot].room_mib < pass->shares[fullest].room_mib)
			fullest = slot;
	gpu_set_remove(gpus, fullest);
	return fullest;
}

/* Best fit: first the cards in use, so that others stay whole. gpus has enough. */
static struct gpu_set choose(
	const struct pass *pass, const struct gpu_set *gpus, const struct lease *lease)
{
	struct gpu_set free = gpu_set_and(*gpus, &pass->free);
	struct gpu_set shared = gpu_set_minus(*gpus, &free), chosen;
	struct gpu_set joined = { 0 };
	unsigned count = lease->request.count;

	for (; count > 0 && !gpu_set_empty(&shared); count--)
		gpu_set_add(&joined, take_fullest(pass, &shared));
	chosen = pick_gpus(pass->pool, &free, count, lease->uid);
	return gpu_set_or(chosen, &joined);
}

/* It could start, but its client does not listen: nobody overtakes on count of these GPUs. */
static void keep_place(struct pass *pass, const struct gpu_set *gpus, unsigned count)
{
	gpu_set_foreach (slot, gpus)
		if (count > 0) {
			claim(pass, slot, 0);
			count--;
		}
}

static void take(struct pass *pass, const struct queue_start *start)
{
	const struct request *request = &start->lease->request;
	int64_t until_us = time_add(pass->now_us, request->duration_us);
	int64_t end_us = until_us == TIME_NEVER ? pass->now_us : until_us;

	pass->free = gpu_set_minus(pass->free, &start->gpus);
	if (request->share_mib > 0) {
		add_sharer(pass, &start->gpus, request->share_mib, end_us);
	} else {
		pass->open = gpu_set_minus(pass->open, &start->gpus);
		gpu_set_foreach (slot, &start->gpus)
			pass->avail_us[slot] = end_us;
	}
	rank_times(pass);
}

static uint64_t shape_hash(const struct shape *shape)
{
	uint64_t hash = ((uint64_t)shape->duration_us ^ shape->share_mib << 40) +
			shape->count * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		hash = (hash ^ shape->eligible.words[i]) * UINT64_C(0xff51afd7ed558ccd);
	return hash >> 32;
}

static bool shape_equal(const struct shape *a, const struct shape *b)
{
	return a->count == b->count && a->duration_us == b->duration_us &&
	       a->share_mib == b->share_mib &&
	       memcmp(&a->eligible, &b->eligible, sizeof(a->eligible)) == 0;
}

static struct shape shape_of(const struct pass *pass, const struct lease *lease)
{
	struct shape shape = {
		.eligible = gpu_set_and(lease->eligible, &pass->usable),
		.duration_us = lease->request.duration_us,
		.share_mib = lease->request.share_mib,
		.count = lease->request.count,
	};

	if (!lease->request.force)
		shape.eligible = gpu_set_minus(shape.eligible, &pass->foreign);
	if (pass->least_mib < shape.share_mib)
		gpu_set_foreach (slot, &shape.eligible)
			if (memory_of(&pass->pool->gpus[slot]) < shape.share_mib)
				gpu_set_remove(&shape.eligible, slot);
	return shape;
}

/* Decides about one waiting lease; true if it starts, on *ret. */
static bool consider(struct pass *pass, struct lease *lease, struct gpu_set *ret)
{
	struct shape shape = shape_of(pass, lease);
	uint64_t version = pass->version;
	struct gpu_set gpus;
	struct memo *memo;

	memo = &pass->memos[shape_hash(&shape) % MEMOS];
	if (memo->version == version && shape_equal(&memo->shape, &shape))
		return false;
	gpus = startable(pass, &shape);
	if (gpu_set_count(&gpus) >= shape.count) {
		if (lease->attached) {
			*ret = choose(pass, &gpus, lease);
			return true;
		}
		keep_place(pass, &gpus, shape.count);
		return false;
	}
	claim_earliest(pass, &shape);
	if (pass->version == version)
		*memo = (struct memo){ shape, version };
	return false;
}

size_t queue_starts(const struct lease *lease)
{
	const struct job *job = lease->job;

	if (!job || !job->is_array)
		return 1;
	return MIN(indices_count(&job->pending), (size_t)job_room(job));
}

size_t queue_pass(const struct pool *pool, int64_t now_us, struct queue_start *ret, size_t max)
{
	_cleanup_(freep) struct lease **queue = NULL;
	struct pass pass;
	size_t n = 0, n_queue;

	if (pool_queue(pool, &queue, &n_queue) < 0)
		return 0;
	pass_init(&pass, pool, now_us);
	for (size_t i = 0; i < n_queue && n < max && !gpu_set_empty(&pass.open); i++) {
		struct queue_start start = { .lease = queue[i] };
		size_t most;

		if (pool_blocked(pool, queue[i], now_us, 0, NULL))
			continue;
		most = MIN(queue_starts(queue[i]), max - n);
		for (; most > 0 && consider(&pass, queue[i], &start.gpus); most--) {
			take(&pass, &start);
			ret[n++] = start;
		}
	}
	return n;
}
