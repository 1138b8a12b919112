/* SPDX-License-Identifier: MIT */
#include "model/job.h"

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
