/* SPDX-License-Identifier: MIT */
/*
 * What only batch jobs go through: back into the queue, one element after the other out of an
 * array, the ends that others wait for, and what follows an attempt.
 *
 * Whoever was told to end so that others can have its GPUs may make the best of it and exit with 0
 * when its state is saved, or with anything else. Both mean "I gave way", so what it was told for
 * decides, not how it ended. An end that nobody asked for is judged by its outcome.
 */
#include <assert.h>
#include <string.h>

#include "policy/transition.h"

#define RETRY_DELAY_MAX_US (INT64_C(86400) * 1000000)

void transition_requeue(
	struct pool *pool, struct lease *lease, int64_t turn, int64_t begin_us, int64_t at_us)
{
	struct job *job = lease->job;

	assert(job && !job->is_array && lease->state != LEASE_ENDED);

	if (lease_holds(lease))
		transition_let_go(pool, lease, &lease->gpus, at_us);
	lease->gpus = (struct gpu_set){ 0 };
	lease->state = LEASE_WAITING;
	lease->end = LEASE_END_NONE;
	lease->turn = turn;
	lease->until_us = TIME_NEVER;
	lease->kill_us = TIME_NEVER;
	lease->active_us = 0;
	lease->idle_release_us = 0;
	job->begin_us = begin_us;
	job->then = JOB_THEN_END;
	job->warned = false;
	if (job->suspended)
		return;
	job->restarts++;
	lease->pid = 0;
	lease->start_ticks = 0;
}

/* What an element has of its array; NULL without memory. */
static struct lease *make_element(const struct lease *array, int64_t id, int64_t index)
{
	_cleanup_(lease_freep) struct lease *lease = lease_new();

	if (!lease)
		return NULL;
	lease->id = id;
	lease->kind = LEASE_JOB;
	lease->uid = array->uid;
	lease->gid = array->gid;
	lease->turn = array->turn ? array->turn : array->id;
	lease->eligible = array->eligible;
	lease->submitted_us = array->submitted_us;
	lease->wait_until_us = array->wait_until_us;
	lease->attached = array->attached;
	lease->job = job_element(array->job, array->id, index);
	if (!lease->job || request_copy(&array->request, &lease->request) < 0)
		return NULL;
	return TAKE_PTR(lease);
}

struct lease *transition_split(struct lease *array, int64_t id, int64_t now_us)
{
	int64_t index = indices_first(&array->job->pending);
	struct lease *element;

	assert(array->state == LEASE_WAITING && array->job->is_array && index >= 0);

	element = make_element(array, id, index);
	if (!element)
		return NULL;
	indices_remove(&array->job->pending, index);
	array->job->n_active++;
	if (array->started_us == 0)
		array->started_us = now_us;
	if (array->job->pending.n_ranges == 0) {
		array->state = LEASE_ACTIVE;
		array->since_us = now_us;
	}
	return element;
}

bool transition_element_ended(struct lease *array, const struct lease *element)
{
	struct job *job = array->job;

	assert(job->n_active > 0 && element->job->array == array->id);

	job->n_active--;
	if (transition_ended_well(element))
		job->n_ok++;
	else
		job->n_failed++;
	return array->state == LEASE_ACTIVE && job->n_active == 0;
}

bool transition_drop(struct lease *array, int64_t index)
{
	struct job *job = array->job;

	if (index < 0) {
		job->n_failed += (unsigned)indices_count(&job->pending);
		indices_clear(&job->pending);
	} else if (indices_remove(&job->pending, index) >= 0) {
		job->n_failed++;
	}
	if (job->pending.n_ranges > 0)
		return false;
	array->state = LEASE_ACTIVE;
	if (array->since_us == 0)
		array->since_us = array->started_us;
	return job->n_active == 0;
}

static bool succeeded(const struct job *job)
{
	return job->exit_status == 0 && job->exit_signal == 0;
}

static bool job_ended_well(const struct lease *lease)
{
	const struct job *job = lease->job;

	if (lease->end != LEASE_END_EXITED)
		return false;
	if (job->is_array)
		return job->pending.n_ranges == 0 && job->n_active == 0 && job->n_failed == 0;
	return succeeded(job);
}

bool transition_ended_well(const struct lease *lease)
{
	if (lease->job)
		return job_ended_well(lease);
	return lease->end == LEASE_END_EXITED || lease->end == LEASE_END_EXPIRED ||
	       lease->end == LEASE_END_RELEASED;
}

static bool is_fulfilled(enum job_need_on on, bool well)
{
	return on == JOB_NEED_ANY || (on == JOB_NEED_OK) == well;
}

enum need_result transition_need(struct lease *lease, const struct lease *ended)
{
	struct job *job = lease->job;
	bool well = transition_ended_well(ended);
	size_t kept = 0;

	for (size_t i = 0; i < job->n_needs; i++)
		if (job->needs[i].id == ended->id && !is_fulfilled(job->needs[i].on, well))
			return NEED_BROKEN;
	for (size_t i = 0; i < job->n_needs; i++)
		if (job->needs[i].id != ended->id)
			job->needs[kept++] = job->needs[i];
	if (kept == job->n_needs)
		return NEED_NOT;
	job->n_needs = kept;
	return NEED_FULFILLED;
}

/* Was it told to end, rather than that it came to its end? */
static bool was_ended(enum lease_end why)
{
	switch (why) {
	case LEASE_END_NONE:
	case LEASE_END_EXITED:
	case LEASE_END_FAILED:
	case LEASE_END_LOST:
	case LEASE_END_REBOOT:
		return false;
	case LEASE_END_EXPIRED:
	case LEASE_END_LIMIT:
	case LEASE_END_RELEASED:
	case LEASE_END_ADMIN:
	case LEASE_END_GONE:
	case LEASE_END_TIMEOUT:
	case LEASE_END_IDLE:
	case LEASE_END_NEED:
	case LEASE_END_MEMORY:
	case LEASE_END_MAX:
	case LEASE_END_INVALID:
		break;
	}
	return true;
}

/* delay_us, doubled with each attempt that there was before. */
static int64_t retry_delay(const struct job *job, int64_t delay_us)
{
	for (unsigned i = 0; i < job->restarts && delay_us > 0 && delay_us < RETRY_DELAY_MAX_US;
		i++)
		delay_us *= 2;
	return MIN(delay_us, RETRY_DELAY_MAX_US);
}

enum job_next transition_job_next(struct lease *lease, int64_t now_us, int64_t retry_delay_us,
	enum lease_end *ret_why, int64_t *ret_begin_us)
{
	enum lease_end why = lease->end == LEASE_END_NONE ? LEASE_END_EXITED : lease->end;
	struct job *job = lease->job;

	if (lease->state == LEASE_GRACE && job->then == JOB_THEN_REQUEUE)
		return JOB_NEXT_REQUEUE;
	if (why == LEASE_END_REBOOT && job->on_limit != JOB_LIMIT_KILL)
		return JOB_NEXT_REQUEUE;
	if (was_ended(why) || (why == LEASE_END_EXITED && succeeded(job)) || job->retries == 0) {
		*ret_why = why;
		return JOB_NEXT_END;
	}
	*ret_begin_us = now_us + retry_delay(job, retry_delay_us);
	job->retries--;
	return JOB_NEXT_RETRY;
}
