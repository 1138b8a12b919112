/* SPDX-License-Identifier: MIT */
/*
 * Overtaking must cost nobody anything. The same requests are played twice: all of them, and only
 * the first k. When all durations are honoured exactly, whatever comes behind the first k must not
 * make one of them start later.
 *
 * That is a promise where each request asks for GPUs of one type: one free GPU is as good as
 *another. Where everybody lists the GPUs they want, or can choose from a few, even the choice
 *between two free GPUs makes somebody's turn earlier or later; there it must be rare.
 *
 *	sim-backfill [SEED]	plays one scenario only
 */
#include <assert.h>
#include <inttypes.h>

#include "base/parse.h"
#include "policy/queue.h"
#include "policy/transition.h"
#include "tests/sim/rng.h"
#include "tests/unit/tap.h"

#define REQUESTS  120
#define SCENARIOS 60
#define PREFIXES  12
#define TYPES     2
#define PER_TYPE  6
#define START     (1000 * USEC_PER_SEC)

struct wish {
	int64_t arrival_us, duration_us;
	uint64_t eligible;
	unsigned count;
	uid_t uid;
};

/* Which GPUs do for a request for count of them? */
typedef uint64_t (*wish_fn)(struct rng *rng, unsigned count);

struct tally {
	unsigned overtaken, compared, delayed;
};

static uint64_t only_seed;

static uint64_t random_type(struct rng *rng, unsigned count)
{
	return ((UINT64_C(1) << PER_TYPE) - 1) << PER_TYPE * rng_below(rng, TYPES);
}

static uint64_t random_list(struct rng *rng, unsigned count)
{
	uint64_t list = 0;

	while (__builtin_popcountll(list) < (int)count)
		list |= UINT64_C(1) << rng_below(rng, TYPES * PER_TYPE);
	return list;
}

/* Any of some GPUs, perhaps of both types. */
static uint64_t random_choice(struct rng *rng, unsigned count)
{
	return random_list(rng, count + 2);
}

static void make_wishes(struct rng *rng, wish_fn eligible, struct wish wishes[REQUESTS])
{
	int64_t at_us = START;

	for (unsigned i = 0; i < REQUESTS; i++) {
		unsigned count = 1 + (unsigned)rng_below(rng, PER_TYPE);

		at_us += rng_time(rng, 20) * USEC_PER_SEC;
		wishes[i] = (struct wish){
			.arrival_us = at_us,
			.duration_us = rng_time(rng, 60) * USEC_PER_SEC,
			.eligible = eligible(rng, count),
			.count = count,
			.uid = 1000 + (uid_t)rng_below(rng, 5),
		};
	}
}

static void arrive(struct pool *pool, const struct wish *wish)
{
	struct lease *lease = lease_new();
	int r;

	assert(lease);
	lease->id = pool->n_leases ? pool->leases[pool->n_leases - 1]->id + 1 : 1;
	lease->kind = LEASE_HOLD;
	lease->uid = wish->uid;
	lease->attached = true;
	lease->request.count = wish->count;
	lease->request.duration_us = wish->duration_us;
	lease->eligible.words[0] = wish->eligible;
	r = pool_add(pool, lease);
	assert(r == 0);
}

static void end_what_is_over(struct pool *pool, int64_t now_us)
{
	int64_t next_us;

	for (size_t i = 0; i < pool->n_leases; i++)
		if (transition_due(pool->leases[i], now_us, &next_us) == DUE_EXPIRE)
			transition_end(pool, pool->leases[i], LEASE_END_EXPIRED, now_us);
}

static int64_t next_end(const struct pool *pool)
{
	int64_t next_us = TIME_NEVER;

	for (size_t i = 0; i < pool->n_leases; i++)
		if (pool->leases[i]->state == LEASE_ACTIVE)
			next_us = MIN(next_us, pool->leases[i]->until_us);
	return next_us;
}

