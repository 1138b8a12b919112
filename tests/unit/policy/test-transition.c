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

/* Once; what is added then counts from now. */
static void a_hold_overruns(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, NOW);
	struct lease *bound = add_active(pool, LEASE_HOLD, 2, NOW);
	int64_t next_us;

	bound->request.bound = BOUND_PROCESS;
	CHECK(!transition_overrun(bound, HOUR));
	CHECK(!transition_overrun(hold, 0));
	CHECK(transition_overrun(hold, HOUR));
	CHECK_INT(transition_due(hold, NOW, &next_us), DUE_NOTHING);
	CHECK_INT(next_us, NOW + HOUR);
	CHECK_INT(transition_due(hold, NOW + HOUR, &next_us), DUE_EXPIRE);
	CHECK(!transition_overrun(hold, HOUR));
	CHECK_INT(transition_extend(hold, 2 * HOUR, NOW + SEC, 2 * HOUR).kind, VERDICT_OK);
	CHECK_INT(hold->until_us, NOW + SEC + 2 * HOUR);
	CHECK(transition_overrun(hold, HOUR));
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

static void idle_ends_holds_and_runs(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	struct lease *run = add_active(pool, LEASE_RUN, 2, TIME_NEVER);

	transition_end(pool, hold, LEASE_END_IDLE, NOW);
	CHECK_INT(hold->end, LEASE_END_IDLE);
	transition_warn(run, LEASE_END_IDLE, NOW, SEC);
	CHECK_INT(run->state, LEASE_GRACE);
	transition_end(pool, run, LEASE_END_EXITED, NOW + SEC);
	CHECK_INT(run->end, LEASE_END_IDLE);
}

static void give_changes_the_owner(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *hold = add_active(pool, LEASE_HOLD, 3, NOW + HOUR);

	hold->pid = 4711;
	hold->start_ticks = 5;
	hold->request.force = true;
	hold->active_us = NOW - HOUR;
	hold->idle_release_us = NOW + MINUTE;
	CHECK_INT(transition_give(hold, 0, NOW).kind, VERDICT_OK);
	CHECK_INT(hold->uid, 0);
	CHECK_INT(hold->state, LEASE_ACTIVE);
	CHECK_INT(hold->gpus.words[0], 3);
	CHECK_INT(hold->until_us, NOW + HOUR);
	CHECK_INT(hold->pid, 0);
	CHECK_INT(hold->start_ticks, 0);
	CHECK(!hold->request.force);
	CHECK_INT(hold->active_us, NOW);
	CHECK_INT(hold->idle_release_us, 0);
}

static void check_not_given(struct lease *lease, uid_t uid, const char *id, const char *text)
{
	uid_t before = lease->uid;
	struct verdict v = transition_give(lease, uid, NOW);

	CHECK(v.kind != VERDICT_OK);
	CHECK_STR(v.id, id);
	CHECK_STR(v.text, text);
	CHECK_INT(lease->uid, before);
}

static void give_refuses(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, NOW + HOUR);
	struct lease *run = add_active(pool, LEASE_RUN, 2, TIME_NEVER);
	struct lease *waiting = add_waiting(pool, 1, 1, HOUR);
	struct lease *over = add_active(pool, LEASE_HOLD, 4, NOW);

	waiting->kind = LEASE_HOLD;
	check_not_given(hold, 1001, "lease.same-user", "hold #1 is uid 1001's already");
	check_not_given(hold, (uid_t)-1, "lease.no-user",
		"hold #1 cannot be given to uid 4294967295, which nobody has");
	check_not_given(run, 1, "lease.not-a-hold",
		"run #2 belongs to the processes of its owner, only holds can be given to others");
	check_not_given(waiting, 1, "lease.not-active",
		"hold #3 is waiting, only an active one can be given to others");
	check_not_given(over, 1, "lease.over", "the time of hold #4 is over");
}

static void shrink_gives_some_back(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *run = add_active(pool, LEASE_RUN, 7, TIME_NEVER);
	struct lease *hold = add_active(pool, LEASE_HOLD, 8, NOW + HOUR);
	struct gpu_set second = set_of(2), first = set_of(1);

	run->request.gpus = strdup("GPU-0202a1b2,GPU-0000a1b2,GPU-0101a1b2");
	CHECK_INT(transition_shrink(pool, run, &second, NOW).kind, VERDICT_OK);
	CHECK_INT(run->state, LEASE_ACTIVE);
	CHECK_INT(run->gpus.words[0], 5);
	CHECK_INT(run->request.count, 2);
	CHECK_STR(run->request.gpus, "GPU-0000a1b2,GPU-0202a1b2");
	CHECK_INT(run->eligible.words[0], 5);
	CHECK_INT(gpu_last_use(&pool->gpus[1], run->uid), NOW);
	CHECK_INT(pool->gpus[1].free_since_us, NOW);
	CHECK_INT(pool->gpus[0].free_since_us, 0);
	CHECK(!pool_holder(pool, 1));
	CHECK_INT(transition_shrink(pool, run, &first, NOW).kind, VERDICT_OK);
	CHECK_STR(run->request.gpus, "GPU-0202a1b2");

	/* What it may choose from stays what it asked for. */
	hold->gpus = hold->eligible = set_of(10);
	CHECK_INT(transition_shrink(pool, hold, &second, NOW).kind, VERDICT_OK);
	CHECK_INT(hold->request.count, 1);
	CHECK_INT(hold->eligible.words[0], 10);
}

static void check_not_shrunk(
	struct pool *pool, struct lease *lease, uint64_t gpus, const char *id, const char *text)
{
	struct gpu_set set = set_of(gpus), before = lease->gpus;
	struct verdict v = transition_shrink(pool, lease, &set, NOW);

	CHECK(v.kind != VERDICT_OK);
	CHECK_STR(v.id, id);
	CHECK_STR(v.text, text);
	CHECK(memcmp(&before, &lease->gpus, sizeof(before)) == 0);
	CHECK_INT(pool->gpus[0].n_recent, 0);
}

static void shrink_refuses(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *hold = add_active(pool, LEASE_HOLD, 3, NOW + HOUR);
	struct lease *waiting = add_waiting(pool, 1, 1, HOUR);
	struct lease *grace = add_active(pool, LEASE_RUN, 12, TIME_NEVER);

	transition_warn(grace, LEASE_END_LIMIT, NOW, SEC);
	check_not_shrunk(pool, hold, 0, "lease.no-gpus", "say which GPUs hold #1 gives back");
	check_not_shrunk(pool, hold, 5, "lease.not-its-gpu", "GPU 2 is not one of hold #1");
	check_not_shrunk(pool, hold, 3, "lease.all-gpus",
		"hold #1 would have no GPU left; give all of it back with 'dibs release 1'");
	check_not_shrunk(pool, waiting, 1, "lease.not-active",
		"run #2 is waiting, only an active run or hold can give GPUs back");
	check_not_shrunk(pool, grace, 4, "lease.not-active",
		"run #3 is about to end, only an active run or hold can give GPUs back");
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
	TEST(a_hold_overruns);
	TEST(extend_refuses);
	TEST(idle_ends_holds_and_runs);
	TEST(give_changes_the_owner);
	TEST(give_refuses);
	TEST(shrink_gives_some_back);
	TEST(shrink_refuses);
	TEST(due);
	return tap_done();
}
