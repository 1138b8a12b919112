/* SPDX-License-Identifier: MIT */
#include "policy/transition.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

#define DAY (24 * HOUR)

/* Active for an hour already when it ends, at NOW. */
static struct lease *add_running(struct pool *pool, uint64_t gpus, unsigned retries)
{
	struct lease *lease = add_job(pool, gpu_set_count(&(struct gpu_set){ { gpus } }), gpus);
	struct gpu_set set = set_of(gpus);

	lease->job->retries = retries;
	transition_grant(lease, &set, NOW - HOUR);
	return lease;
}

static struct lease *add_array(struct pool *pool, const char *indices, unsigned parallel)
{
	struct lease *lease = add_job(pool, 1, 3);
	int r = indices_parse(indices, &lease->job->pending);

	assert(r == 0);
	lease->job->is_array = true;
	lease->job->parallel = parallel;
	return lease;
}

static void a_grant_starts_a_new_record(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct gpu_set gpus = set_of(1);
	struct lease *lease = add_job(pool, 1, 1);

	lease->job->exit_status = 3;
	lease->job->exit_signal = 9;
	text_copy(lease->job->reason, JOB_REASON_SIZE, "out of memory");
	transition_grant(lease, &gpus, NOW);
	CHECK_INT(lease->job->exit_status, -1);
	CHECK_INT(lease->job->exit_signal, 0);
	CHECK_STR(lease->job->reason, "");
	CHECK_INT(lease->started_us, NOW);
	transition_requeue(pool, lease, 9, 0, NOW + HOUR);
	transition_grant(lease, &gpus, NOW + 2 * HOUR);
	CHECK_INT(lease->started_us, NOW); /* the first time */
	CHECK_INT(lease->since_us, NOW + 2 * HOUR);
}

static void requeue_gives_everything_back(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *lease = add_running(pool, 3, 0);

	lease->pid = 77;
	lease->start_ticks = 5;
	lease->job->warned = true;
	lease->job->then = JOB_THEN_REQUEUE;
	lease->job->exit_status = 3;
	lease->idle_release_us = NOW;
	transition_warn(lease, LEASE_END_LIMIT, NOW, MINUTE);
	transition_requeue(pool, lease, 9, NOW + HOUR, NOW);
	CHECK_INT(lease->state, LEASE_WAITING);
	CHECK_INT(lease->end, LEASE_END_NONE);
	CHECK(gpu_set_empty(&lease->gpus));
	CHECK_INT(lease->turn, 9);
	CHECK_INT(lease->until_us, TIME_NEVER);
	CHECK_INT(lease->kill_us, TIME_NEVER);
	CHECK_INT(lease->pid + (int)lease->start_ticks, 0);
	CHECK_INT(lease->idle_release_us, 0);
	CHECK_INT(lease->job->begin_us, NOW + HOUR);
	CHECK_INT(lease->job->then, JOB_THEN_END);
	CHECK(!lease->job->warned);
	CHECK_INT(lease->job->restarts, 1);
	CHECK_INT(lease->job->exit_status, 3); /* the record of this attempt */
	CHECK_INT(pool->gpus[1].free_since_us, NOW);
	CHECK_INT(gpu_last_use(&pool->gpus[1], lease->uid), NOW);
}

static void a_suspended_one_goes_on_with_its_attempt(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct gpu_set gpus = set_of(1);
	struct lease *lease = add_running(pool, 1, 0);

	lease->pid = 77;
	lease->job->suspended = true;
	text_copy(lease->job->reason, JOB_REASON_SIZE, "so far");
	transition_requeue(pool, lease, 9, 0, NOW);
	CHECK_INT(lease->pid, 77);
	CHECK_INT(lease->job->restarts, 0);
	transition_grant(lease, &gpus, NOW + HOUR);
	CHECK(lease->job->suspended); /* until it is thawed */
	CHECK_STR(lease->job->reason, "so far");
	/* The machine is booted while it is suspended: it starts anew. */
	transition_requeue(pool, lease, 10, 0, NOW + HOUR);
	lease->job->suspended = false;
	transition_requeue(pool, lease, 11, 0, NOW + HOUR);
	CHECK_INT(lease->state, LEASE_WAITING);
	CHECK_INT(lease->job->restarts, 1);
	CHECK_INT(lease->turn, 11);
}