/* Plays the first n wishes to the end; when each started. */
static void play(const struct wish *wishes, unsigned n, int64_t started_us[REQUESTS])
{
	_cleanup_(pool_freep) struct pool *pool = pool_new();
	struct queue_start starts[REQUESTS];
	unsigned arrived = 0, begun = 0;

	assert(pool);
	for (unsigned i = 0; i < TYPES * PER_TYPE; i++) {
		char uuid[] = { 'G', (char)('a' + i), '\0' };

		pool->gpus[pool_add_gpu(pool, uuid)].present = true;
	}
	while (begun < n) {
		int64_t now_us = next_end(pool);
		size_t n_starts;

		if (arrived < n)
			now_us = MIN(now_us, wishes[arrived].arrival_us);
		assert(now_us != TIME_NEVER);
		end_what_is_over(pool, now_us);
		while (arrived < n && wishes[arrived].arrival_us == now_us)
			arrive(pool, &wishes[arrived++]);
		n_starts = queue_pass(pool, now_us, starts, REQUESTS);
		for (size_t i = 0; i < n_starts; i++) {
			transition_grant(starts[i].lease, &starts[i].gpus, now_us);
			started_us[starts[i].lease->id - 1] = now_us;
			begun++;
		}
	}
}

/* How many of the first k started later because of those behind them; tells about the first. */
static unsigned count_delayed(
	uint64_t seed, const struct wish *wishes, const int64_t *with, unsigned k)
{
	int64_t without[REQUESTS];
	unsigned n = 0;

	play(wishes, k, without);
	for (unsigned i = 0; i < k; i++)
		if (with[i] > without[i] && n++ == 0)
			printf("# #%u started %" PRId64 " s later because of those behind #%u; "
			       "repeat with: sim-backfill %" PRIu64 "\n",
				i + 1, (with[i] - without[i]) / USEC_PER_SEC, k, seed);
	return n;
}

static void play_scenario(uint64_t seed, wish_fn eligible, struct tally *tally)
{
	struct rng rng = { seed };
	struct wish wishes[REQUESTS];
	int64_t with[REQUESTS];

	make_wishes(&rng, eligible, wishes);
	play(wishes, REQUESTS, with);
	for (unsigned i = 1; i < REQUESTS; i++)
		tally->overtaken += with[i] < with[i - 1];
	for (unsigned i = 0; i < PREFIXES; i++) {
		unsigned k = 1 + (unsigned)rng_below(&rng, REQUESTS - 1);

		tally->compared += k;
		tally->delayed += count_delayed(seed, wishes, with, k);
	}
}

static struct tally play_scenarios(wish_fn eligible)
{
	uint64_t first = only_seed ? only_seed : 1, last = only_seed ? only_seed : SCENARIOS;
	struct tally tally = { 0 };

	for (uint64_t seed = first; seed <= last; seed++)
		play_scenario(seed, eligible, &tally);
	printf("# %u overtaken; %u of %u starts delayed\n", tally.overtaken, tally.delayed,
		tally.compared);
	CHECK(tally.overtaken > 0);
	return tally;
}

static void by_type_nobody_is_delayed(void)
{
	CHECK_INT(play_scenarios(random_type).delayed, 0);
}

static void by_list_hardly_anybody_is_delayed(void)
{
	struct tally tally = play_scenarios(random_list);

	CHECK(tally.delayed <= tally.compared / 1000);
}

static void by_choice_few_are_delayed(void)
{
	struct tally tally = play_scenarios(random_choice);

	CHECK(tally.delayed <= tally.compared / 100);
}

int main(int argc, char **argv)
{
	if (argc > 1 && parse_uint(argv[1], 1, UINT64_MAX, &only_seed) < 0)
		return 2;
	TEST(by_type_nobody_is_delayed);
	TEST(by_list_hardly_anybody_is_delayed);
	TEST(by_choice_few_are_delayed);
	return tap_done();
}
