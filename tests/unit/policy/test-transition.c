/* SPDX-License-Identifier: MIT */
#include "policy/transition.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

static void grant_gives_gpus_and_an_end(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *hold = add_waiting(pool, 1, 3, HOUR),
		     *run = add_waiting(pool, 1, 3, TIME_NEVER);
	struct gpu_set first = set_of(1), second = set_of(2);

	transition_grant(hold, &first, NOW);
	transition_grant(run, &second, NOW);
	CHECK_INT(hold->state, LEASE_ACTIVE);
	CHECK_INT(hold->gpus.words[0], 1);
	CHECK_INT(hold->since_us, NOW);
	CHECK_INT(hold->until_us, NOW + HOUR);
	CHECK_INT(run->until_us, TIME_NEVER);
}

static void end_of_a_holder(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *hold = add_active(pool, LEASE_HOLD, 2, NOW + HOUR);

	transition_end(pool, hold, LEASE_END_EXPIRED, NOW + HOUR);
	CHECK_INT(hold->state, LEASE_ENDED);
	CHECK_INT(hold->end, LEASE_END_EXPIRED);
	CHECK_INT(hold->ended_us, NOW + HOUR);
	CHECK_INT(hold->gpus.words[0], 2);
	CHECK_INT(gpu_last_use(&pool->gpus[1], hold->uid), NOW + HOUR);
	CHECK_INT(pool->gpus[1].free_since_us, NOW + HOUR);
	CHECK_INT(pool->gpus[0].free_since_us, 0);
	CHECK_INT(pool->gpus[0].n_recent, 0);
}

static void end_of_a_waiter_touches_no_gpu(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_waiting(pool, 1, 1, HOUR);

	transition_end(pool, lease, LEASE_END_GONE, NOW);
	CHECK_INT(lease->state, LEASE_ENDED);
	CHECK_INT(lease->end, LEASE_END_GONE);
	CHECK_INT(pool->gpus[0].free_since_us, 0);
}

static void grace_keeps_its_reason(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *run = add_active(pool, LEASE_RUN, 1, NOW + HOUR);

	transition_warn(run, LEASE_END_LIMIT, NOW + HOUR, 10 * SEC);
	CHECK_INT(run->state, LEASE_GRACE);
	CHECK_INT(run->kill_us, NOW + HOUR + 10 * SEC);
	CHECK(lease_holds(run));
	transition_end(pool, run, LEASE_END_EXITED, NOW + HOUR + SEC);
	CHECK_INT(run->end, LEASE_END_LIMIT);
	CHECK_INT(pool->gpus[0].free_since_us, NOW + HOUR + SEC);
}

static void extend_moves_the_end(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	struct lease *run = add_active(pool, LEASE_RUN, 2, NOW + HOUR);

	CHECK_INT(transition_extend(hold, HOUR, NOW, 2 * HOUR).kind, VERDICT_OK);
	CHECK_INT(hold->until_us, NOW + 2 * HOUR);
	CHECK_INT(transition_extend(run, 9 * HOUR, NOW, 2 * HOUR).kind, VERDICT_OK);
	CHECK_INT(run->until_us, NOW + 10 * HOUR);
}

static void check_refused(struct lease *lease, int64_t add_us, enum verdict_kind kind,
	const char *id, const char *text)
{
	int64_t until_us = lease->until_us;
	struct verdict v = transition_extend(lease, add_us, NOW, 48 * HOUR);

	CHECK_INT(v.kind, kind);
	CHECK_STR(v.id, id);
	CHECK_STR(v.text, text);
	CHECK_INT(lease->until_us, until_us);
}

static void extend_refuses(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	struct lease *run = add_active(pool, LEASE_RUN, 2, TIME_NEVER);
	struct lease *waiting = add_waiting(pool, 1, 1, HOUR);
	struct lease *over = add_active(pool, LEASE_HOLD, 4, NOW);
	struct lease *grace = add_active(pool, LEASE_RUN, 8, NOW + HOUR);

	transition_warn(grace, LEASE_END_ADMIN, NOW, SEC);
	check_refused(hold, 48 * HOUR, VERDICT_REFUSED, "lease.too-long",
		"hold #1 would end in 2d1h; at most 2d from now is allowed here");
	check_refused(hold, INT64_MAX, VERDICT_INVALID, "lease.bad-time",
		"the time to add to hold #1 must be more than 0s and at most ten years");
	check_refused(hold, 0, VERDICT_INVALID, "lease.bad-time",
		"the time to add to hold #1 must be more than 0s and at most ten years");
	check_refused(run, HOUR, VERDICT_REFUSED, "lease.no-limit",
		"run #2 has no time limit, there is nothing to extend");
	check_refused(waiting, HOUR, VERDICT_REFUSED, "lease.not-active",
		"run #3 is waiting, only one that holds GPUs can be extended");
	check_refused(over, HOUR, VERDICT_REFUSED, "lease.over",
		"the time of hold #4 is over; ask for GPUs anew");
	check_refused(grace, HOUR, VERDICT_REFUSED, "lease.over",
		"the time of run #5 is over; ask for GPUs anew");
}

static void check_due(struct lease *lease, int64_t at_us, enum due due)
{
	int64_t next_us;

	CHECK_INT(transition_due(lease, at_us - 1, &next_us), DUE_NOTHING);
	CHECK_INT(next_us, at_us);
	CHECK_INT(transition_due(lease, at_us, &next_us), due);
	CHECK_INT(next_us, TIME_NEVER);
	CHECK_INT(transition_due(lease, at_us + HOUR, &next_us), due);
}

static void due(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	struct lease *run = add_active(pool, LEASE_RUN, 2, NOW + HOUR);
	struct lease *endless = add_active(pool, LEASE_RUN, 4, TIME_NEVER);
	struct lease *waiting = add_waiting(pool, 1, 1, HOUR);
	int64_t next_us = 0;

	check_due(hold, NOW + HOUR, DUE_EXPIRE);
	check_due(run, NOW + HOUR, DUE_WARN);
	transition_warn(run, LEASE_END_LIMIT, NOW + HOUR, SEC);
	check_due(run, NOW + HOUR + SEC, DUE_KILL);
	waiting->wait_until_us = NOW + MINUTE;
	check_due(waiting, NOW + MINUTE, DUE_TIMEOUT);
	CHECK_INT(transition_due(endless, NOW, &next_us), DUE_NOTHING);
	CHECK_INT(next_us, TIME_NEVER);
	transition_end(pool, hold, LEASE_END_RELEASED, NOW);
	CHECK_INT(transition_due(hold, NOW + 2 * HOUR, &next_us), DUE_NOTHING);
	CHECK_INT(next_us, TIME_NEVER);
}

int main(void)
{
	TEST(grant_gives_gpus_and_an_end);
	TEST(end_of_a_holder);
	TEST(end_of_a_waiter_touches_no_gpu);
	TEST(grace_keeps_its_reason);
	TEST(extend_moves_the_end);
	TEST(extend_refuses);
	TEST(due);
	return tap_done();
}
