/* SPDX-License-Identifier: MIT */
#include "model/job.h"

#include <stdlib.h>

#include "tests/unit/tap.h"

static struct job *an_array(void)
{
	struct job *job = job_new();

	job->name = strdup("train");
	job->on_limit = JOB_LIMIT_SUSPEND;
	job->grace_us = 7;
	job->warn_signal = 10;
	job->warn_us = 60;
	job->nice = -3;
	job->retries = 2;
	job->needs = calloc(2, sizeof(*job->needs));
	job->n_needs = 2;
	job->needs[1] = (struct job_need){ 41, JOB_NEED_ANY };
	job->held = true;
	job->begin_us = 5;
	job->is_array = true;
	indices_parse("0-9,12", &job->pending);
	job->parallel = 3;
	job->n_active = job->n_ok = job->n_failed = 1;
	job->log = strdup("/home/alice/dibs-42.log");
	job->exit_status = 3;
	job->spec = calloc(1, 10);
	job->spec_size = 10;
	return job;
}

static void words_go_both_ways(void)
{
	for (int i = 0; i < JOB_LIMIT_MAX; i++)
		CHECK_INT(job_limit_from_string(job_limit_to_string((enum job_limit)i)), i);
	for (int i = 0; i < JOB_NEED_ON_MAX; i++)
		CHECK_INT(job_need_on_from_string(job_need_on_to_string((enum job_need_on)i)), i);
	for (int i = 0; i < JOB_THEN_MAX; i++)
		CHECK_INT(job_then_from_string(job_then_to_string((enum job_then)i)), i);
	CHECK_INT(job_limit_from_string("stop"), JOB_LIMIT_INVALID);
	CHECK_INT(job_need_on_from_string(""), JOB_NEED_ON_INVALID);
	CHECK_INT(job_then_from_string("END"), JOB_THEN_INVALID);
}

static void a_new_one_has_not_run(void)
{
	_cleanup_(job_freep) struct job *job = job_new();

	CHECK_INT(job->exit_status, -1);
	CHECK_INT(job->exit_signal, 0);
	CHECK_INT(job->grace_us, -1);
	CHECK(!job_free(NULL));
}

static void a_copy_shares_nothing(void)
{
	struct job *job = an_array();
	_cleanup_(job_freep) struct job *copy = job_copy(job);

	job->name[0] = 'T';
	job->log[0] = 'X';
	job->needs[1].id = 1;
	indices_remove(&job->pending, 0);
	job_free(job);
	CHECK_STR(copy->name, "train");
	CHECK_STR(copy->log, "/home/alice/dibs-42.log");
	CHECK_INT(copy->n_needs, 2);
	CHECK_INT(copy->needs[1].id, 41);
	CHECK_INT(copy->needs[1].on, JOB_NEED_ANY);
	CHECK_INT(indices_count(&copy->pending), 11);
	CHECK_INT(copy->parallel, 3);
	CHECK_INT(copy->exit_status, 3);
	CHECK(!copy->spec && copy->spec_size == 0);
}

static void an_element_has_what_was_submitted(void)
{
	_cleanup_(job_freep) struct job *job = an_array();
	_cleanup_(job_freep) struct job *element = job_element(job, 42, 7);

	CHECK_STR(element->name, "train");
	CHECK(element->name != job->name);
	CHECK_INT(element->on_limit, JOB_LIMIT_SUSPEND);
	CHECK_INT(element->grace_us, 7);
	CHECK_INT(element->warn_signal, 10);
	CHECK_INT(element->warn_us, 60);
	CHECK_INT(element->nice, -3);
	CHECK_INT(element->retries, 2);
	CHECK_INT(element->array, 42);
	CHECK_INT(element->index, 7);
}

static void an_element_has_nothing_of_what_became_of_its_array(void)
{
	_cleanup_(job_freep) struct job *job = an_array();
	_cleanup_(job_freep) struct job *element = job_element(job, 42, 7);

	CHECK(!element->is_array && !element->held && !element->needs && !element->log);
	CHECK_INT(element->n_needs, 0);
	CHECK_INT(element->begin_us, 0);
	CHECK_INT(element->pending.n_ranges, 0);
	CHECK_INT(element->parallel + element->n_active + element->n_ok + element->n_failed, 0);
	CHECK_INT(element->exit_status, -1);
	CHECK(!element->spec);
}

static void an_array_has_room_for_so_many(void)
{
	struct job array = { .is_array = true };

	CHECK_INT(job_room(&array), JOB_ELEMENTS_MAX);
	array.n_active = JOB_ELEMENTS_MAX - 1;
	CHECK_INT(job_room(&array), 1);
	array.n_active = JOB_ELEMENTS_MAX;
	CHECK_INT(job_room(&array), 0);
	array.parallel = JOB_ELEMENTS_MAX + 5; /* nobody gets more by asking */
	CHECK_INT(job_room(&array), 0);
	array.parallel = 3;
	CHECK_INT(job_room(&array), 0);
	array.n_active = 1;
	CHECK_INT(job_room(&array), 2);
}

int main(void)
{
	TEST(words_go_both_ways);
	TEST(a_new_one_has_not_run);
	TEST(a_copy_shares_nothing);
	TEST(an_element_has_what_was_submitted);
	TEST(an_element_has_nothing_of_what_became_of_its_array);
	TEST(an_array_has_room_for_so_many);
	return tap_done();
}
