/* SPDX-License-Identifier: MIT */
#include "policy/slice.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

/* A job that has been active for that long. */
static struct lease *add_running(struct pool *pool, uint64_t gpus, int64_t for_us)
{
	struct gpu_set set = set_of(gpus);
	struct lease *lease = add_job(pool, gpu_set_count(&set), gpus);

	lease->state = LEASE_ACTIVE;
	lease->gpus = set;
	lease->since_us = NOW - for_us;
	return lease;
}

/* The ids of those who give way with slices of an hour, "1 3". */
static const char *overdue(const struct pool *pool)
{
	static char text[64];
	struct lease *found[8];
	size_t n = slice_overdue(pool, NOW, HOUR, found, 8), length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%d",
			i ? " " : "", (int)found[i]->id);
	return text;
}

static void alone_it_runs_on(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *waiting;

	add_running(pool, 1, 9 * HOUR);
	CHECK_STR(overdue(pool), "");
	waiting = add_waiting(pool, 1, 2, TIME_NEVER); /* wants the other one */
	CHECK_STR(overdue(pool), "");
	waiting->eligible = set_of(1);
	CHECK_STR(overdue(pool), "1");
	waiting->attached = false;
	CHECK_STR(overdue(pool), "");
}

static void not_before_its_slice_is_over(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *job = add_running(pool, 1, HOUR - 1), *found[1];

	add_waiting(pool, 1, 1, TIME_NEVER);
	CHECK_STR(overdue(pool), "");
	CHECK_INT(slice_next(pool, NOW, HOUR), NOW + 1);
	job->since_us = NOW - HOUR;
	CHECK_STR(overdue(pool), "1");
	CHECK_INT(slice_next(pool, NOW, HOUR), TIME_NEVER);
	CHECK_INT(slice_overdue(pool, NOW, 0, found, 1), 0); /* there are no slices */
	CHECK_INT(slice_next(pool, NOW, 0), TIME_NEVER);
	CHECK_INT(slice_overdue(pool, NOW, HOUR, found, 0), 0);
}

static void only_jobs_have_slices(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);

	add_active(pool, LEASE_RUN, 1, TIME_NEVER)->since_us = NOW - 9 * HOUR;
	add_waiting(pool, 1, 1, TIME_NEVER);
	CHECK_STR(overdue(pool), "");
	CHECK_INT(slice_next(pool, NOW - 9 * HOUR, HOUR), TIME_NEVER);
}

static void not_for_the_blocked(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *waiting;

	add_running(pool, 1, HOUR);
	waiting = add_job(pool, 1, 1);
	waiting->job->held = true;
	CHECK_STR(overdue(pool), "");
	waiting->job->held = false;
	CHECK_STR(overdue(pool), "1");
}

/* It would only be first in the queue again. */
static void not_for_who_is_nicer(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *job = add_running(pool, 1, HOUR);

	add_job(pool, 1, 1)->job->nice = 5;
	CHECK_STR(overdue(pool), "");
	job->job->nice = 5;
	CHECK_STR(overdue(pool), "1");
}

static void the_longest_first_and_no_more_than_needed(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	add_running(pool, 1, 2 * HOUR);
	add_running(pool, 2, 4 * HOUR);
	add_running(pool, 4, 3 * HOUR);
	add_running(pool, 8, 1);
	add_waiting(pool, 1, 0xf, TIME_NEVER);
	CHECK_STR(overdue(pool), "2");
	add_waiting(pool, 1, 0xf, TIME_NEVER);
	CHECK_STR(overdue(pool), "2 3");
	pool->leases[4]->request.count = 2;
	CHECK_STR(overdue(pool), "2 3 1");
	pool->leases[5]->request.count = 2;
	CHECK_STR(overdue(pool), "2 3"); /* the second one would not have enough */
}

