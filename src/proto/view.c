/* SPDX-License-Identifier: MIT */
#include "proto/view.h"

#include <inttypes.h>

static json_t *known(int64_t value)
{
	return value == GPU_UNKNOWN ? json_null() : json_integer(value);
}

static json_t *moment(int64_t ledger_us, int64_t wall_offset_us)
{
	return ledger_us == 0 || ledger_us == TIME_NEVER ? json_null()
							 : json_integer(ledger_us + wall_offset_us);
}

static json_t *text_or_null(const char *s)
{
	return s && *s ? json_string(s) : json_null();
}

static json_t *uid_or_null(uid_t uid)
{
	return uid == (uid_t)-1 ? json_null() : json_integer(uid);
}

static json_t *view_processes(const struct gpu *gpu)
{
	json_t *array = json_array();

	for (size_t i = 0; i < gpu->n_processes; i++) {
		const struct gpu_process *p = &gpu->processes[i];

		json_array_append_new(
			array, json_pack("{s:i, s:o, s:s, s:o, s:o, s:s, s:o}", "pid", (int)p->pid,
				       "uid", uid_or_null(p->uid), "command", p->command,
				       "memory_mib", known(p->memory_mib), "lease",
				       p->lease ? json_integer(p->lease) : json_null(), "standing",
				       standing_to_string(p->standing), "container",
				       text_or_null(p->container)));
	}
	return array;
}

static json_t *view_holders(const struct pool *pool, unsigned slot)
{
	json_t *array = json_array();

	for (const struct lease *holder = pool_holder(pool, slot); holder;
		holder = pool_next_holder(pool, slot, holder))
		json_array_append_new(array, json_integer(holder->id));
	return array;
}

static json_t *view_nodes(const struct gpu *gpu)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < gpu->n_nodes; i++) {
		char text[32];

		snprintf(text, sizeof(text), "%u:%u", gpu->nodes[i].major, gpu->nodes[i].minor);
		json_array_append_new(array, json_string(text));
	}
	return array;
}

json_t *view_gpu(const struct pool *pool, unsigned slot, int64_t wall_offset_us)
{
	const struct gpu *gpu = &pool->gpus[slot];
	char reason[GPU_REASON_SIZE];
	enum gpu_state state = pool_gpu_state(pool, slot, reason);

	return json_pack(
		"{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}",
		"index", gpu->index, "uuid", gpu->uuid, "model", gpu->model, "vendor",
		gpu_vendor_to_string(gpu->vendor), "memory_mib", known(gpu->memory_mib),
		"memory_used_mib", known(gpu->memory_used_mib), "utilization",
		known(gpu->utilization), "temperature_c", known(gpu->temperature_c), "power_w",
		known(gpu->power_w), "state", gpu_state_to_string(state), "reason",
		text_or_null(reason), "leases", view_holders(pool, slot), "processes",
		view_processes(gpu), "free_since", moment(gpu->free_since_us, wall_offset_us),
		"nodes", view_nodes(gpu));
}

static json_t *view_indices(const struct pool *pool, const struct gpu_set *set)
{
	unsigned slots[GPU_MAX], n = pool_sort_gpus(pool, set, slots);
	json_t *array = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(array, json_integer(pool->gpus[slots[i]].index));
	return array;
}

json_t *view_gpus(const struct pool *pool, const struct gpu_set *set, int64_t wall_offset_us)
{
	unsigned slots[GPU_MAX], n = pool_sort_gpus(pool, set, slots);
	json_t *array = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(array, view_gpu(pool, slots[i], wall_offset_us));
	return array;
}

static json_t *view_needs(const struct job *job)
{
	json_t *array = json_array();

	for (size_t i = 0; i < job->n_needs; i++)
		json_array_append_new(array, json_sprintf("%" PRId64 ":%s", job->needs[i].id,
						     job_need_on_to_string(job->needs[i].on)));
	return array;
}

