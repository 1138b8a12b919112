/* SPDX-License-Identifier: MIT */
/*
 * One walk along the queue, over an account of who would be on which card: those who hold it, but
 * for leases in grace and jobs that give way, and those who come before in the queue. Whoever finds
 * room enters the account. For whoever does not, jobs past their slice leave it, those that have
 * run for longest first, until there is room; then all of them stay that were not needed after all.
 * If even without all of them there is no room, nobody gives way, and the GPUs that they could use
 * are out of reach for those behind: one that came free now would only be claimed, not used.
 */
#include "policy/slice.h"

#include <stdlib.h>

#include "policy/queue.h"

struct card {
	unsigned alone, sharers; /* how many leases have all of it, or a share */
	uint64_t shared_mib;
};

struct walk {
	const struct pool *pool;
	struct card cards[GPU_MAX];
	struct gpu_set reach; /* can be had, and nobody ahead waits for them in vain */
	struct lease **late;  /* owned; the jobs past their slice that stay so far */
	size_t n_late;        /* of them; they have run for longest first */
	struct lease **ret;   /* the caller's; those that give way */
	size_t n, max;
};

static bool is_running_job(const struct lease *lease)
{
	return lease->kind == LEASE_JOB && lease->state == LEASE_ACTIVE && lease_holds(lease);
}

static void enter(struct walk *walk, const struct request *request, const struct gpu_set *gpus)
{
	gpu_set_foreach (slot, gpus) {
		struct card *card = &walk->cards[slot];

		card->alone += request->share_mib == 0;
		card->sharers += request->share_mib > 0;
		card->shared_mib += request->share_mib;
	}
}

static void leave(struct walk *walk, const struct lease *lease)
{
	gpu_set_foreach (slot, &lease->gpus) {
		struct card *card = &walk->cards[slot];

		card->alone -= lease->request.share_mib == 0;
		card->sharers -= lease->request.share_mib > 0;
		card->shared_mib -= lease->request.share_mib;
	}
}

static bool has_room(const struct walk *walk, unsigned slot, uint64_t share_mib)
{
	const struct card *card = &walk->cards[slot];
	int64_t memory_mib = walk->pool->gpus[slot].memory_mib;

	if (card->alone > 0 || share_mib == 0)
		return card->alone + card->sharers == 0;
	return memory_mib > 0 && card->shared_mib + share_mib <= (uint64_t)memory_mib;
}

/* The GPUs that who waits could have; true if they are enough. */
static bool finds_room(const struct walk *walk, const struct lease *waiting, struct gpu_set *ret)
{
	*ret = gpu_set_and(waiting->eligible, &walk->reach);
	gpu_set_foreach (slot, ret)
		if (!has_room(walk, slot, waiting->request.share_mib))
			gpu_set_remove(ret, slot);
	return gpu_set_count(ret) >= waiting->request.count;
}

/* Of the GPUs that have room, as many as it takes; a share rather of cards that are shared. */
static void settle(struct walk *walk, const struct lease *waiting, const struct gpu_set *room)
{
	struct gpu_set taken = { 0 };
	unsigned wanted = waiting->request.count;

	for (unsigned shared = 2; shared-- > 0;)
		gpu_set_foreach (slot, room)
			if (wanted > 0 && (walk->cards[slot].sharers > 0) == shared) {
				gpu_set_add(&taken, slot);
				wanted--;
			}
	enter(walk, &waiting->request, &taken);
}

/* Would waiting be ahead if job went to the end of the queue? Elements of one array do not make way
 * for each other. */
static bool would_overtake(const struct lease *waiting, const struct lease *job)
{
	const struct job *own = waiting->job;

	if (own && job->job->array > 0 &&
		(job->job->array == waiting->id || job->job->array == own->array))
		return false;
	return (own ? own->nice : 0) <= job->job->nice;
}

static bool can_help(const struct walk *walk, const struct lease *waiting, const struct lease *job)
{
	struct gpu_set wanted = gpu_set_and(waiting->eligible, &walk->reach);

	return gpu_set_meet(&job->gpus, &wanted) && would_overtake(waiting, job);
}

