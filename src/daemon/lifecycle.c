/* SPDX-License-Identifier: MIT */
#include "daemon/lifecycle.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/inventory.h"
#include "daemon/job.h"
#include "daemon/job_suspend.h"
#include "daemon/revoke.h"
#include "daemon/suspend.h"
#include "daemon/wait.h"
#include "daemon/watch.h"
#include "policy/admit.h"
#include "policy/queue.h"
#include "policy/slice.h"
#include "policy/transition.h"
#include "priv/process.h"
#include "priv/terminal.h"

/* One element of an array becomes a lease of its own. */
static struct lease *split(struct manager *m, struct lease *array)
{
	_cleanup_(lease_freep) struct lease *element = NULL;

	batch_touch(m, array);
	element = transition_split(array, m->next_id, clock_now(&m->clock));
	if (!element || job_place(m, element) < 0 || watch_new(m, element) < 0 ||
		pool_add(m->pool, element) < 0) {
		log_error("out of memory; leases are safe on disk");
		abort();
	}
	m->next_id++;
	element->attached = true;
	return TAKE_PTR(element);
}

void lifecycle_grant(struct manager *m, struct lease *lease, const struct gpu_set *gpus)
{
	char list[GPU_LIST_SIZE], detail[EVENT_DETAIL_SIZE];

	if (lease->job && lease->job->is_array)
		lease = split(m, lease);
	batch_touch(m, lease);
	transition_grant(lease, gpus, clock_now(&m->clock));
	inventory_judge(m, gpus);
	pool_format_gpus(m->pool, gpus, list, sizeof(list));
	snprintf(detail, sizeof(detail), "GPU %.300s", list);
	batch_event(m, EVENT_GRANTED, lease->id, lease->uid, NULL, detail);
}

static void count_element(struct manager *m, const struct lease *element, uid_t actor)
{
	struct lease *array = pool_find(m->pool, element->job->array);

	if (!array || array->state == LEASE_ENDED)
		return;
	batch_touch(m, array);
	if (transition_element_ended(array, element))
		lifecycle_end(m, array,
			array->end == LEASE_END_NONE ? LEASE_END_EXITED : array->end,
			clock_now(&m->clock), actor, NULL);
}

void lifecycle_end(struct manager *m, struct lease *lease, enum lease_end why, int64_t at_us,
	uid_t actor, const char *detail)
{
	struct watch *watch = watch_of(lease);

	if (lease->state == LEASE_ENDED)
		return;
	batch_touch(m, lease);
	if (lease_holds(lease)) {
		gpu_set_foreach (slot, &lease->gpus)
			batch_touch_gpu(m, slot);
		revoke_mark(m, lease, &lease->gpus);
	}
	transition_end(m->pool, lease, why, at_us);
	inventory_judge(m, &lease->gpus);
	m->jobs_ended = true;
	if (watch->stored)
		batch_event_at(m, at_us, EVENT_ENDED, lease->id, actor, NULL,
			detail ? detail : lease_end_to_string(lease->end));
	batch_want_pass(m);
	if (lease->job && lease->job->array)
		count_element(m, lease, actor);
	else if (lease->job)
		batch_forget_spec(m, lease->id);
}

void lifecycle_warn(
	struct manager *m, struct lease *lease, enum lease_end why, uid_t actor, const char *detail)
{
	int64_t grace_us = m->config->kill_grace_us;

	if (lease->state != LEASE_ACTIVE)
		return;
	if (lease->job && lease->job->grace_us >= 0)
		grace_us = lease->job->grace_us;
	batch_touch(m, lease);
	transition_warn(lease, why, clock_now(&m->clock), grace_us);
	batch_event(m, EVENT_WARNED, lease->id, actor, NULL,
		detail ? detail : lease_end_to_string(why));
}

void lifecycle_requeue(
	struct manager *m, struct lease *lease, int64_t begin_us, uid_t actor, const char *detail)
{
	struct gpu_set gpus = lease->gpus;
	int64_t now_us = clock_now(&m->clock);

	batch_touch(m, lease);
	gpu_set_foreach (slot, &gpus)
		batch_touch_gpu(m, slot);
	revoke_mark(m, lease, &gpus);
	transition_requeue(m->pool, lease, m->next_id++, begin_us, now_us);
	/* Until that is stored: it may not get other GPUs in the same transaction. */
	lease->attached = false;
	inventory_judge(m, &gpus);
	batch_event(m, lease->job->suspended ? EVENT_SUSPENDED : EVENT_REQUEUED, lease->id, actor,
		NULL, detail);
	batch_want_pass(m);
}

void lifecycle_switch(struct manager *m, struct lease *lease, enum lease_end why)
{
	if (lease->state != LEASE_ACTIVE)
		return;
	if (lease->job->on_limit == JOB_LIMIT_SUSPEND && job_suspend(m, lease, NULL, why))
		return;
	batch_touch(m, lease);
	lease->job->then = JOB_THEN_REQUEUE;
	lifecycle_warn(m, lease, why, EVENT_NOBODY,
		why == LEASE_END_LIMIT ? "its time limit; it goes to the end of the queue"
				       : "others wait; it goes to the end of the queue");
}

