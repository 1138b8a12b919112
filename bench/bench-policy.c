/* SPDX-License-Identifier: MIT */
/*
 * What one scheduling pass costs with 64 GPUs: the median of some runs, as "name value unit" lines.
 *
 *	compete      everybody wants GPUs of one kind, with one limit; some are free, the first
 *	             in the queue needs more
 *	adversarial  everybody waits for 63 busy GPUs that end at different times, each with counts
 *	             and limits of their own; one GPU of another type stays free, so the walk never
 *	             ends early
 *	mixed        types, lists, counts and limits as they come; a GPU that some of them want is
 *	             free, and one that nobody wants
 *	jobs         batch jobs, half of them for shares of cards that are shared, some held, of
 *	             several nicenesses and requeued: the queue has to be sorted
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <stdio.h>

#include "base/parse.h"
#include "policy/queue.h"

#define GPUS   64
#define NOW    (INT64_C(1000000) * USEC_PER_SEC)
#define RUNS   21
#define STARTS 64

static uint64_t random_state;

/* splitmix64: any seed is a good one. */
static uint64_t random_below(uint64_t n)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

static struct lease *add_lease(struct pool *pool, uint64_t eligible, unsigned count)
{
	struct lease *lease = lease_new();
	int r;

	assert(lease);
	lease->id = (int64_t)pool->n_leases + 1;
	lease->uid = 1000 + (uid_t)random_below(100);
	lease->eligible.words[0] = eligible;
	lease->request.count = count;
	lease->request.duration_us = TIME_NEVER;
	lease->attached = true;
	r = pool_add(pool, lease);
	assert(r == 0);
	return lease;
}

/* Each GPU of busy is held by a lease of its own, with an end of its own. */
static struct pool *make_pool(uint64_t busy)
{
	struct pool *pool = pool_new();

	assert(pool);
	for (unsigned i = 0; i < GPUS; i++) {
		char uuid[GPU_UUID_SIZE];
		int slot;

		snprintf(uuid, sizeof(uuid), "GPU-%u", i);
		slot = pool_add_gpu(pool, uuid);
		assert(slot == (int)i);
		pool->gpus[i].present = true;
		if (busy >> i & 1) {
			struct lease *lease = add_lease(pool, UINT64_C(1) << i, 1);

			lease->state = LEASE_ACTIVE;
			lease->gpus = lease->eligible;
			lease->until_us = NOW + (int64_t)(1 + random_below(86400)) * USEC_PER_SEC;
		}
	}
	return pool;
}

static int64_t random_duration(void)
{
	return (int64_t)(1 + random_below(200000)) * USEC_PER_SEC;
}

static struct pool *make_compete(size_t n)
{
	struct pool *pool = make_pool(~UINT64_C(0) << 8);

	for (size_t i = 0; i < n; i++)
		add_lease(pool, ~UINT64_C(0), i ? 8 : 16)->request.duration_us =
			90000 * USEC_PER_SEC;
	return pool;
}

static struct pool *make_adversarial(size_t n)
{
	struct pool *pool = make_pool(~UINT64_C(1));

	for (size_t i = 0; i < n; i++)
		add_lease(pool, ~UINT64_C(1), 1 + (unsigned)random_below(63))->request.duration_us =
			random_duration();
	return pool;
}

static struct pool *make_mixed(size_t n)
{
	struct pool *pool = make_pool(UINT64_C(0x7ffffffffffffff7));

	for (size_t i = 0; i < n; i++) {
		uint64_t type = UINT64_C(0xffff) << 16 * random_below(3);
		uint64_t few = type & UINT64_C(0x0303030303030303) << random_below(6);
		uint64_t eligible = random_below(3) ? type : few;
		unsigned most = (unsigned)__builtin_popcountll(eligible);
		struct lease *lease = add_lease(pool, eligible, 1 + (unsigned)random_below(most));

		if (random_below(2))
			lease->request.duration_us = random_duration();
		lease->attached = random_below(20) > 0;
	}
	return pool;
}

/* Half of the cards are shared; each has room for less than most of them want. */
static struct pool *make_jobs(size_t n)
{
	struct pool *pool = make_pool(~UINT64_C(1));

	for (unsigned slot = 0; slot < GPUS; slot++)
		pool->gpus[slot].memory_mib = 81920;
	for (size_t i = 0; i < pool->n_leases; i += 2)
		pool->leases[i]->request.share_mib = 70000;
	for (size_t i = 0; i < n; i++) {
		struct lease *lease = add_lease(pool, ~UINT64_C(1), 1 + (unsigned)random_below(4));

		lease->kind = LEASE_JOB;
		lease->job = job_new();
		assert(lease->job);
		lease->job->nice = random_below(10) ? 0 : (int)random_below(20);
		lease->job->held = random_below(20) == 0;
		lease->turn = random_below(10) ? 0 : (int64_t)(n + random_below(n));
		lease->request.share_mib = random_below(2) ? 12000 + random_below(60000) : 0;
		lease->request.duration_us = random_duration();
	}
	return pool;
}

static int64_t elapsed_ns(const struct timespec *from, const struct timespec *to)
{
	return (to->tv_sec - from->tv_sec) * INT64_C(1000000000) + to->tv_nsec - from->tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void measure(const char *shape, struct pool *(*make)(size_t n), size_t n)
{
	_cleanup_(pool_freep) struct pool *pool = make(n);
	struct queue_start starts[STARTS];
	int64_t ns[RUNS];

	for (unsigned i = 0; i < RUNS; i++) {
		struct timespec from, to;

		clock_gettime(CLOCK_MONOTONIC, &from);
		queue_pass(pool, NOW, starts, STARTS);
		clock_gettime(CLOCK_MONOTONIC, &to);
		ns[i] = elapsed_ns(&from, &to);
	}
	qsort(ns, RUNS, sizeof(*ns), compare);
	printf("policy.pass.%s.%zu %.3f ms\n", shape, n, (double)ns[RUNS / 2] / 1e6);
}

int main(void)
{
	static const struct {
		const char *name;
		struct pool *(*make)(size_t n);
	} shapes[] = { { "compete", make_compete }, { "adversarial", make_adversarial },
		{ "mixed", make_mixed }, { "jobs", make_jobs } };

	for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
		for (size_t n = 1000; n <= 100000; n *= 10)
			measure(shapes[i].name, shapes[i].make, n);
	return 0;
}