/* By the wall clock of this moment, as a begin time passes without anything else that happens. */
static json_t *view_blocked(
	const struct pool *pool, const struct lease *lease, int64_t wall_offset_us)
{
	char text[POOL_BLOCKED_SIZE];

	if (lease->state != LEASE_WAITING ||
		!pool_blocked(pool, lease, clock_wall() - wall_offset_us, wall_offset_us, text))
		return json_null();
	return json_string(text);
}

static json_t *view_pending(const struct job *job)
{
	_cleanup_(freep) char *text = job->is_array ? indices_format(&job->pending) : NULL;

	return text_or_null(text);
}

static json_t *count_of_array(const struct job *job, unsigned n)
{
	return job->is_array ? json_integer(n) : json_null();
}

/* The account is known to the store alone. */
static json_t *view_job(const struct pool *pool, const struct lease *lease, int64_t wall_offset_us)
{
	const struct job *job = lease->job;

	if (!job)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:i, s:I, s:I, "
			 "s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:n, s:n, s:n}",
		"name", job->name ? job->name : "", "array",
		job->array ? json_integer(job->array) : json_null(), "index",
		job->array ? json_integer(job->index) : json_null(), "pending", view_pending(job),
		"active", count_of_array(job, job->n_active), "ok", count_of_array(job, job->n_ok),
		"failed", count_of_array(job, job->n_failed), "blocked",
		view_blocked(pool, lease, wall_offset_us), "held", job->held, "begin",
		moment(job->begin_us, wall_offset_us), "after", view_needs(job), "nice", job->nice,
		"retries", (json_int_t)job->retries, "restarts", (json_int_t)job->restarts,
		"on_limit", job_limit_to_string(job->on_limit), "suspended", job->suspended,
		"exit_status", known(job->exit_status), "exit_signal",
		job->exit_signal ? json_integer(job->exit_signal) : json_null(), "reason",
		text_or_null(job->reason), "log", text_or_null(job->log), "log_offset",
		(json_int_t)job->log_offset, "held_us", "used_us", "peak_memory_mib");
}

json_t *view_lease(
	const struct pool *pool, const struct lease *lease, size_t position, int64_t wall_offset_us)
{
	uint64_t share = lease->request.share_mib;

	return json_pack(
		"{s:I, s:s, s:s, s:I, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
		"s:o, s:o, s:o}",
		"id", (json_int_t)lease->id, "kind", lease_kind_to_string(lease->kind), "state",
		lease_state_to_string(lease->state), "uid", (json_int_t)lease->uid, "gpus",
		view_indices(pool, &lease->gpus), "count", (int)lease->request.count, "submitted",
		moment(lease->submitted_us, wall_offset_us), "since",
		moment(lease->since_us, wall_offset_us), "until",
		moment(lease->until_us, wall_offset_us), "ended",
		moment(lease->ended_us, wall_offset_us), "end",
		lease->end == LEASE_END_NONE ? json_null()
					     : json_string(lease_end_to_string(lease->end)),
		"command", text_or_null(lease->request.command), "note",
		text_or_null(lease->request.note), "position",
		position ? json_integer((json_int_t)position) : json_null(), "share_mib",
		share ? json_integer((json_int_t)share) : json_null(), "with_process",
		lease->request.bound != BOUND_NOT ? json_integer(lease->pid) : json_null(),
		"idle_since",
		lease_holds(lease) ? moment(lease->active_us, wall_offset_us) : json_null(),
		"idle_release", moment(lease->idle_release_us, wall_offset_us), "job",
		view_job(pool, lease, wall_offset_us));
}

json_t *view_event(const struct event *event)
{
	return json_pack("{s:I, s:I, s:s, s:o, s:o, s:o, s:s}", "id", (json_int_t)event->id, "time",
		(json_int_t)event->wall_us, "kind", event_kind_to_string(event->kind), "lease",
		event->lease ? json_integer(event->lease) : json_null(), "uid",
		uid_or_null(event->uid), "gpu", text_or_null(event->gpu), "detail", event->detail);
}