static void a_shared_gpu_is_free_when_its_last_holder_has_ended(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *first = add_running(pool, 1, 0), *second = add_running(pool, 1, 0);

	first->request.share_mib = second->request.share_mib = 1000;
	transition_requeue(pool, first, 9, 0, NOW);
	CHECK_INT(pool->gpus[0].free_since_us, 0);
	CHECK_INT(gpu_last_use(&pool->gpus[0], first->uid), NOW);
	CHECK(pool_holder(pool, 0) == second);
	transition_end(pool, second, LEASE_END_EXITED, NOW + HOUR);
	CHECK_INT(pool->gpus[0].free_since_us, NOW + HOUR);
}

static void elements_one_after_the_other(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *array = add_array(pool, "3,5", 0);
	_cleanup_(lease_freep) struct lease *first = NULL, *second = NULL;

	array->turn = 77;
	array->request.share_mib = 1000;
	array->request.types = strdup("A100");
	first = transition_split(array, 8, NOW + HOUR);
	CHECK_INT(first->id, 8);
	CHECK_INT(first->kind, LEASE_JOB);
	CHECK_INT(first->state, LEASE_WAITING);
	CHECK_INT(first->uid, array->uid);
	CHECK_INT(first->turn, 77);
	CHECK_INT(first->submitted_us, array->submitted_us);
	CHECK(first->attached);
	CHECK_INT(first->job->array, array->id);
	CHECK_INT(first->job->index, 3);
	CHECK_INT(first->request.share_mib, 1000);
	CHECK_STR(first->request.types, "A100");
	CHECK(gpu_set_count(&first->eligible) == 2);
	CHECK_INT(array->state, LEASE_WAITING);
	CHECK_INT(array->started_us, NOW + HOUR);
	second = transition_split(array, 9, NOW + 2 * HOUR);
	CHECK_INT(second->job->index, 5);
	CHECK_INT(array->state, LEASE_ACTIVE);
	CHECK_INT(array->since_us, NOW + 2 * HOUR);
	CHECK_INT(array->started_us, NOW + HOUR);
	CHECK_INT(array->job->n_active, 2);
	CHECK(!lease_holds(array));
}

static void without_a_turn_an_element_has_the_place_of_its_array(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *array = add_array(pool, "0", 0);
	_cleanup_(lease_freep) struct lease *element = transition_split(array, 8, NOW);

	CHECK_INT(element->turn, array->id);
}

static void an_array_ends_with_its_last_element(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *array = add_array(pool, "0-2", 0);
	struct lease *elements[3];

	for (int i = 0; i < 3; i++) {
		elements[i] = transition_split(array, 8 + i, NOW);
		elements[i]->job->exit_status = i == 1;
		transition_end(pool, elements[i], LEASE_END_EXITED, NOW);
		CHECK_INT(transition_element_ended(array, elements[i]), i == 2);
		lease_free(elements[i]);
	}
	CHECK_INT(array->job->n_ok, 2);
	CHECK_INT(array->job->n_failed, 1);
	transition_end(pool, array, LEASE_END_EXITED, NOW);
	CHECK(!transition_ended_well(array));
	array->job->n_failed = 0;
	CHECK(transition_ended_well(array));
	array->end = LEASE_END_RELEASED;
	CHECK(!transition_ended_well(array));
}

static void an_array_that_was_ended_does_not_end_again(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *array = add_array(pool, "0", 0);
	_cleanup_(lease_freep) struct lease *element = transition_split(array, 8, NOW);

	transition_end(pool, array, LEASE_END_RELEASED, NOW);
	transition_end(pool, element, LEASE_END_RELEASED, NOW);
	CHECK(!transition_element_ended(array, element));
	CHECK_INT(array->job->n_failed, 1);
}

static void what_will_never_start_has_failed(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *array = add_array(pool, "0-4", 0);
	_cleanup_(lease_freep) struct lease *element = transition_split(array, 8, NOW);

	CHECK(!transition_drop(array, 2));
	CHECK_INT(array->job->n_failed, 1);
	CHECK_INT(indices_count(&array->job->pending), 3);
	CHECK(!transition_drop(array, -1)); /* one still runs */
	CHECK_INT(array->job->n_failed, 4);
	CHECK_INT(array->job->pending.n_ranges, 0);
	transition_end(pool, element, LEASE_END_EXITED, NOW);
	CHECK(transition_element_ended(array, element));
}