/* The first one helps as well, but is not needed when the second one goes. */
static void who_is_not_needed_stays(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);

	add_running(pool, 1, 3 * HOUR);
	add_running(pool, 6, 2 * HOUR);
	add_waiting(pool, 2, 7, TIME_NEVER);
	CHECK_STR(overdue(pool), "2");
}

static void not_while_somebody_gives_way_already(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_running(pool, 1, 3 * HOUR)->state = LEASE_GRACE;
	add_running(pool, 2, 2 * HOUR);
	add_waiting(pool, 1, 3, TIME_NEVER);
	CHECK_STR(overdue(pool), "");
	add_waiting(pool, 1, 3, TIME_NEVER);
	CHECK_STR(overdue(pool), "2");
}

static void not_for_who_could_not_start_even_then(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *first;

	add_running(pool, 1, 2 * HOUR);
	add_active(pool, LEASE_RUN, 2, TIME_NEVER);
	first = add_waiting(pool, 2, 3, TIME_NEVER);
	CHECK_STR(overdue(pool), "");
	add_waiting(pool, 1, 1, TIME_NEVER); /* is behind, and would not get it */
	CHECK_STR(overdue(pool), "");
	first->state = LEASE_ENDED;
	CHECK_STR(overdue(pool), "1");
	pool->gpus[0].drained = true;
	CHECK_STR(overdue(pool), "");
}

static void an_array_is_as_many_as_may_start(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	struct lease *array;

	for (unsigned i = 0; i < 4; i++)
		add_running(pool, UINT64_C(1) << i, (9 - i) * HOUR);
	array = add_job(pool, 1, 0xf);
	array->job->is_array = true;
	CHECK_INT(indices_parse("0-99", &array->job->pending), 0);
	array->job->parallel = 2;
	CHECK_STR(overdue(pool), "1 2");
	array->job->parallel = 0;
	CHECK_STR(overdue(pool), "1 2 3 4");
	pool->leases[0]->job->array = array->id; /* not for one of its own */
	CHECK_STR(overdue(pool), "2 3 4");
}

static void of_a_shared_card_as_many_as_it_takes(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1); /* of 81920 MiB */
	struct lease *waiting;

	add_running(pool, 1, 4 * HOUR)->request.share_mib = 10000;
	add_running(pool, 1, 3 * HOUR)->request.share_mib = 30000;
	add_running(pool, 1, 2 * HOUR)->request.share_mib = 40000;
	waiting = add_share(pool, 5000, 1, TIME_NEVER);
	CHECK_STR(overdue(pool), "1");
	waiting->request.share_mib = 20000;
	CHECK_STR(overdue(pool), "2");
	waiting->request.share_mib = 1000; /* there is room */
	CHECK_STR(overdue(pool), "");
	waiting->request.share_mib = 0;
	CHECK_STR(overdue(pool), "1 2 3");
	pool->leases[1]->since_us = NOW;
	CHECK_STR(overdue(pool), "");
}

static void two_shares_fit_on_what_one_gives_up(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	add_running(pool, 1, 4 * HOUR);
	add_running(pool, 2, 3 * HOUR);
	add_share(pool, 40000, 3, TIME_NEVER);
	add_share(pool, 40000, 3, TIME_NEVER);
	CHECK_STR(overdue(pool), "1");
	add_share(pool, 40000, 3, TIME_NEVER);
	CHECK_STR(overdue(pool), "1 2");
}

int main(void)
{
	TEST(alone_it_runs_on);
	TEST(not_before_its_slice_is_over);
	TEST(only_jobs_have_slices);
	TEST(not_for_the_blocked);
	TEST(not_for_who_is_nicer);
	TEST(the_longest_first_and_no_more_than_needed);
	TEST(who_is_not_needed_stays);
	TEST(not_while_somebody_gives_way_already);
	TEST(not_for_who_could_not_start_even_then);
	TEST(an_array_is_as_many_as_may_start);
	TEST(of_a_shared_card_as_many_as_it_takes);
	TEST(two_shares_fit_on_what_one_gives_up);
	return tap_done();
}
