/* SPDX-License-Identifier: MIT */
/*
 * The record of an attempt is the truth, and is read anew at every sign: a line on the channel that
 * the supervisor holds, the end of that channel, the end of the supervisor, an empty cgroup. So it
 * does not matter which of these came first, came twice, or came while no daemon ran.
 *
 * An attempt without a record was never begun: only then it is started, and the supervisor itself
 * sees to it that there are not two (it makes the record exclusively).
 */
#include "daemon/job.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/batch.h"
#include "daemon/job_order.h"
#include "daemon/job_suspend.h"
#include "daemon/jobs.h"
#include "daemon/lifecycle.h"
#include "daemon/server.h"
#include "daemon/suspend.h"
#include "daemon/watch.h"
#include "policy/transition.h"
#include "priv/cgroup.h"
#include "priv/process.h"
#include "priv/supervisor.h"

#define AGAIN_US (10 * USEC_PER_MSEC)

struct attempt {
	struct manager *manager; /* borrowed */
	int64_t id;              /* of the lease */
	sd_event_source *source; /* the channel; NULL = it ended, or the attempt was found */
	sd_event_source *again;  /* to look once more, a moment later */
	bool begun;              /* it was started, or found */
	bool over;               /* how it ended is in lease->job */
	bool lost;               /* by nobody's record: only its cgroup tells */
	bool running;            /* the command was executed */
};

struct attempt *attempt_free(struct attempt *attempt)
{
	if (!attempt)
		return NULL;
	sd_event_source_disable_unref(attempt->source);
	sd_event_source_disable_unref(attempt->again);
	free(attempt);
	return NULL;
}

void job_undone(struct lease *lease)
{
	struct attempt *attempt = watch_of(lease)->attempt;

	if (attempt)
		attempt->over = attempt->lost = false;
}

bool job_runs(const struct manager *m, const struct lease *lease)
{
	_cleanup_(record_clear) struct record record = { 0 };

	return jobs_read_record(m, lease, &record, NULL) >= 0 && record.running &&
	       record.end == RECORD_NONE;
}

void job_describe_end(const struct job *job, char *dst, size_t size)
{
	if (job->reason[0])
		text_copy(dst, size, job->reason);
	else if (job->exit_signal > 0)
		snprintf(dst, size, "signal %d", job->exit_signal);
	else if (job->exit_status >= 0)
		snprintf(dst, size, "exit status %d", job->exit_status);
	else
		text_copy(dst, size, "how it ended is not known");
}

