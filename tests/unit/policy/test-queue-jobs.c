/* SPDX-License-Identifier: MIT */
/* What batch jobs bring to the queue: an order of its own, who is blocked, arrays and shares. */
#include "policy/queue.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/policy/starts.h"
#include "tests/unit/tap.h"

static struct lease *add_array(struct pool *pool, const char *indices, unsigned parallel)
{
	struct lease *lease = add_job(pool, 1, 0xf);
	int r = indices_parse(indices, &lease->job->pending);

	assert(r == 0);
	lease->job->is_array = true;
	lease->job->parallel = parallel;
	return lease;
}

static struct lease *add_sharer(
	struct pool *pool, uint64_t share_mib, uint64_t gpus, int64_t until_us)
{
	struct lease *lease = add_active(pool, LEASE_RUN, gpus, until_us);

	lease->request.share_mib = share_mib;
	return lease;
}

static void the_nicest_come_last(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_job(pool, 1, 3)->job->nice = 1;
	add_job(pool, 1, 3);
	add_waiting(pool, 1, 3, TIME_NEVER);
	add_job(pool, 1, 3)->job->nice = -1;
	CHECK_STR(starts(pool), "4:0 2:1");
}

static void who_went_to_the_end_comes_after_those_who_came_meanwhile(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);

	add_job(pool, 1, 7)->turn = 3;
	add_job(pool, 1, 7);
	add_job(pool, 1, 7)->turn = 4;
	CHECK_STR(starts(pool), "2:0 1:1 3:2");
}

static void the_blocked_have_no_place(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *held = add_job(pool, 1, 1), *early = add_job(pool, 1, 1);
	struct lease *needs = add_job(pool, 1, 1);

	held->job->held = true;
	early->job->begin_us = NOW + 1;
	needs->job->needs = calloc(1, sizeof(struct job_need));
	needs->job->n_needs = 1;
	add_waiting(pool, 1, 1, TIME_NEVER);
	CHECK_STR(starts(pool), "4:0");
	early->job->begin_us = NOW;
	CHECK_STR(starts(pool), "2:0");
	held->job->held = false;
	CHECK_STR(starts(pool), "1:0");
}

static void an_array_starts_as_often_as_there_is_room(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	add_array(pool, "0-9", 0);
	add_job(pool, 1, 0xf);
	CHECK_STR(starts(pool), "1:0 1:1 1:2 1:3");
}

static void an_array_starts_no_more_than_its_elements(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	add_array(pool, "3,7", 0);
	add_job(pool, 1, 0xf);
	CHECK_STR(starts(pool), "1:0 1:1 2:2");
}

static void an_array_starts_no_more_than_it_may(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *array = add_array(pool, "0-9", 3);
	struct queue_start started[2];

	array->job->n_active = 1;
	add_job(pool, 1, 0xf);
	CHECK_STR(starts(pool), "1:0 1:1 2:2");
	CHECK_INT(queue_pass(pool, NOW, started, 2), 2); /* never more than max */
	CHECK(started[1].lease == array);
	array->job->n_active = 3; /* is blocked then */
	CHECK_STR(starts(pool), "2:0");
	array->job->n_active = 4; /* its limit was lowered, say */
	CHECK_STR(starts(pool), "2:0");
}

/* The first element that does not fit waits like anybody. */
static void the_next_element_has_a_place_in_the_queue(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	add_array(pool, "0-9", 0)->request.count = 2;
	add_job(pool, 1, 7);
	CHECK_STR(starts(pool), "2:1,2");
	pool->leases[1]->request.count = 3;
	CHECK_STR(starts(pool), "");
}

static void shares_are_packed(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2); /* of 81920 MiB */

	for (int i = 0; i < 5; i++)
		add_share(pool, 30000, 3, TIME_NEVER);
	CHECK_STR(starts(pool), "1:0 2:0 3:1 4:1");
}

static void a_card_may_be_full_to_the_brim(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_sharer(pool, 40960, 1, TIME_NEVER);
	add_share(pool, 40961, 1, TIME_NEVER);
	CHECK_STR(starts(pool), "");
	pool->leases[1]->request.share_mib = 40960;
	CHECK_STR(starts(pool), "2:0");
	pool->leases[1]->request.share_mib = UINT64_MAX;
	CHECK_STR(starts(pool), "");
}

