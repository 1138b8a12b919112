/* SPDX-License-Identifier: MIT */
#include "policy/queue.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/policy/starts.h"
#include "tests/unit/tap.h"

static void nothing_to_do(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2), *empty = pool_of(0);

	CHECK_STR(starts(pool), "");
	CHECK_STR(starts(empty), "");
	add_active(pool, LEASE_RUN, 3, TIME_NEVER);
	add_waiting(pool, 1, 3, TIME_NEVER);
	CHECK_STR(starts(pool), "");
}

static void in_order_while_there_are_gpus(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	add_waiting(pool, 2, 0xf, TIME_NEVER);
	add_waiting(pool, 1, 0xf, TIME_NEVER);
	add_waiting(pool, 1, 0xf, HOUR);
	add_waiting(pool, 1, 0xf, HOUR);
	CHECK_STR(starts(pool), "1:0,1 2:2 3:3");
}

static void at_most_max(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct queue_start started[1];

	add_waiting(pool, 1, 0xf, TIME_NEVER);
	add_waiting(pool, 1, 0xf, TIME_NEVER);
	CHECK_INT(queue_pass(pool, NOW, started, 1), 1);
	CHECK_INT(started[0].lease->id, 1);
	CHECK_INT(queue_pass(pool, NOW, started, 0), 0);
}

static void does_not_change_the_pool(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_waiting(pool, 1, 1, HOUR);

	CHECK_STR(starts(pool), "1:0");
	CHECK_INT(lease->state, LEASE_WAITING);
	CHECK(gpu_set_empty(&lease->gpus));
	CHECK_STR(starts(pool), "1:0");
}

/* The first one waits for a second GPU that may come at any moment: nobody takes its first. */
static void nobody_overtakes_without_a_known_end(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	add_waiting(pool, 2, 3, HOUR);
	add_waiting(pool, 1, 3, SEC);
	CHECK_STR(starts(pool), "");
}

/* Those who still have a GPU open may let go of it at any moment, whoever they are. */
static void nobody_gets_what_is_being_revoked(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *first = add_waiting(pool, 2, 3, HOUR), *second = add_waiting(pool, 1, 3, SEC);

	pool->gpus[0].revoking = 99;
	CHECK_STR(starts(pool), "");
	use_foreign(pool, 0);
	CHECK_STR(starts(pool), "");
	first->request.force = second->request.force = true;
	CHECK_STR(starts(pool), "");
	first->state = LEASE_ENDED;
	CHECK_STR(starts(pool), "2:1");
	second->eligible = set_of(1);
	CHECK_STR(starts(pool), "");
	pool->gpus[0].revoking = 0;
	CHECK_STR(starts(pool), "2:0");
	second->request.force = false;
	CHECK_STR(starts(pool), "");
}

static void others_types_are_overtaken(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	add_waiting(pool, 1, 1, TIME_NEVER);
	add_waiting(pool, 2, 3, TIME_NEVER);
	add_waiting(pool, 1, 6, TIME_NEVER);
	CHECK_STR(starts(pool), "4:2");
}

static void backfill_up_to_the_moment_of_the_one_ahead(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *later;

	add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	add_waiting(pool, 2, 3, TIME_NEVER);
	later = add_waiting(pool, 1, 3, HOUR);
	CHECK_STR(starts(pool), "3:1");
	later->request.duration_us = HOUR + 1;
	CHECK_STR(starts(pool), "");
	later->request.duration_us = TIME_NEVER;
	CHECK_STR(starts(pool), "");
}

/* The one ahead could start at the end of the first hold already. */
static void earliest_moment_counts(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);
	struct lease *later;

	add_active(pool, LEASE_HOLD, 1, NOW + 3 * HOUR);
	add_active(pool, LEASE_HOLD, 2, NOW + HOUR);
	add_waiting(pool, 2, 7, TIME_NEVER);
	later = add_waiting(pool, 1, 7, 2 * HOUR);
	CHECK_STR(starts(pool), "");
	later->request.duration_us = HOUR;
	CHECK_STR(starts(pool), "4:2");
}

