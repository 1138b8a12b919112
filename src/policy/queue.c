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
 * A request of the same shape as one that just changed no claim changes none either, and is
 * skipped.
 */
#include "policy/queue.h"

#include <string.h>

#include "policy/claims.h"
#include "policy/pick.h"

#define MEMOS 256 /* power of two */

/* This shape was blocked and changed nothing at that version of the claims. */
struct memo {
	struct shape shape;
	uint64_t version;
};

struct pass {
	struct claims claims;
	struct memo memos[MEMOS];
};

/* Takes the GPU with the least room left out of *gpus, which is not empty. */
static unsigned take_fullest(const struct claims *claims, struct gpu_set *gpus)
{
	unsigned fullest = gpu_set_next(gpus, 0);

	gpu_set_foreach (slot, gpus)
		if (claims->shares[slot].room_mib < claims->shares[fullest].room_mib)
			fullest = slot;
	gpu_set_remove(gpus, fullest);
	return fullest;
}

/* Best fit: first the cards in use, so that others stay whole. gpus has enough. */
static struct gpu_set choose(
	const struct claims *claims, const struct gpu_set *gpus, const struct lease *lease)
{
	struct gpu_set free = gpu_set_and(*gpus, &claims->free);
	struct gpu_set shared = gpu_set_minus(*gpus, &free), chosen;
	struct gpu_set joined = { 0 };
	unsigned count = lease->request.count;

	for (; count > 0 && !gpu_set_empty(&shared); count--)
		gpu_set_add(&joined, take_fullest(claims, &shared));
	chosen = pick_gpus(claims->pool, &free, count, lease->uid);
	return gpu_set_or(chosen, &joined);
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

/* Decides about one waiting lease; true if it starts, on *ret. */
static bool consider(struct pass *pass, struct lease *lease, struct gpu_set *ret)
{
	struct claims *claims = &pass->claims;
	struct shape shape = claims_shape(claims, lease);
	uint64_t version = claims->version;
	struct gpu_set gpus;
	struct memo *memo;

	memo = &pass->memos[shape_hash(&shape) % MEMOS];
	if (memo->version == version && shape_equal(&memo->shape, &shape))
		return false;
	gpus = claims_startable(claims, &shape);
	if (gpu_set_count(&gpus) >= shape.count) {
		if (lease->attached) {
			*ret = choose(claims, &gpus, lease);
			return true;
		}
		/* Its client does not listen: nobody overtakes on count of these GPUs. */
		claims_keep(claims, &gpus, shape.count);
		return false;
	}
	claims_add(claims, &shape);
	if (claims->version == version)
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
	claims_init(&pass.claims, pool, now_us);
	memset(pass.memos, 0, sizeof(pass.memos));
	for (size_t i = 0; i < n_queue && n < max && !gpu_set_empty(&pass.claims.open); i++) {
		struct queue_start start = { .lease = queue[i] };
		size_t most;

		if (pool_blocked(pool, queue[i], now_us, 0, NULL))
			continue;
		most = MIN(queue_starts(queue[i]), max - n);
		for (; most > 0 && consider(&pass, queue[i], &start.gpus); most--) {
			claims_take(&pass.claims, &queue[i]->request, &start.gpus);
			ret[n++] = start;
		}
	}
	return n;
}