/* It passes: what was asked is asked again a moment later. */
static bool is_shortage(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* --- how it ended --- */

/* Security: who comes to its limit at once would do nothing but begin, and fill the journal. */
int64_t job_begins_again(const struct manager *m, const struct lease *lease, enum lease_end why)
{
	int64_t begin_us = lease->since_us + m->config->jobs_retry_delay_us;

	return why == LEASE_END_LIMIT && begin_us > clock_now(&m->clock) ? begin_us : 0;
}

/* The attempt is over, and nothing of it lives any more. */
static void finish(struct manager *m, struct lease *lease)
{
	char detail[EVENT_DETAIL_SIZE];
	enum lease_end why;
	int64_t begin_us;

	job_describe_end(lease->job, detail, sizeof(detail));
	batch_touch(m, lease);
	lease->job->suspended = false;
	job_unpin(m, lease);
	switch (transition_job_next(
		lease, clock_now(&m->clock), m->config->jobs_retry_delay_us, &why, &begin_us)) {
	case JOB_NEXT_END:
		lifecycle_end(m, lease, why, clock_now(&m->clock), EVENT_NOBODY, detail);
		break;
	case JOB_NEXT_REQUEUE:
		lifecycle_requeue(
			m, lease, job_begins_again(m, lease, lease->end), EVENT_NOBODY, NULL);
		break;
	case JOB_NEXT_RETRY:
		lifecycle_requeue(m, lease, begin_us, EVENT_NOBODY, detail);
		break;
	}
}

/* The command has ended: so does what it left behind. */
static void settle(struct manager *m, struct lease *lease)
{
	int populated = lease->cgroup ? cgroup_populated(lease->cgroup) : 0;

	if (populated == 0 || populated == -ENOENT)
		finish(m, lease);
	else if (lease->state == LEASE_ACTIVE && !watch_of(lease)->attempt->lost)
		lifecycle_warn(m, lease,
			lease->end == LEASE_END_NONE ? LEASE_END_EXITED : lease->end, EVENT_NOBODY,
			"its command has ended, some of its processes have not");
}

static void take_end(struct manager *m, struct lease *lease, const struct record *record)
{
	struct job *job = lease->job;

	batch_touch(m, lease);
	watch_of(lease)->attempt->over = true;
	job->exit_status = record->end == RECORD_EXIT ? record->code : -1;
	job->exit_signal = record->end == RECORD_SIGNAL ? record->code : 0;
	text_copy(job->reason, sizeof(job->reason), record->sentence);
	if (record->end == RECORD_FAILED) {
		if (lease->state == LEASE_ACTIVE)
			lease->end = LEASE_END_FAILED;
		log_info("job %" PRId64 " was not started: %s", lease->id, record->sentence);
	}
}

/* Nobody writes its record any more. */
static void take_loss(struct manager *m, struct lease *lease, const char *reason)
{
	struct attempt *attempt = watch_of(lease)->attempt;

	if (lease->state == LEASE_ACTIVE)
		log_warning("job %" PRId64 ": %s", lease->id, reason);
	batch_touch(m, lease);
	attempt->over = attempt->lost = true;
	lease->job->exit_status = -1;
	lease->job->exit_signal = 0;
	text_copy(lease->job->reason, sizeof(lease->job->reason), reason);
	if (lease->state == LEASE_ACTIVE)
		lease->end = LEASE_END_LOST;
}

/* What is known of the attempt as long as it goes on; the store learns of it with its end. */
static void take_course(struct manager *m, struct lease *lease, struct record *record)
{
	struct attempt *attempt = watch_of(lease)->attempt;
	struct job *job = lease->job;
	bool starts = record->running && !attempt->running;

	attempt->running = record->running;
	lease->pid = record->pid;
	lease->start_ticks = record->start_ticks;
	/* It was told to end before it was there, or by a daemon that died over it. */
	if (starts && lease->state == LEASE_GRACE)
		watch_signal(lease, SIGTERM);
	if (!record->log || (job->log && strcmp(job->log, record->log) == 0 &&
				    job->log_offset == record->log_offset))
		return;
	free(job->log);
	job->log = TAKE_PTR(record->log);
	job->log_offset = record->log_offset;
	server_status_changed(m->server);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct attempt *attempt = userdata;
	struct lease *lease = pool_find(attempt->manager->pool, attempt->id);

	attempt->again = sd_event_source_disable_unref(attempt->again);
	if (lease && lease->state == LEASE_ACTIVE && !attempt->begun)
		job_apply(attempt->manager, lease);
	else if (lease)
		job_look(attempt->manager, lease);
	return 0;
}

static int look_again(struct attempt *attempt)
{
	if (attempt->again)
		return 0;
	return sd_event_add_time_relative(attempt->manager->event, &attempt->again, CLOCK_MONOTONIC,
		AGAIN_US, USEC_PER_MSEC, on_again, attempt);
}

/* An attempt that was found: its supervisor tells by its end. One that has just made its record
 * has not said yet who it is, and one that has just ended may have written more meanwhile. */
static void watch_found(struct manager *m, struct lease *lease)
{
	struct attempt *attempt = watch_of(lease)->attempt;

	if (lease->pid > 0)
		watch_leader(lease);
	if (lease->pid == 0 || watch_of(lease)->leader_ended)
		look_again(attempt);
}

/* What the record says by now. */
static void learn(struct manager *m, struct lease *lease)
{
	_cleanup_(record_clear) struct record record = { 0 };
	struct attempt *attempt = watch_of(lease)->attempt;
	struct error err = { 0 };
	int r = jobs_read_record(m, lease, &record, &err);

	if (r < 0) {
		if (!is_shortage(r) || look_again(attempt) < 0)
			take_loss(m, lease, err.text);
		return;
	}
	take_course(m, lease, &record);
	if (record.end != RECORD_NONE)
		take_end(m, lease, &record);
	else if (!record.alive && !attempt->source)
		take_loss(m, lease,
			record.exists ? "its supervisor was killed: how it ended is not known"
				      : "its supervisor could not be started");
	else if (!attempt->source)
		watch_found(m, lease);
}

static int attempt_new(struct manager *m, struct lease *lease)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));

	if (!attempt)
		return -ENOMEM;
	attempt->manager = m;
	attempt->id = lease->id;
	watch_of(lease)->attempt = attempt;
	return 0;
}