/* A hold that is over, or a run that was told to end, can come back at any moment. */
static void overdue_counts_as_now(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *holder = add_active(pool, LEASE_HOLD, 1, NOW - HOUR);

	add_waiting(pool, 2, 3, TIME_NEVER);
	add_waiting(pool, 1, 3, SEC);
	CHECK_STR(starts(pool), "");
	holder->until_us = NOW + HOUR;
	CHECK_STR(starts(pool), "3:1");
	holder->state = LEASE_GRACE;
	CHECK_STR(starts(pool), "");
}

/* Those that start in this pass are looked at like those that run. */
static void backfill_beside_what_just_started(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_waiting(pool, 1, 3, HOUR);
	add_waiting(pool, 2, 3, TIME_NEVER);
	add_waiting(pool, 1, 3, HOUR);
	CHECK_STR(starts(pool), "1:0 3:1");
}

static void several_ahead(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *later;

	add_active(pool, LEASE_HOLD, 1, NOW + 4 * HOUR);
	add_active(pool, LEASE_HOLD, 2, NOW + 2 * HOUR);
	add_waiting(pool, 4, 0xf, HOUR); /* at 4 h */
	add_waiting(pool, 3, 0xf, HOUR); /* at 2 h, and done by 3 h */
	later = add_waiting(pool, 2, 0xf, 3 * HOUR);
	CHECK_STR(starts(pool), "");
	later->request.duration_us = 2 * HOUR;
	CHECK_STR(starts(pool), "5:2,3");
	pool->leases[3]->request.duration_us = 3 * HOUR; /* does not fit before #3: no hurry */
	later->request.duration_us = 3 * HOUR;
	CHECK_STR(starts(pool), "5:2,3");
}

/* #5 is as #4 and changes nothing; #7 is the same again, but #6 has brought its moment forward. */
static void same_shape_is_looked_at_again_when_claims_change(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);

	add_active(pool, LEASE_HOLD, 2, NOW + 5 * HOUR);
	add_active(pool, LEASE_HOLD, 4, NOW + 30 * HOUR);
	add_waiting(pool, 2, 6, TIME_NEVER);
	add_waiting(pool, 2, 3, 28 * HOUR);
	add_waiting(pool, 2, 3, 28 * HOUR);
	add_waiting(pool, 1, 2, 10 * HOUR);
	add_waiting(pool, 2, 3, 28 * HOUR);
	add_waiting(pool, 1, 1, 20 * HOUR);
	CHECK_STR(starts(pool), "");
	pool->leases[6]->state = LEASE_ENDED;
	CHECK_STR(starts(pool), "8:0");
}

static void who_does_not_listen_keeps_the_place(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *first = add_waiting(pool, 1, 3, TIME_NEVER);

	first->attached = false;
	add_waiting(pool, 1, 3, SEC);
	add_waiting(pool, 1, 3, SEC);
	CHECK_STR(starts(pool), "2:1");
	first->attached = true;
	CHECK_STR(starts(pool), "1:0 2:1");
}

/* The second one claims the GPU that it could use at once, not those kept for the first. */
static void equal_wishes_stay_in_order_behind_who_does_not_listen(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	add_active(pool, LEASE_RUN, 8, TIME_NEVER);
	add_waiting(pool, 2, 0xf, TIME_NEVER)->attached = false;
	add_waiting(pool, 2, 0xf, TIME_NEVER);
	add_waiting(pool, 1, 0xf, TIME_NEVER);
	CHECK_STR(starts(pool), "");
}

static void unhealthy_gpus_start_nobody_and_block_nobody(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *forced;

	pool->gpus[0].drained = true;
	pool->gpus[1].present = false;
	text_copy(pool->gpus[2].fault, GPU_REASON_SIZE, "fell off the bus");
	forced = add_waiting(pool, 1, 7, HOUR);
	forced->request.force = true;
	add_waiting(pool, 2, 0xf, TIME_NEVER);
	CHECK_STR(starts(pool), "");
	add_waiting(pool, 1, 0xf, TIME_NEVER);
	CHECK_STR(starts(pool), "3:3");
}

