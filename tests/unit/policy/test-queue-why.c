/* SPDX-License-Identifier: MIT */
#include "policy/queue.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

/* 1000 hours after the epoch it is 16:00 of 11 February 1970 in UTC. */
#define UNTIL_1840 (NOW + 2 * HOUR + 40 * MINUTE)

static const char *why(const struct pool *pool, const struct lease *lease)
{
	static struct verdict v;

	v = queue_why(pool, lease, 0);
	CHECK_INT(v.kind, VERDICT_NOT_FREE);
	CHECK_STR(v.id, "queue.not-free");
	return v.text;
}

static void one_leased(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *hold = add_active(pool, LEASE_HOLD, 0xc, UNTIL_1840);
	struct lease *lease = add_waiting(pool, 1, 8, HOUR);

	CHECK_STR(why(pool, lease), "GPU 3 is leased by uid 1001 until 18:40 (hold #1)");
	hold->until_us += 24 * HOUR;
	CHECK_STR(why(pool, lease), "GPU 3 is leased by uid 1001 until 1970-02-12 18:40 (hold #1)");
	hold->kind = LEASE_RUN;
	hold->until_us = TIME_NEVER;
	CHECK_STR(why(pool, lease), "GPU 3 is leased by uid 1001 (run #1)");
	hold->state = LEASE_GRACE;
	CHECK_STR(why(pool, lease), "GPU 3 is leased by uid 1001 (run #1, about to end)");
}

static void times_are_wall_clock(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease;

	add_active(pool, LEASE_HOLD, 1, UNTIL_1840);
	lease = add_waiting(pool, 1, 1, HOUR);
	CHECK_STR(queue_why(pool, lease, -40 * MINUTE).text,
		"GPU 0 is leased by uid 1001 until 18:00 (hold #1)");
}

static void some_free(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *lease;

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	add_active(pool, LEASE_HOLD, 2, UNTIL_1840);
	lease = add_waiting(pool, 4, 0xf, HOUR);
	CHECK_STR(why(pool, lease), "2 of the 4 GPUs asked for are free; the others are leased by "
				    "uid 1001 (run #1) and uid 1002 (hold #2, until 18:40)");
}

static void many_holders(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(6);
	struct lease *lease;

	for (unsigned slot = 0; slot < 6; slot++)
		add_active(pool, LEASE_RUN, 1u << slot, TIME_NEVER);
	lease = add_waiting(pool, 1, 0x3f, HOUR);
	CHECK_STR(why(pool, lease),
		"none of the 6 GPUs that would do is free; they are leased by "
		"uid 1001 (run #1), uid 1002 (run #2), uid 1003 (run #3) and 3 more");
}

static void in_use_without_a_lease(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);
	struct lease *lease = add_waiting(pool, 1, 4, HOUR);

	use_foreign(pool, 2);
	CHECK_STR(why(pool, lease), "GPU 2 is in use without a lease");
	lease->eligible = set_of(7);
	lease->request.count = 3;
	CHECK_STR(why(pool, lease),
		"2 of the 3 GPUs asked for are free; GPU 2 is in use without a lease");
	lease->request.force = true;
	CHECK_STR(why(pool, lease), "enough GPUs are free now");
}

static void not_healthy(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *lease = add_waiting(pool, 1, 1, HOUR);

	pool->gpus[0].drained = true;
	text_copy(pool->gpus[0].drain_reason, GPU_REASON_SIZE, "fan\x1b is loud");
	CHECK_STR(why(pool, lease), "GPU 0 is drained: fan? is loud");
	lease->eligible = set_of(2);
	pool->gpus[1].present = false;
	CHECK_STR(why(pool, lease), "GPU 1 is lost: the sensor does not see it");
	add_active(pool, LEASE_RUN, 4, TIME_NEVER);
	pool->gpus[3].present = false;
	lease->eligible = set_of(0xf);
	CHECK_STR(why(pool, lease),
		"none of the 4 GPUs that would do is free; some are leased by uid 1002 (run #2); "
		"GPU 0 is drained: fan? is loud; GPUs 1,3 are lost");
}

static void not_given_back(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);
	struct lease *lease = add_waiting(pool, 1, 1, HOUR);

	pool->gpus[0].revoking = 12;
	use_foreign(pool, 0);
	lease->request.force = true;
	CHECK_STR(why(pool, lease), "GPU 0 is not yet given back: processes of lease #12, which "
				    "has ended, still have it open");
	pool->gpus[2].revoking = 13;
	lease->eligible = set_of(7);
	lease->request.count = 3;
	CHECK_STR(why(pool, lease),
		"1 of the 3 GPUs asked for is free; GPUs 0,2 are not yet given back");
	/* The receiver of a lease is in the way for longer. */
	add_active(pool, LEASE_HOLD, 5, UNTIL_1840);
	CHECK_STR(why(pool, lease), "1 of the 3 GPUs asked for is free; the others are leased by "
				    "uid 1002 (hold #2, until 18:40)");
}