void job_look(struct manager *m, struct lease *lease)
{
	struct attempt *attempt = watch_of(lease)->attempt;

	/* Told to end before it was begun: then it never is. */
	if (!attempt && lease->state == LEASE_GRACE && attempt_new(m, lease) >= 0)
		attempt = watch_of(lease)->attempt;
	if (!attempt || !(lease_holds(lease) || lease->job->suspended) ||
		(!attempt->begun && lease->state == LEASE_ACTIVE))
		return;
	if (!attempt->over)
		learn(m, lease);
	/* Security: when it was to be killed, its supervisor may not have been known yet. */
	if (lease->state == LEASE_GRACE && lease->kill_us == TIME_NEVER)
		job_kill(m, lease);
	if (attempt->over)
		settle(m, lease);
}

/* --- its start --- */

static int on_channel(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct attempt *attempt = userdata;
	struct manager *m = attempt->manager;
	struct lease *lease = pool_find(m->pool, attempt->id);
	char line[256];
	ssize_t n = read(fd, line, sizeof(line));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		attempt->source = sd_event_source_disable_unref(attempt->source);
	if (lease)
		job_look(m, lease);
	return 0;
}

static int listen_to(struct manager *m, struct lease *lease, int channel)
{
	struct attempt *attempt = watch_of(lease)->attempt;
	int r = sd_event_add_io(m->event, &attempt->source, channel, EPOLLIN, on_channel, attempt);

	if (r >= 0)
		r = sd_event_source_set_io_fd_own(attempt->source, true);
	return r;
}

static int start(struct manager *m, struct lease *lease, struct error *err)
{
	_cleanup_(fields_writer_clear) struct fields_writer order = { 0 };
	_cleanup_(closep) int channel = -1;
	int r = job_order(m, lease, &order, err);

	if (r < 0)
		return r;
	channel = jobs_hand_over(m, &order, err);
	if (channel < 0)
		return channel;
	r = listen_to(m, lease, channel);
	if (r < 0)
		return error_errno(err, r, "job.watch", "cannot watch its supervisor");
	TAKE_FD(channel);
	return 0;
}

/* Starts it, or finds that it was: 0, or why neither can be. */
static int begin(struct manager *m, struct lease *lease, struct error *err)
{
	_cleanup_(record_clear) struct record record = { 0 };
	int r = jobs_read_record(m, lease, &record, err);

	if (r >= 0 && !record.exists)
		r = start(m, lease, err);
	if (r < 0)
		return r;
	watch_of(lease)->attempt->begun = true;
	if (record.exists)
		job_look(m, lease);
	return 0;
}

void job_apply(struct manager *m, struct lease *lease)
{
	struct watch *watch = watch_of(lease);
	struct error err = { 0 };
	int r = 0;

	if (lease->job->is_array || !m->serving)
		return;
	if (lease->job->suspended)
		job_thaw(m, lease);
	if (!watch->attempt)
		r = attempt_new(m, lease);
	if (r >= 0 && !watch->attempt->begun)
		r = begin(m, lease, &err);
	if (r >= 0)
		return;
	/* dibs-exec has more to start than it can take at once, or we have: that passes. */
	if (watch->attempt && (r == -EAGAIN || is_shortage(r)) && look_again(watch->attempt) >= 0)
		return;
	if (!watch->attempt) {
		log_error("job %" PRId64 " is not started: out of memory", lease->id);
		return;
	}
	take_loss(m, lease, err.id ? err.text : strerrordesc_np(-r));
	settle(m, lease);
}