static void the_fullest_card_that_fits(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	add_sharer(pool, 10000, 1, TIME_NEVER);
	add_sharer(pool, 70000, 2, TIME_NEVER);
	add_sharer(pool, 40000, 4, TIME_NEVER);
	add_share(pool, 20000, 0xf, TIME_NEVER);
	CHECK_STR(starts(pool), "4:2");
	add_share(pool, 10000, 0xf, TIME_NEVER);
	CHECK_STR(starts(pool), "4:2 5:1");
	add_share(pool, 80000, 0xf, TIME_NEVER);
	CHECK_STR(starts(pool), "4:2 5:1 6:3");
}

static void a_share_of_several_cards(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);

	add_sharer(pool, 10000, 4, TIME_NEVER);
	add_share(pool, 50000, 7, TIME_NEVER)->request.count = 2;
	CHECK_STR(starts(pool), "2:0,2");
	add_share(pool, 50000, 7, TIME_NEVER)->request.count = 2;
	CHECK_STR(starts(pool), "2:0,2");
}

static void never_beside_somebody_who_has_it_alone(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_active(pool, LEASE_RUN, 1, TIME_NEVER);
	add_share(pool, 1, 1, HOUR);
	CHECK_STR(starts(pool), "");
	add_sharer(pool, 1000, 1, TIME_NEVER); /* should not be, and does not help */
	CHECK_STR(starts(pool), "");
}

static void who_wants_it_alone_waits_for_the_last_sharer(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_sharer(pool, 1000, 1, NOW + HOUR);
	add_sharer(pool, 1000, 1, NOW + 2 * HOUR);
	add_waiting(pool, 1, 1, HOUR);
	CHECK_STR(starts(pool), "");
	/* Until then others may join. */
	add_share(pool, 1000, 1, 2 * HOUR);
	CHECK_STR(starts(pool), "4:0");
	pool->leases[3]->request.duration_us = 2 * HOUR + 1;
	CHECK_STR(starts(pool), "");
	pool->leases[3]->request.duration_us = TIME_NEVER;
	CHECK_STR(starts(pool), "");
}

static void who_joins_in_this_pass_counts(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_share(pool, 30000, 1, HOUR);
	add_waiting(pool, 1, 1, HOUR);
	add_share(pool, 30000, 1, HOUR);
	add_share(pool, 30000, 1, HOUR);
	CHECK_STR(starts(pool), "1:0 3:0");
	pool->leases[2]->request.duration_us = 2 * HOUR;
	pool->leases[3]->request.duration_us = HOUR;
	CHECK_STR(starts(pool), "1:0 4:0");
}

/* Its share could be there when the first of them ends, so nobody may stay for longer. */
static void a_larger_share_is_not_starved_by_smaller_ones(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *small;

	add_sharer(pool, 40000, 1, NOW + HOUR);
	add_sharer(pool, 20000, 1, NOW + 9 * HOUR);
	add_share(pool, 60000, 1, HOUR);
	small = add_share(pool, 10000, 1, 2 * HOUR);
	CHECK_STR(starts(pool), "");
	small->request.duration_us = HOUR;
	CHECK_STR(starts(pool), "4:0");
}

static void no_share_of_what_is_not_to_be_used(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_sharer(pool, 1000, 1, TIME_NEVER);
	add_share(pool, 1000, 1, HOUR);
	CHECK_STR(starts(pool), "2:0");
	pool->gpus[0].revoking = 9; /* from somebody else who had a share */
	CHECK_STR(starts(pool), "");
	pool->gpus[0].revoking = 0;
	pool->gpus[0].drained = true;
	CHECK_STR(starts(pool), "");
	pool->gpus[0].drained = false;
	pool->gpus[0].memory_mib = GPU_UNKNOWN;
	CHECK_STR(starts(pool), "");
	pool->gpus[0].memory_mib = 1500;
	CHECK_STR(starts(pool), "");
	pool->gpus[0].memory_mib = 81920;
	use_foreign(pool, 0);
	CHECK_STR(starts(pool), "");
}