struct verdict lifecycle_can_release(const struct manager *m, const struct lease *lease)
{
	if (m->root || lease->kind == LEASE_HOLD || !lease_holds(lease) || lease->uid == geteuid())
		return verdict_ok();
	return verdict_make(VERDICT_REFUSED, "lease.no-power",
		"this dibsd does not run as root, so it cannot end %s #%" PRId64
		"; end process %d instead",
		lease_kind_to_string(lease->kind), lease->id, (int)lease->pid);
}

/* All that is left of an array: what has not started never will, what runs is ended. */
static void release_array(
	struct manager *m, struct lease *array, enum lease_end why, uid_t actor, const char *detail)
{
	bool over = transition_drop(array, -1);

	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];

		if (lease->job && lease->job->array == array->id && lease->state != LEASE_ENDED)
			lifecycle_release(m, lease, why, actor, detail);
	}
	if (over)
		lifecycle_end(m, array, why, clock_now(&m->clock), actor, detail);
	else if (array->state != LEASE_ENDED)
		array->end = why; /* when the last of its elements has ended */
}

void lifecycle_release(
	struct manager *m, struct lease *lease, enum lease_end why, uid_t actor, const char *detail)
{
	if (lease->job) {
		batch_touch(m, lease);
		lease->job->then = JOB_THEN_END;
		lease->job->retries = 0; /* whatever it was about to end for */
	}
	if (lease->job && lease->job->is_array)
		release_array(m, lease, why, actor, detail);
	else if (lease->kind != LEASE_HOLD && lease_holds(lease))
		lifecycle_warn(m, lease, why, actor, detail);
	else
		lifecycle_end(m, lease, why, clock_now(&m->clock), actor, detail);
}

static void end_waiting(struct manager *m, struct lease *lease)
{
	struct verdict why = queue_why(m->pool, lease, clock_to_wall_offset(&m->clock));
	struct watch *watch = watch_of(lease);

	free(watch->farewell);
	watch->farewell = strdup(why.text);
	lifecycle_end(m, lease, LEASE_END_TIMEOUT, lease->wait_until_us, EVENT_NOBODY, why.text);
}

/* When nobody is expected any more to wait for it: a client that waited when the daemon was stopped
 * has some time to come back, one that left has not. */
static int64_t deserted_at(const struct manager *m, const struct lease *lease)
{
	if (lease->state != LEASE_WAITING || lease->attached || lease->job)
		return TIME_NEVER;
	return watch_of(lease)->left ? lease->submitted_us : m->reattach_until_us;
}

/* What time asks of it; nothing of a job that the daemon has not taken up yet, or that is frozen
 * while its limit is reached: that is looked at again when it is not. */
static enum due due_of(
	const struct manager *m, const struct lease *lease, int64_t now_us, int64_t *ret_next_us)
{
	enum due due = transition_due(lease, now_us, ret_next_us);

	if (due != DUE_WARN || !lease->job)
		return due;
	return !m->serving || (lease->job->on_limit == JOB_LIMIT_SUSPEND &&
				      suspend_is_busy(m, lease->id))
		       ? DUE_NOTHING
		       : due;
}

/* Who has had its slice gives way to those who wait. */
static void switch_overdue(struct manager *m, int64_t now_us)
{
	struct lease *overdue[GPU_MAX];
	size_t n = slice_overdue(
		m->pool, now_us, m->config->jobs_time_slice_us, overdue, ELEMENTSOF(overdue));

	for (size_t i = 0; i < n; i++)
		lifecycle_switch(m, overdue[i], LEASE_END_LIMIT);
}

/* The time of a hold is over. */
static void expire(struct manager *m, struct lease *lease)
{
	struct lease late = *lease;
	char grace[DURATION_TEXT_SIZE], detail[EVENT_DETAIL_SIZE];

	if (!transition_overrun(&late, m->config->hold_grace_us)) {
		lifecycle_end(m, lease, LEASE_END_EXPIRED, lease->until_us, EVENT_NOBODY, NULL);
		return;
	}
	batch_touch(m, lease);
	lease->until_us = late.until_us;
	lease->kill_us = late.kill_us;
	format_duration(grace, m->config->hold_grace_us);
	snprintf(detail, sizeof(detail),
		"the time of hold #%" PRId64 " is over; it is given back in %s, unless extended",
		lease->id, grace);
	batch_event(m, EVENT_WARNED, lease->id, EVENT_NOBODY, NULL, detail);
	terminal_tell(lease->uid, detail);
}