void job_start_all(struct manager *m)
{
	for (size_t i = 0; m->serving && i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];

		if (!lease->job || lease->state != LEASE_ACTIVE)
			continue;
		job_apply(m, lease);
		if (suspend_was_begun(lease)) /* and not finished, or that was not stored */
			job_thaw(m, lease);
	}
	batch_want_pass(m); /* their limits count from now on */
}

void job_kill(struct manager *m, struct lease *lease)
{
	struct attempt *attempt = watch_of(lease)->attempt;
	int fd;

	watch_kill(lease);
	if (!attempt || attempt->over || attempt->running)
		return;
	fd = process_open(lease->pid, lease->start_ticks);
	if (fd < 0)
		return;
	pidfd_send_signal(fd, SIGKILL, NULL, 0);
	close(fd);
}

/* --- before and after --- */

int job_place(const struct manager *m, struct lease *lease)
{
	free(lease->cgroup);
	lease->cgroup = NULL;
	if (!m->cgroup_root)
		return 0;
	lease->cgroup = text_format("%s/lease-%" PRId64, m->cgroup_root, lease->id);
	return lease->cgroup ? 0 : -ENOMEM;
}

void job_waits_again(struct manager *m, struct lease *lease)
{
	if (!lease->job->suspended) {
		watch_renew(lease);
		if (lease->job->restarts > 0)
			jobs_delete_record(m, lease, lease->job->restarts - 1);
	}
	lease->attached = true;
	batch_want_pass(m);
}

void job_bury(struct manager *m, struct lease *lease)
{
	if (lease->job->suspended && lease->cgroup)
		cgroup_kill(lease->cgroup);
	if (lease->job->is_array)
		return;
	jobs_delete_record(m, lease, lease->job->restarts);
	if (lease->job->restarts > 0) /* that was to follow in the same commit */
		jobs_delete_record(m, lease, lease->job->restarts - 1);
}

/* The machine was booted while it ran: a record that was finished before still counts. */
static void reboot(struct manager *m, struct lease *lease)
{
	_cleanup_(record_clear) struct record record = { 0 };
	struct error err = { 0 };

	if (attempt_new(m, lease) < 0)
		return;
	if (jobs_read_record(m, lease, &record, &err) >= 0 && record.end != RECORD_NONE &&
		!lease->job->suspended) {
		take_end(m, lease, &record);
	} else {
		take_loss(m, lease, "the machine was booted while it ran");
		if (lease->state != LEASE_GRACE) /* what it was told to end for stays */
			lease->end = LEASE_END_REBOOT;
	}
	lease->job->suspended = false;
	finish(m, lease);
}

static void reconcile(struct manager *m, struct lease *lease)
{
	bool begun;

	lease->attached = true;
	if (lease->job->is_array)
		return;
	begun = lease_holds(lease) || lease->job->suspended;
	if (begun && !m->clock.new_boot)
		watch_cgroup(lease);
	else if (job_place(m, lease) < 0) /* the root may be another one by now */
		log_error("out of memory");
	else if (lease->cgroup) /* of an attempt before; see watch_renew() */
		cgroup_remove(lease->cgroup);
	if (begun && m->clock.new_boot) {
		reboot(m, lease);
		return;
	}
	if (jobs_has_record(m, lease) && attempt_new(m, lease) >= 0)
		watch_of(lease)->attempt->begun = true;
	job_look(m, lease);
}

void job_reconcile_all(struct manager *m)
{
	/* First: what ends now needs its record until that is stored, lest it be run again. */
	jobs_sweep_records(m);
	/* By number: the end of one may be what makes another start, or end. */
	for (size_t i = 0; i < m->pool->n_leases; i++)
		if (m->pool->leases[i]->job)
			reconcile(m, m->pool->leases[i]);
}