static void an_array_may_end_without_elements(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	CHECK(transition_drop(add_array(pool, "7", 0), 7));
	CHECK(transition_drop(add_array(pool, "0-4", 0), -1));
}

static void what_is_a_good_end(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *job = add_job(pool, 1, 1), *run = add_waiting(pool, 1, 1, HOUR);

	job->end = LEASE_END_EXITED;
	CHECK(!transition_ended_well(job)); /* not known */
	job->job->exit_status = 0;
	CHECK(transition_ended_well(job));
	job->job->exit_status = 1;
	CHECK(!transition_ended_well(job));
	job->job->exit_status = 0;
	job->end = LEASE_END_LIMIT;
	CHECK(!transition_ended_well(job));
	for (int end = LEASE_END_EXITED; end < LEASE_END_MAX; end++) {
		run->end = (enum lease_end)end;
		CHECK_INT(transition_ended_well(run), end == LEASE_END_EXITED ||
							      end == LEASE_END_EXPIRED ||
							      end == LEASE_END_RELEASED);
	}
}

static void add_need(struct lease *lease, int64_t id, enum job_need_on on)
{
	struct job *job = lease->job;

	job->needs = reallocarray(job->needs, job->n_needs + 1, sizeof(*job->needs));
	assert(job->needs);
	job->needs[job->n_needs++] = (struct job_need){ id, on };
}

static void needs_are_fulfilled_or_broken(void)
{
	static const enum need_result well[] = { NEED_FULFILLED, NEED_BROKEN, NEED_FULFILLED };
	static const enum need_result badly[] = { NEED_BROKEN, NEED_FULFILLED, NEED_FULFILLED };

	for (int on = 0; on < JOB_NEED_ON_MAX; on++) {
		_cleanup_(pool_freep) struct pool *pool = pool_of(1);
		struct lease *ended = add_job(pool, 1, 1);
		struct lease *a = add_job(pool, 1, 1), *b = add_job(pool, 1, 1);

		add_need(a, ended->id, (enum job_need_on)on);
		add_need(b, ended->id, (enum job_need_on)on);
		ended->end = LEASE_END_EXITED;
		ended->job->exit_status = 0;
		CHECK_INT(transition_need(a, ended), well[on]);
		CHECK_INT(a->job->n_needs, well[on] == NEED_BROKEN);
		ended->job->exit_status = 1;
		CHECK_INT(transition_need(b, ended), badly[on]);
	}
}

static void only_the_need_for_that_one(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *ended = add_job(pool, 1, 1), *other = add_job(pool, 1, 1);
	struct lease *lease = add_job(pool, 1, 1);

	ended->end = LEASE_END_EXITED;
	ended->job->exit_status = 0;
	CHECK_INT(transition_need(lease, ended), NEED_NOT);
	add_need(lease, other->id, JOB_NEED_OK);
	CHECK_INT(transition_need(lease, ended), NEED_NOT);
	add_need(lease, ended->id, JOB_NEED_OK);
	add_need(lease, 99, JOB_NEED_ANY);
	add_need(lease, ended->id, JOB_NEED_ANY);
	CHECK_INT(transition_need(lease, ended), NEED_FULFILLED);
	CHECK_INT(lease->job->n_needs, 2);
	CHECK_INT(lease->job->needs[0].id, other->id);
	CHECK_INT(lease->job->needs[1].id, 99);
	add_need(lease, ended->id, JOB_NEED_OK);
	add_need(lease, ended->id, JOB_NEED_FAIL);
	CHECK_INT(transition_need(lease, ended), NEED_BROKEN);
}

/* "end exited", "requeue", "retry 60": what follows, and in how many seconds. */
static const char *next(struct lease *lease, int64_t delay_us)
{
	static char text[64];
	enum lease_end why = LEASE_END_NONE;
	int64_t begin_us = 0;

	switch (transition_job_next(lease, NOW, delay_us, &why, &begin_us)) {
	case JOB_NEXT_END:
		snprintf(text, sizeof(text), "end %s", lease_end_to_string(why));
		break;
	case JOB_NEXT_REQUEUE:
		return "requeue";
	case JOB_NEXT_RETRY:
		snprintf(text, sizeof(text), "retry %d", (int)((begin_us - NOW) / SEC));
		break;
	}
	return text;
}

static void success_ends(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 3);

	lease->job->exit_status = 0;
	lease->job->on_limit = JOB_LIMIT_REQUEUE;
	CHECK_STR(next(lease, MINUTE), "end exited");
	CHECK_INT(lease->job->retries, 3);
}