void lifecycle_due(struct manager *m)
{
	int64_t now_us = clock_now(&m->clock);

	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];
		int64_t next_us;

		if (now_us >= deserted_at(m, lease)) {
			lifecycle_end(m, lease, LEASE_END_GONE, now_us, EVENT_NOBODY, NULL);
			continue;
		}
		switch (due_of(m, lease, now_us, &next_us)) {
		case DUE_NOTHING:
			break;
		case DUE_TIMEOUT:
			end_waiting(m, lease);
			break;
		case DUE_EXPIRE:
			expire(m, lease);
			break;
		case DUE_WARN:
			if (lease->job && lease->job->on_limit != JOB_LIMIT_KILL)
				lifecycle_switch(m, lease, LEASE_END_LIMIT);
			else
				lifecycle_warn(m, lease, LEASE_END_LIMIT, EVENT_NOBODY, NULL);
			break;
		case DUE_KILL:
			lease->kill_us = TIME_NEVER; /* once is enough: SIGKILL stays pending */
			if (lease->job)
				job_kill(m, lease);
			else
				watch_kill(lease);
			break;
		case DUE_SIGNAL:
			batch_touch(m, lease);
			lease->job->warned = true;
			watch_signal(lease, lease->job->warn_signal);
			break;
		case DUE_BEGIN:
			batch_touch(m, lease);
			lease->job->begin_us = 0;
			batch_want_pass(m);
			break;
		}
	}
	if (m->serving)
		switch_overdue(m, now_us);
}

int64_t lifecycle_next(const struct manager *m)
{
	int64_t now_us = clock_now(&m->clock);
	int64_t next_us = slice_next(m->pool, now_us, m->config->jobs_time_slice_us);

	for (size_t i = 0; i < m->pool->n_leases; i++) {
		const struct lease *lease = m->pool->leases[i];
		int64_t at_us;

		if (due_of(m, lease, now_us, &at_us) != DUE_NOTHING)
			return now_us;
		next_us = MIN(next_us, MIN(at_us, deserted_at(m, lease)));
	}
	return next_us;
}

void lifecycle_prepare(struct manager *m, struct lease *lease)
{
	/* Also while it waits: moving a process can take the kernel milliseconds, better now than
	 * when its turn comes. */
	if ((lease->kind == LEASE_RUN && lease->state == LEASE_WAITING) ||
		(lease->kind != LEASE_HOLD && lease->state == LEASE_ACTIVE))
		watch_cgroup(lease);
}

void lifecycle_apply(struct manager *m, struct lease *lease)
{
	switch (lease->state) {
	case LEASE_WAITING:
		if (lease->job && !lease->attached)
			job_waits_again(m, lease);
		api_request_tell(m, lease);
		break;
	case LEASE_ACTIVE:
		api_request_tell(m, lease);
		if (lease->job)
			job_apply(m, lease);
		watch_check(lease);
		break;
	case LEASE_GRACE:
		watch_signal(lease, SIGTERM);
		watch_signal(lease, SIGCONT); /* a stopped process would not see it */
		watch_check(lease);
		break;
	case LEASE_ENDED:
		api_request_tell(m, lease);
		wait_tell(m, lease);
		if (lease->job)
			job_bury(m, lease);
		watch_bury(m, lease->id);
		watch_free(lease);
		break;
	case LEASE_BOOKED:
	case LEASE_STATE_MAX:
	case LEASE_STATE_INVALID:
		break;
	}
}

static void reconcile_waiting(struct manager *m, struct lease *lease)
{
	int fd = m->clock.new_boot ? -1 : process_open(lease->pid, lease->start_ticks);

	if (fd < 0)
		lifecycle_end(m, lease, LEASE_END_GONE, clock_now(&m->clock), EVENT_NOBODY, NULL);
	else if (lease->kind == LEASE_RUN)
		watch_cgroup(lease);
	closep(&fd);
}

static void reconcile_run(struct manager *m, struct lease *lease)
{
	if (m->clock.new_boot) {
		lifecycle_end(m, lease, LEASE_END_REBOOT, clock_now(&m->clock), EVENT_NOBODY, NULL);
		return;
	}
	watch_cgroup(lease);
	watch_check(lease);
	if (lease->state == LEASE_GRACE) {
		watch_signal(lease, SIGTERM);
		watch_signal(lease, SIGCONT);
	}
}

int lifecycle_reconcile(struct manager *m)
{
	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];
		int r = watch_new(m, lease);

		if (r < 0)
			return r;
		watch_of(lease)->stored = true;
		m->next_id = MAX(m->next_id, lease->turn + 1); /* turns are of the same sequence */
		lease->eligible = admit_eligible(m->pool, &lease->request);
		if (lease->job)
			continue;
		if (lease->state == LEASE_WAITING)
			reconcile_waiting(m, lease);
		else if ((lease->kind == LEASE_RUN || lease->request.bound != BOUND_NOT) &&
			 lease_holds(lease))
			reconcile_run(m, lease);
	}
	job_reconcile_all(m);
	if (m->clock.new_boot)
		log_info("the machine was booted: runs have ended, holds go on");
	watch_adopt_orphans(m);
	return 0;
}