static void those_ahead(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *lease;

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	add_waiting(pool, 2, 3, HOUR);
	lease = add_waiting(pool, 1, 3, HOUR);
	CHECK_STR(why(pool, lease),
		"enough GPUs are free, but uid 1002 (run #2) is ahead in the queue");
	lease = add_waiting(pool, 1, 1, HOUR);
	CHECK_STR(why(pool, lease), "GPU 0 is leased by uid 1001 (run #1); besides, "
				    "uid 1002 (run #2) and 1 more are ahead in the queue");
}

static void nobody_listens(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_waiting(pool, 1, 1, HOUR);

	lease->attached = false;
	CHECK_STR(why(pool, lease),
		"enough GPUs are free, but the client that asked is not connected");
}

static const char *why_blocked(const struct pool *pool, const struct lease *lease)
{
	static struct verdict v;

	v = queue_why(pool, lease, 0);
	CHECK_INT(v.kind, VERDICT_NOT_FREE);
	CHECK_STR(v.id, "queue.blocked");
	return v.text;
}

static void the_blocked(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_job(pool, 1, 1), *behind = add_job(pool, 1, 1);
	struct job *job = lease->job;

	job->is_array = true;
	job->parallel = job->n_active = 5;
	CHECK_STR(why_blocked(pool, lease), "5 of it are active, as many as may be at a time");
	job->needs = calloc(2, sizeof(*job->needs));
	job->needs[0].id = 41;
	job->n_needs = 1;
	CHECK_STR(why_blocked(pool, lease), "it starts after #41");
	job->n_needs = 2;
	CHECK_STR(why_blocked(pool, lease), "it starts after #41 and 1 more");
	job->begin_us = UNTIL_1840;
	CHECK_STR(why_blocked(pool, lease), "it is not to start before 18:40");
	job->held = true;
	CHECK_STR(why_blocked(pool, lease), "it is held until 'dibs resume 1'");
	job->array = 42;
	job->index = 7;
	CHECK_STR(why_blocked(pool, lease), "it is held until 'dibs resume 42.7'");
	CHECK_STR(why(pool, behind), "enough GPUs are free now"); /* nobody is ahead */
}

static void who_is_ahead_by_niceness(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_job(pool, 1, 1), *nicer = add_job(pool, 1, 1);

	nicer->job->nice = 1;
	CHECK_STR(why(pool, lease), "enough GPUs are free now");
	lease->job->nice = 2;
	CHECK_STR(why(pool, lease), "enough GPUs are free, but uid 1002 (job #2) is ahead in the "
				    "queue");
}

static void shared_cards(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2); /* of 81920 MiB */
	struct lease *alone, *share;

	add_active(pool, LEASE_RUN, 1, TIME_NEVER)->request.share_mib = 40000;
	add_active(pool, LEASE_RUN, 1, UNTIL_1840)->request.share_mib = 30000;
	alone = add_waiting(pool, 1, 1, HOUR);
	CHECK_STR(why(pool, alone),
		"GPU 0 is shared by uid 1001 (run #1) and uid 1002 (run #2, until 18:40)");
	alone->state = LEASE_ENDED;
	share = add_share(pool, 11920, 1, HOUR);
	CHECK_STR(why(pool, share), "enough GPUs are free now");
	share->request.share_mib = 11921;
	CHECK_STR(why(pool, share),
		"GPU 0 is shared by uid 1001 (run #1) and uid 1002 (run #2, until 18:40)");
	share->eligible = set_of(3);
	CHECK_STR(why(pool, share), "enough GPUs are free now");
	share->request.count = 2;
	CHECK_STR(why(pool, share),
		"1 of the 2 GPUs asked for has 11921 MiB left; the others are leased by uid 1001 "
		"(run #1) and uid 1002 (run #2, until 18:40)");
	add_active(pool, LEASE_HOLD, 2, TIME_NEVER);
	CHECK_STR(why(pool, share),
		"none of the 2 GPUs that would do has 11921 MiB left; they are leased by uid 1001 "
		"(run #1), uid 1002 (run #2, until 18:40) and uid 1005 (hold #5)");
	share->request.share_mib = 1000; /* room beside those, but not beside that one */
	CHECK_STR(why(pool, share),
		"1 of the 2 GPUs asked for has 1000 MiB left; the others are leased by uid 1005 "
		"(hold #5)");
}

int main(void)
{
	setenv("TZ", "UTC", 1);
	TEST(one_leased);
	TEST(times_are_wall_clock);
	TEST(some_free);
	TEST(many_holders);
	TEST(in_use_without_a_lease);
	TEST(not_healthy);
	TEST(not_given_back);
	TEST(those_ahead);
	TEST(nobody_listens);
	TEST(the_blocked);
	TEST(who_is_ahead_by_niceness);
	TEST(shared_cards);
	return tap_done();
}