static void failure_retries_while_there_are_retries(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 2);

	lease->job->exit_status = 1;
	CHECK_STR(next(lease, MINUTE), "retry 60");
	lease->job->restarts = 1;
	CHECK_STR(next(lease, MINUTE), "retry 120");
	lease->job->restarts = 2;
	CHECK_INT(lease->job->retries, 0);
	CHECK_STR(next(lease, MINUTE), "end exited");
	lease->job->exit_status = -1;
	lease->job->exit_signal = 9;
	CHECK_STR(next(lease, MINUTE), "end exited");
	lease->job->retries = 1;
	CHECK_STR(next(lease, MINUTE), "retry 240");
}

static void the_delay_ends_at_a_day(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 9);

	lease->job->restarts = 11;
	CHECK_STR(next(lease, MINUTE), "retry 86400");
	lease->job->restarts = 4000000000;
	CHECK_STR(next(lease, MINUTE), "retry 86400");
	CHECK_STR(next(lease, 0), "retry 0");
	CHECK_STR(next(lease, TIME_NEVER), "retry 86400");
}

static void not_started_or_lost_is_a_failure(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 2);

	lease->end = LEASE_END_FAILED;
	CHECK_STR(next(lease, 0), "retry 0");
	lease->end = LEASE_END_LOST;
	CHECK_STR(next(lease, 0), "retry 0");
	CHECK_STR(next(lease, 0), "end lost");
	lease->end = LEASE_END_FAILED;
	CHECK_STR(next(lease, 0), "end failed");
}

static void who_was_told_to_end_ends(void)
{
	static const enum lease_end why[] = { LEASE_END_RELEASED, LEASE_END_ADMIN, LEASE_END_IDLE,
		LEASE_END_MEMORY, LEASE_END_LIMIT };

	for (size_t i = 0; i < ELEMENTSOF(why); i++) {
		_cleanup_(pool_freep) struct pool *pool = pool_of(1);
		struct lease *lease = add_running(pool, 1, 3);
		char expected[32];

		lease->job->on_limit = JOB_LIMIT_REQUEUE;
		lease->job->exit_signal = 15;
		transition_warn(lease, why[i], NOW, MINUTE);
		snprintf(expected, sizeof(expected), "end %s", lease_end_to_string(why[i]));
		CHECK_STR(next(lease, 0), expected);
		CHECK_INT(lease->job->retries, 3);
		lease->job->then = JOB_THEN_REQUEUE;
		CHECK_STR(next(lease, 0), "requeue");
		lease->job->exit_status = 0; /* it has saved its state */
		CHECK_STR(next(lease, 0), "requeue");
	}
}

/* Its command has ended, what it left behind got TERM. */
static void leftovers_do_not_change_how_it_ended(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 1);

	lease->job->exit_status = 1;
	transition_warn(lease, LEASE_END_EXITED, NOW, MINUTE);
	CHECK_STR(next(lease, 0), "retry 0");
	lease->job->exit_status = 0;
	CHECK_STR(next(lease, 0), "end exited");
}

static void after_a_boot(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 1);

	lease->end = LEASE_END_REBOOT;
	lease->job->on_limit = JOB_LIMIT_SUSPEND;
	CHECK_STR(next(lease, 0), "requeue");
	lease->job->on_limit = JOB_LIMIT_REQUEUE;
	CHECK_STR(next(lease, 0), "requeue");
	CHECK_INT(lease->job->retries, 1);
	lease->job->on_limit = JOB_LIMIT_KILL;
	CHECK_STR(next(lease, 0), "retry 0");
	CHECK_STR(next(lease, 0), "end reboot");
}

static void check_due(
	const struct lease *lease, int64_t now_us, enum due expected, int64_t expected_next_us)
{
	int64_t next_us;

	CHECK_INT(transition_due(lease, now_us, &next_us), expected);
	CHECK_INT(next_us, expected_next_us);
}

