/* SPDX-License-Identifier: MIT */
#include "daemon/job_order.h"

#include <errno.h>
#include <inttypes.h>

#include "base/text.h"
#include "daemon/api.h"
#include "daemon/jobs.h"
#include "proto/environment.h"

static void put_variable(struct fields_writer *order, const char *name, const char *value)
{
	_cleanup_(freep) char *variable = text_format("%s=%s", name, value);

	if (variable)
		fields_put(order, "gpuenv", variable);
	else
		order->failed = true;
}

static void put_number(struct fields_writer *order, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	put_variable(order, name, text);
}

/* What the job itself is called, and where it stands. */
static void put_names(struct fields_writer *order, const struct lease *lease)
{
	const struct job *job = lease->job;
	char name[LEASE_LABEL_SIZE];

	lease_label(lease, name);
	put_variable(order, "DIBS_JOB", name);
	put_number(order, "DIBS_RESTART_COUNT", job->restarts);
	if (!job->array)
		return;
	put_number(order, "DIBS_ARRAY_ID", job->array);
	put_number(order, "DIBS_ARRAY_INDEX", job->index);
}

/* The same that "dibs run" puts into the environment of its command. */
static int put_gpus(const struct manager *m, const struct lease *lease, struct fields_writer *order)
{
	_cleanup_(environment_clear) struct environment environment = { 0 };
	_cleanup_(json_decrefp) json_t *view = api_view_request(m, lease, 0);

	if (!view || environment_build(view, NULL, &environment) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < environment.n; i++)
		put_variable(order, environment.variables[i].name, environment.variables[i].value);
	return 0;
}

static void put_job(const struct manager *m, const struct lease *lease, struct fields_writer *order)
{
	const struct job *job = lease->job;
	_cleanup_(freep) char *record = jobs_record_path(m, lease);

	if (!record) {
		order->failed = true;
		return;
	}
	fields_put_int(order, "id", lease->id);
	fields_put_int(order, "attempt", job->restarts);
	fields_put_int(order, "uid", lease->uid);
	fields_put(order, "name", job->name);
	if (job->array) {
		fields_put_int(order, "array", job->array);
		fields_put_int(order, "index", job->index);
	}
	fields_put(order, "record", record);
	fields_put(order, "host", m->host);
}

static void put_site(
	const struct manager *m, const struct lease *lease, struct fields_writer *order)
{
	const struct config *config = m->config;

	if (lease->cgroup)
		fields_put(order, "cgroup", lease->cgroup);
	if (m->root && config->jobs_pam_service)
		fields_put(order, "pam", config->jobs_pam_service);
	fields_put_int(order, "start_timeout_us", config->jobs_start_timeout_us);
	if (config->jobs_processes_max && !m->limits_processes)
		fields_put_int(order, "processes_max", config->jobs_processes_max);
}

int job_order(
	struct manager *m, const struct lease *lease, struct fields_writer *ret, struct error *err)
{
	int64_t id = lease->job->array ? lease->job->array : lease->id;
	_cleanup_(freep) char *spec = NULL;
	size_t size = 0;
	int r = m->store->ops->get_spec(m->store, id, &spec, &size, err);

	if (r < 0)
		return r;
	if (!spec)
		return error_set(err, -ENOENT, "job.no-spec", "its command is not on record");
	put_job(m, lease, ret);
	put_site(m, lease, ret);
	put_names(ret, lease);
	if (put_gpus(m, lease, ret) < 0)
		ret->failed = true;
	fields_put_raw(ret, "user", sizeof("user"));
	fields_put_raw(ret, spec, size);
	fields_put_raw(ret, "end", sizeof("end"));
	if (ret->failed)
		return error_set(err, -ENOMEM, "job.memory", "out of memory");
	return 0;
}
