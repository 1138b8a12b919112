/* SPDX-License-Identifier: MIT */
#include "model/job.h"

#include <errno.h>
#include <string.h>

#include "base/strtab.h"

static const char *const limits[JOB_LIMIT_MAX] = {
	[JOB_LIMIT_KILL] = "kill",
	[JOB_LIMIT_REQUEUE] = "requeue",
	[JOB_LIMIT_SUSPEND] = "suspend",
};
DEFINE_STRTAB(job_limit, enum job_limit, limits)

static const char *const needs[JOB_NEED_ON_MAX] = {
	[JOB_NEED_OK] = "ok",
	[JOB_NEED_FAIL] = "fail",
	[JOB_NEED_ANY] = "any",
};
DEFINE_STRTAB(job_need_on, enum job_need_on, needs)

static const char *const thens[JOB_THEN_MAX] = {
	[JOB_THEN_END] = "end",
	[JOB_THEN_REQUEUE] = "requeue",
};
DEFINE_STRTAB(job_then, enum job_then, thens)

struct job *job_new(void)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->grace_us = -1;
	job->exit_status = -1;
	return job;
}

struct job *job_free(struct job *job)
{
	if (!job)
		return NULL;
	indices_clear(&job->pending);
	free(job->needs);
	free(job->name);
	free(job->log);
	free(job->spec);
	free(job);
	return NULL;
}

static int copy_owned(const struct job *job, struct job *copy)
{
	copy->name = strdup(job->name);
	copy->log = job->log ? strdup(job->log) : NULL;
	copy->needs = job->n_needs > 0 ? calloc(job->n_needs, sizeof(*job->needs)) : NULL;
	if (!copy->name || (job->log && !copy->log) || (job->n_needs > 0 && !copy->needs))
		return -ENOMEM;
	if (job->n_needs > 0)
		memcpy(copy->needs, job->needs, job->n_needs * sizeof(*job->needs));
	return indices_copy(&job->pending, &copy->pending);
}

struct job *job_copy(const struct job *job)
{
	_cleanup_(job_freep) struct job *copy = job_new();

	if (!copy)
		return NULL;
	*copy = *job;
	copy->name = copy->log = copy->spec = NULL;
	copy->spec_size = 0;
	copy->needs = NULL;
	copy->pending = (struct indices){ 0 };
	return copy_owned(job, copy) < 0 ? NULL : TAKE_PTR(copy);
}

unsigned job_room(const struct job *array)
{
	unsigned most = array->parallel > 0 ? array->parallel : JOB_ELEMENTS_MAX;

	most = MIN(most, (unsigned)JOB_ELEMENTS_MAX);
	return array->n_active < most ? most - array->n_active : 0;
}

struct job *job_element(const struct job *array, int64_t array_id, int64_t index)
{
	_cleanup_(job_freep) struct job *job = job_new();

	if (!job)
		return NULL;
	job->name = strdup(array->name);
	if (!job->name)
		return NULL;
	job->on_limit = array->on_limit;
	job->grace_us = array->grace_us;
	job->warn_signal = array->warn_signal;
	job->warn_us = array->warn_us;
	job->nice = array->nice;
	job->retries = array->retries;
	job->array = array_id;
	job->index = index;
	return TAKE_PTR(job);
}