static void the_signal_comes_once_before_the_limit(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 0);

	lease->until_us = NOW + HOUR;
	lease->job->warn_us = MINUTE;
	check_due(lease, NOW, DUE_NOTHING, NOW + HOUR); /* no signal, no warning */
	lease->job->warn_signal = 10;
	check_due(lease, NOW, DUE_NOTHING, NOW + HOUR - MINUTE);
	check_due(lease, NOW + HOUR - MINUTE, DUE_SIGNAL, TIME_NEVER);
	check_due(lease, NOW + HOUR, DUE_WARN, TIME_NEVER); /* too late for it */
	lease->job->warned = true;
	check_due(lease, NOW + HOUR - MINUTE, DUE_NOTHING, NOW + HOUR);
	check_due(lease, NOW + HOUR, DUE_WARN, TIME_NEVER);
	lease->job->warned = false;
	lease->until_us = TIME_NEVER;
	check_due(lease, NOW, DUE_NOTHING, TIME_NEVER);
}

static void a_begin_comes_once(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_job(pool, 1, 1);

	check_due(lease, NOW, DUE_NOTHING, TIME_NEVER);
	lease->job->begin_us = NOW + HOUR;
	check_due(lease, NOW, DUE_NOTHING, NOW + HOUR);
	check_due(lease, NOW + HOUR, DUE_BEGIN, TIME_NEVER);
	lease->job->begin_us = 0;
	check_due(lease, NOW + HOUR, DUE_NOTHING, TIME_NEVER);
	lease->job->begin_us = NOW + HOUR;
	lease->wait_until_us = NOW + MINUTE;
	check_due(lease, NOW, DUE_NOTHING, NOW + MINUTE);
	check_due(lease, NOW + HOUR, DUE_TIMEOUT, TIME_NEVER);
}

static void an_array_has_no_limit(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *array = add_array(pool, "0", 0);

	array->job->warn_signal = 10;
	array->request.duration_us = HOUR;
	lease_free(transition_split(array, 9, NOW));
	check_due(array, NOW + 2 * HOUR, DUE_NOTHING, TIME_NEVER);
}

static void jobs_are_extended_up_to_their_longest_time(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_running(pool, 1, 0); /* since an hour */
	struct verdict v;

	lease->until_us = NOW + HOUR;
	CHECK_INT(transition_extend(lease, HOUR, NOW, 3 * HOUR).kind, VERDICT_OK);
	v = transition_extend(lease, 1, NOW, 3 * HOUR);
	CHECK_STR(v.id, "lease.too-long");
	v = transition_extend(lease, HOUR, NOW, 3 * HOUR);
	CHECK_STR(v.text, "job #1 would end after 4h; at most 3h from its start is allowed here");
	CHECK_INT(transition_extend(lease, DAY, NOW, TIME_NEVER).kind, VERDICT_OK);
	CHECK_INT(lease->until_us, NOW + 2 * HOUR + DAY);
}

static void jobs_are_neither_given_nor_shrunk(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *lease = add_running(pool, 3, 0);
	struct gpu_set one = set_of(1);
	struct verdict v = transition_give(lease, 4242, NOW);

	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.text, "job #1 belongs to the processes of its owner, only holds can be given "
			  "to others");
	v = transition_shrink(pool, lease, &one, NOW);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.text, "job #1 is active, only an active run or hold can give GPUs back");
	CHECK_INT(gpu_set_count(&lease->gpus), 2);
}

int main(void)
{
	TEST(a_grant_starts_a_new_record);
	TEST(requeue_gives_everything_back);
	TEST(a_suspended_one_goes_on_with_its_attempt);
	TEST(a_shared_gpu_is_free_when_its_last_holder_has_ended);
	TEST(elements_one_after_the_other);
	TEST(without_a_turn_an_element_has_the_place_of_its_array);
	TEST(an_array_ends_with_its_last_element);
	TEST(an_array_that_was_ended_does_not_end_again);
	TEST(what_will_never_start_has_failed);
	TEST(an_array_may_end_without_elements);
	TEST(what_is_a_good_end);
	TEST(needs_are_fulfilled_or_broken);
	TEST(only_the_need_for_that_one);
	TEST(success_ends);
	TEST(failure_retries_while_there_are_retries);
	TEST(the_delay_ends_at_a_day);
	TEST(not_started_or_lost_is_a_failure);
	TEST(who_was_told_to_end_ends);
	TEST(leftovers_do_not_change_how_it_ended);
	TEST(after_a_boot);
	TEST(the_signal_comes_once_before_the_limit);
	TEST(a_begin_comes_once);
	TEST(an_array_has_no_limit);
	TEST(jobs_are_extended_up_to_their_longest_time);
	TEST(jobs_are_neither_given_nor_shrunk);
	return tap_done();
}