static void no_share_of_a_free_card_that_is_too_small(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_share(pool, 1000, 3, HOUR);
	pool->gpus[0].memory_mib = 999;
	CHECK_STR(starts(pool), "1:1");
	pool->leases[0]->request.share_mib = UINT64_MAX;
	CHECK_STR(starts(pool), "");
	pool->leases[0]->request.share_mib = 1;
	pool->gpus[0].memory_mib = pool->gpus[1].memory_mib = GPU_UNKNOWN;
	CHECK_STR(starts(pool), "");
}

static void more_starts_than_gpus(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *array = add_array(pool, "0-9", 0);

	array->request.share_mib = 20000;
	array->eligible = set_of(1);
	CHECK_STR(starts(pool), "1:0 1:0 1:0 1:0");
}

/* What differs in its share only is not taken for the same wish. */
static void a_smaller_share_is_looked_at_again(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_sharer(pool, 80000, 1, NOW + HOUR);
	add_active(pool, LEASE_RUN, 2, TIME_NEVER);
	add_share(pool, 5000, 2, HOUR);
	add_share(pool, 5000, 3, HOUR);
	add_share(pool, 5000, 3, HOUR);
	add_share(pool, 1000, 3, HOUR);
	CHECK_STR(starts(pool), "6:0");
}

static void positions_follow_the_queue(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *nice = add_job(pool, 1, 1), *held = add_job(pool, 1, 1);
	struct lease *plain = add_job(pool, 1, 1), *requeued = add_job(pool, 1, 1);
	struct lease **queue = NULL;
	size_t n = 0;

	nice->job->nice = 5;
	held->job->held = true;
	requeued->turn = 99;
	CHECK_INT(pool_position(pool, plain), 1);
	CHECK_INT(pool_position(pool, requeued), 2);
	CHECK_INT(pool_position(pool, nice), 3);
	CHECK_INT(pool_position(pool, held), 0);
	CHECK_INT(pool_queue(pool, &queue, &n), 0);
	CHECK_INT(n, 4);
	CHECK(n == 4 && queue[0] == held && queue[1] == plain && queue[2] == requeued &&
		queue[3] == nice);
	free(queue);
}

static void blockers_by_the_order_of_the_queue(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *found[8];

	add_job(pool, 1, 1)->job->nice = 1;
	add_job(pool, 1, 1)->job->held = true;
	add_job(pool, 1, 1);
	add_job(pool, 1, 1)->job->nice = -1;
	CHECK_INT(queue_blockers(pool, pool->leases[2], found, 8), 1);
	CHECK(found[0] == pool->leases[3]);
	CHECK_INT(queue_blockers(pool, pool->leases[0], found, 8), 2);
	CHECK_INT(queue_blockers(pool, pool->leases[1], found, 8), 0);
	pool->leases[2]->job->needs = calloc(2, sizeof(struct job_need));
	pool->leases[2]->job->needs[0].id = 1;
	pool->leases[2]->job->needs[1].id = 77; /* has ended, and will soon be told so */
	pool->leases[2]->job->n_needs = 2;
	CHECK_INT(queue_blockers(pool, pool->leases[2], found, 8), 1);
	CHECK(found[0] == pool->leases[0]);
}

int main(void)
{
	TEST(the_nicest_come_last);
	TEST(who_went_to_the_end_comes_after_those_who_came_meanwhile);
	TEST(the_blocked_have_no_place);
	TEST(an_array_starts_as_often_as_there_is_room);
	TEST(an_array_starts_no_more_than_its_elements);
	TEST(an_array_starts_no_more_than_it_may);
	TEST(the_next_element_has_a_place_in_the_queue);
	TEST(shares_are_packed);
	TEST(a_card_may_be_full_to_the_brim);
	TEST(the_fullest_card_that_fits);
	TEST(a_share_of_several_cards);
	TEST(never_beside_somebody_who_has_it_alone);
	TEST(who_wants_it_alone_waits_for_the_last_sharer);
	TEST(who_joins_in_this_pass_counts);
	TEST(a_larger_share_is_not_starved_by_smaller_ones);
	TEST(no_share_of_what_is_not_to_be_used);
	TEST(no_share_of_a_free_card_that_is_too_small);
	TEST(more_starts_than_gpus);
	TEST(a_smaller_share_is_looked_at_again);
	TEST(positions_follow_the_queue);
	TEST(blockers_by_the_order_of_the_queue);
	return tap_done();
}
