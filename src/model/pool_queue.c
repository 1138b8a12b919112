/* SPDX-License-Identifier: MIT */
/*
 * The order of the queue. Mostly it is that of the numbers, in which the pool keeps its leases;
 * only niceness, and who went to the end of the queue, make it another one. So it is sorted when it
 * is asked for, if at all, by keys that are gathered first: a comparison that follows pointers
 * costs more than the sorting.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"
#include "model/pool.h"

struct key {
	int64_t nice, turn;
	struct lease *lease; /* borrowed */
};

static struct key key_of(const struct lease *lease)
{
	return (struct key){
		.nice = lease->job ? lease->job->nice : 0,
		.turn = lease->turn ? lease->turn : lease->id,
		.lease = (struct lease *)lease,
	};
}

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->nice != y->nice)
		return x->nice < y->nice ? -1 : 1;
	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
	return (x->lease->id > y->lease->id) - (x->lease->id < y->lease->id);
}

bool pool_before(const struct lease *a, const struct lease *b)
{
	const struct key x = key_of(a), y = key_of(b);

	return compare_keys(&x, &y) < 0;
}

static int sort(struct lease **leases, size_t n)
{
	struct key *keys = reallocarray(NULL, n, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		keys[i] = key_of(leases[i]);
	qsort(keys, n, sizeof(*keys), compare_keys);
	for (size_t i = 0; i < n; i++)
		leases[i] = keys[i].lease;
	free(keys);
	return 0;
}

int pool_queue(const struct pool *pool, struct lease ***ret, size_t *ret_n)
{
	_cleanup_(freep) struct lease **leases = NULL;
	bool sorted = true;
	struct key last = { 0 };
	size_t n = 0;

	leases = reallocarray(NULL, MAX(pool->n_leases, (size_t)1), sizeof(*leases));
	if (!leases)
		return -ENOMEM;
	for (size_t i = 0; i < pool->n_leases; i++) {
		struct key key;

		if (pool->leases[i]->state != LEASE_WAITING)
			continue;
		key = key_of(pool->leases[i]);
		sorted = sorted && (n == 0 || compare_keys(&last, &key) < 0);
		leases[n++] = pool->leases[i];
		last = key;
	}
	if (!sorted && sort(leases, n) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(leases);
	*ret_n = n;
	return 0;
}

static bool has_place(const struct pool *pool, const struct lease *lease)
{
	return lease->state == LEASE_WAITING && !pool_blocked(pool, lease, 0, 0, NULL);
}

size_t pool_position(const struct pool *pool, const struct lease *lease)
{
	size_t position = 1;

	if (!has_place(pool, lease))
		return 0;
	for (size_t i = 0; i < pool->n_leases; i++)
		position += has_place(pool, pool->leases[i]) && pool_before(pool->leases[i], lease);
	return position;
}

static bool is_full(const struct job *job)
{
	return job->is_array && job_room(job) == 0;
}

/* "it starts after #41 and 2 more" */
static void say_why(const struct lease *lease, int64_t now_us, int64_t wall_offset_us,
	char ret[POOL_BLOCKED_SIZE])
{
	const struct job *job = lease->job;
	char at[MOMENT_TEXT_SIZE], label[LEASE_LABEL_SIZE], more[32] = "";

	if (job->held) {
		lease_label(lease, label);
		snprintf(ret, POOL_BLOCKED_SIZE, "it is held until 'dibs resume %s'", label);
	} else if (job->begin_us > now_us) {
		format_moment(at, job->begin_us + wall_offset_us, now_us + wall_offset_us);
		snprintf(ret, POOL_BLOCKED_SIZE, "it is not to start before %s", at);
	} else if (job->n_needs > 0) {
		if (job->n_needs > 1)
			snprintf(more, sizeof(more), " and %zu more", job->n_needs - 1);
		snprintf(ret, POOL_BLOCKED_SIZE, "it starts after #%" PRId64 "%s", job->needs[0].id,
			more);
	} else {
		snprintf(ret, POOL_BLOCKED_SIZE, "%u of it are active, as many as may be at a time",
			job->n_active);
	}
}

bool pool_blocked(const struct pool *pool, const struct lease *lease, int64_t now_us,
	int64_t wall_offset_us, char ret[POOL_BLOCKED_SIZE])
{
	const struct job *job = lease->job;

	(void)pool;
	if (!job || (!job->held && job->begin_us <= now_us && job->n_needs == 0 && !is_full(job)))
		return false;
	if (ret)
		say_why(lease, now_us, wall_offset_us, ret);
	return true;
}