/* A drained GPU that is still leased comes back to nobody. */
static void leased_and_drained(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	pool->gpus[0].drained = true;
	add_waiting(pool, 2, 3, TIME_NEVER);
	add_waiting(pool, 1, 3, TIME_NEVER);
	CHECK_STR(starts(pool), "3:1");
}

static void foreign_use_only_with_force(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *lease = add_waiting(pool, 2, 3, HOUR), *second;

	use_foreign(pool, 0);
	CHECK_STR(starts(pool), "");
	second = add_waiting(pool, 1, 3, TIME_NEVER);
	CHECK_STR(starts(pool), "2:1");
	lease->request.force = true;
	CHECK_STR(starts(pool), "1:0,1");
	lease->state = LEASE_ENDED;
	second->request.force = true;
	CHECK_STR(starts(pool), "2:0");
}

static void force_takes_nothing_that_is_leased(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	use_foreign(pool, 0);
	add_waiting(pool, 1, 1, HOUR)->request.force = true;
	CHECK_STR(starts(pool), "");
}

/* Booked and ended leases do not take part. */
static void only_waiting_ones(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_waiting(pool, 1, 1, HOUR)->state = LEASE_ENDED;
	add_waiting(pool, 1, 1, HOUR)->state = LEASE_BOOKED;
	add_waiting(pool, 1, 1, HOUR);
	CHECK_STR(starts(pool), "3:0");
}

static void slots_beyond_the_first_word(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(GPU_MAX);
	struct lease *last = add_waiting(pool, 1, 0, TIME_NEVER);

	gpu_set_add(&last->eligible, GPU_MAX - 1);
	CHECK_STR(starts(pool), "1:255");
}

static size_t blockers(const struct pool *pool, const struct lease *lease, int64_t ids[4])
{
	struct lease *found[4] = { 0 };
	size_t n = queue_blockers(pool, lease, found, 4);

	for (size_t i = 0; i < n; i++)
		ids[i] = found[i]->id;
	return n;
}

static void blockers_are_holders_and_those_ahead(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	int64_t ids[4];
	struct lease *lease;

	add_active(pool, LEASE_RUN, 1, TIME_NEVER); /* 1: holds one of them */
	add_active(pool, LEASE_RUN, 8, TIME_NEVER); /* 2: holds another */
	add_waiting(pool, 1, 2, HOUR);              /* 3: competes */
	add_waiting(pool, 1, 8, HOUR);              /* 4: does not */
	lease = add_waiting(pool, 2, 3, HOUR);
	add_waiting(pool, 2, 3, HOUR);               /* 6: behind */
	add_active(pool, LEASE_HOLD, 2, NOW + HOUR); /* 7: came later, was faster */
	add_active(pool, LEASE_HOLD, 4, NOW + HOUR)->state = LEASE_ENDED;
	CHECK_INT(blockers(pool, lease, ids), 3);
	CHECK_INT(ids[0], 1);
	CHECK_INT(ids[1], 3);
	CHECK_INT(ids[2], 7);
	CHECK_INT(queue_blockers(pool, lease, NULL, 0), 0);
}

int main(void)
{
	TEST(nothing_to_do);
	TEST(in_order_while_there_are_gpus);
	TEST(at_most_max);
	TEST(does_not_change_the_pool);
	TEST(nobody_overtakes_without_a_known_end);
	TEST(nobody_gets_what_is_being_revoked);
	TEST(others_types_are_overtaken);
	TEST(backfill_up_to_the_moment_of_the_one_ahead);
	TEST(earliest_moment_counts);
	TEST(overdue_counts_as_now);
	TEST(backfill_beside_what_just_started);
	TEST(several_ahead);
	TEST(same_shape_is_looked_at_again_when_claims_change);
	TEST(who_does_not_listen_keeps_the_place);
	TEST(equal_wishes_stay_in_order_behind_who_does_not_listen);
	TEST(unhealthy_gpus_start_nobody_and_block_nobody);
	TEST(leased_and_drained);
	TEST(foreign_use_only_with_force);
	TEST(force_takes_nothing_that_is_leased);
	TEST(only_waiting_ones);
	TEST(slots_beyond_the_first_word);
	TEST(blockers_are_holders_and_those_ahead);
	return tap_done();
}