/* The late jobs that are marked give way. */
static void give_way(struct walk *walk, const bool *leaves)
{
	size_t kept = 0;

	for (size_t i = 0; i < walk->n_late; i++) {
		if (!leaves[i])
			walk->late[kept++] = walk->late[i];
		else if (walk->n < walk->max)
			walk->ret[walk->n++] = walk->late[i];
	}
	walk->n_late = kept;
}

/* Makes room for who waits; false if that cannot be, and nothing has changed. */
static bool make_room(struct walk *walk, const struct lease *waiting, bool *leaves)
{
	struct gpu_set room;
	bool enough = finds_room(walk, waiting, &room);

	for (size_t i = 0; i < walk->n_late; i++) {
		leaves[i] = !enough && can_help(walk, waiting, walk->late[i]);
		if (!leaves[i])
			continue;
		leave(walk, walk->late[i]);
		enough = finds_room(walk, waiting, &room);
	}
	for (size_t i = walk->n_late; i-- > 0;) {
		if (!leaves[i])
			continue;
		enter(walk, &walk->late[i]->request, &walk->late[i]->gpus);
		leaves[i] = enough && !finds_room(walk, waiting, &room);
		if (leaves[i])
			leave(walk, walk->late[i]);
	}
	if (enough) {
		finds_room(walk, waiting, &room);
		settle(walk, waiting, &room);
		give_way(walk, leaves);
	}
	return enough;
}

static void walk_queue(struct walk *walk, struct lease **queue, size_t n, int64_t now_us)
{
	_cleanup_(freep) bool *leaves = calloc(walk->n_late, sizeof(*leaves));

	for (size_t i = 0; leaves && i < n && walk->n_late > 0 && walk->n < walk->max; i++) {
		const struct lease *waiting = queue[i];
		size_t left;

		if (!waiting->attached || pool_blocked(walk->pool, waiting, now_us, 0, NULL) ||
			!gpu_set_meet(&waiting->eligible, &walk->reach))
			continue;
		for (left = MIN(queue_starts(waiting), (size_t)GPU_MAX); left > 0; left--)
			if (!make_room(walk, waiting, leaves))
				break;
		if (left > 0)
			walk->reach = gpu_set_minus(walk->reach, &waiting->eligible);
	}
}

static int compare_since(const void *a, const void *b)
{
	const struct lease *x = *(struct lease *const *)a, *y = *(struct lease *const *)b;

	if (x->since_us != y->since_us)
		return x->since_us < y->since_us ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

/* Those who were there at since_us are late. False without memory. */
static bool walk_init(struct walk *walk, int64_t since_us)
{
	const struct pool *pool = walk->pool;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		if (gpu_is_healthy(&pool->gpus[slot]) &&
			(pool->gpus[slot].revoking || !gpu_is_foreign(&pool->gpus[slot])))
			gpu_set_add(&walk->reach, slot);
	for (size_t i = 0; i < pool->n_leases; i++) {
		struct lease *lease = pool->leases[i];

		if (lease->state != LEASE_ACTIVE || !lease_holds(lease))
			continue;
		enter(walk, &lease->request, &lease->gpus);
		if (!is_running_job(lease) || lease->since_us > since_us)
			continue;
		if (!walk->late)
			walk->late = reallocarray(NULL, pool->n_leases, sizeof(lease));
		if (!walk->late)
			return false;
		walk->late[walk->n_late++] = lease;
	}
	if (walk->n_late > 0)
		qsort(walk->late, walk->n_late, sizeof(*walk->late), compare_since);
	return true;
}

size_t slice_overdue(
	const struct pool *pool, int64_t now_us, int64_t slice_us, struct lease **ret, size_t max)
{
	_cleanup_(freep) struct lease **queue = NULL;
	struct walk walk = { .pool = pool, .ret = ret, .max = max };
	size_t n_queue;

	if (slice_us > 0 && walk_init(&walk, now_us - slice_us) && walk.n_late > 0 &&
		pool_queue(pool, &queue, &n_queue) >= 0)
		walk_queue(&walk, queue, n_queue, now_us);
	free(walk.late);
	return walk.n;
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
