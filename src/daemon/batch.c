/* SPDX-License-Identifier: MIT */
/*
 * The order of a settlement: time, queue, store, world, answers. What is done in the last two steps
 * can bring new facts (a process that has ended meanwhile); they are recorded as changes of the
 * next settlement.
 *
 * Running out of memory while a change is recorded would leave pool and store apart, so that ends
 * the daemon: its leases are on disk, and the next start takes them up.
 */
#include "daemon/batch.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/api.h"
#include "daemon/changes.h"
#include "daemon/guard.h"
#include "daemon/hook.h"
#include "daemon/job.h"
#include "daemon/lifecycle.h"
#include "daemon/lock_files.h"
#include "daemon/needs.h"
#include "daemon/revoke.h"
#include "daemon/sensor.h"
#include "daemon/server.h"
#include "daemon/usage.h"
#include "daemon/watch.h"
#include "policy/queue.h"

#define CALLS_MAX    64 /* answered by one commit; then it is settled without waiting for more */
#define CALLS_US     (2 * USEC_PER_MSEC)  /* so old may the first of them become */
#define OVERDUE_US   (20 * USEC_PER_MSEC) /* nobody waits longer while others keep the loop busy */
#define RETRY_MIN_US (1 * USEC_PER_SEC)
#define RETRY_MAX_US (30 * USEC_PER_SEC)

struct batch {
	struct changes changes;
	struct changes *settled; /* borrowed; those that are being settled, or NULL */
	sd_event_source *source, *overdue, *retry;
	unsigned calls;
	uint64_t first_us; /* when the first of them came, CLOCK_MONOTONIC */
	bool want_pass;
	bool settling;
	int64_t retry_us; /* 0 = the store works */
};

/* Asks to be settled soon. */
static void kick(struct manager *m)
{
	struct batch *batch = m->batch;

	sd_event_source_set_enabled(batch->source, SD_EVENT_ONESHOT);
	if (sd_event_source_get_enabled(batch->overdue, NULL) == 0) {
		sd_event_source_set_time_relative(batch->overdue, OVERDUE_US);
		sd_event_source_set_enabled(batch->overdue, SD_EVENT_ONESHOT);
	}
}

bool batch_pending(const struct manager *m)
{
	return sd_event_source_get_enabled(m->batch->source, NULL) > 0;
}

void batch_touch(struct manager *m, struct lease *lease)
{
	struct watch *watch = watch_of(lease);

	kick(m);
	server_forget_status(m->server);
	if (!watch->touched)
		changes_add_lease(&m->batch->changes, lease);
	watch->touched = true;
}

void batch_touch_gpu(struct manager *m, unsigned slot)
{
	kick(m);
	server_forget_status(m->server);
	changes_add_gpu(&m->batch->changes, slot, &m->pool->gpus[slot]);
}

void batch_event_at(struct manager *m, int64_t at_us, enum event_kind kind, int64_t lease,
	uid_t uid, const char *gpu, const char *detail)
{
	struct event *event = changes_add_event(&m->batch->changes);

	kick(m);
	*event = (struct event){
		.at_us = at_us,
		.wall_us = at_us + clock_to_wall_offset(&m->clock),
		.kind = kind,
		.lease = lease,
		.uid = uid,
	};
	text_copy(event->gpu, sizeof(event->gpu), gpu ? gpu : "");
	text_copy(event->detail, sizeof(event->detail), detail ? detail : "");
}

void batch_event(struct manager *m, enum event_kind kind, int64_t lease, uid_t uid, const char *gpu,
	const char *detail)
{
	batch_event_at(m, clock_now(&m->clock), kind, lease, uid, gpu, detail);
}

void batch_forget_spec(struct manager *m, int64_t id)
{
	changes_add_spec(&m->batch->changes, id);
	kick(m);
}

void batch_usage(struct manager *m, const struct usage *usage)
{
	changes_add_usage(&m->batch->changes, usage);
	kick(m);
}

void batch_import(struct manager *m, const char *origin, int64_t lease)
{
	changes_add_import(&m->batch->changes, origin, lease);
	kick(m);
}

bool batch_has_import(const struct manager *m, const char *origin)
{
	return changes_have_import(&m->batch->changes, origin) ||
	       (m->batch->settled && changes_have_import(m->batch->settled, origin));
}

void batch_want_pass(struct manager *m)
{
	m->batch->want_pass = true;
	kick(m);
}

void batch_reply(struct manager *m, struct connection *connection, char *text, bool final)
{
	changes_add_reply(&m->batch->changes,
		(struct reply){ .connection = connection, .text = text, .final = final });
	kick(m);
}

static void forget(struct changes *changes, const struct connection *connection)
{
	for (size_t i = 0; changes && i < changes->n_replies; i++)
		if (changes->replies[i].connection == connection)
			changes->replies[i].connection = NULL;
}

void batch_forget(struct manager *m, const struct connection *connection)
{
	forget(&m->batch->changes, connection);
	forget(m->batch->settled, connection);
}

static void run_queue(struct manager *m)
{
	struct queue_start starts[GPU_MAX];
	size_t n, taken;

	if (!m->batch->want_pass || sensor_paused(m->sensor))
		return;
	m->batch->want_pass = false;
	do { /* again, if others had taken some meanwhile */
		taken = 0;
		n = queue_pass(m->pool, clock_now(&m->clock), starts, ELEMENTSOF(starts));
		for (size_t i = 0; i < n; i++)
			if (lock_files_claim(m, starts[i].lease, &starts[i].gpus))
				lifecycle_grant(m, starts[i].lease, &starts[i].gpus);
			else
				taken++;
	} while (taken > 0);
	if (n == ELEMENTSOF(starts)) /* shares: there may be more */
		batch_want_pass(m);
}

static struct verdict why_not_now(const struct manager *m, const struct lease *lease)
{
	if (sensor_paused(m->sensor))
		return verdict_make(VERDICT_NOT_FREE, "sensor.paused",
			"no lease starts while the sensor is paused by an administrator; try again "
			"later");
	return queue_why(m->pool, lease, clock_to_wall_offset(&m->clock));
}

/* New requests that the queue did not start: those that would not wait leave, the others are
 * journaled. */
static void admit_waiting(struct manager *m, struct changes *changes)
{
	for (size_t i = 0; i < changes->n_leases; i++) {
		struct lease *lease = changes->leases[i].lease;
		struct watch *watch = watch_of(lease);

		if (watch->stored || lease->state != LEASE_WAITING)
			continue;
		if (lease->request.wait_us == 0) {
			struct verdict why = why_not_now(m, lease);

			lease->state = LEASE_ENDED;
			m->jobs_ended = true;
			if (watch->connection) {
				connection_refuse(watch->connection, &why);
				connection_detach(watch->connection); /* that was its answer */
			}
		} else {
			batch_event(
				m, EVENT_QUEUED, lease->id, lease->uid, NULL, lease->request.note);
		}
	}
}

/* A GPU has one holder at any moment, also within the transaction. */
enum turn {
	TURN_ENDED,
	TURN_HELD, /* may have given some back */
	TURN_STARTS,
	TURN_MAX,
};

static enum turn turn_of(const struct lease_change *change)
{
	return change->lease->state == LEASE_ENDED ? TURN_ENDED
	       : lease_holds(&change->before)      ? TURN_HELD
						   : TURN_STARTS;
}

static int put_leases(
	struct manager *m, const struct changes *changes, enum turn turn, struct error *err)
{
	for (size_t i = 0; i < changes->n_leases; i++) {
		struct lease *lease = changes->leases[i].lease;
		int r;

		if (turn_of(&changes->leases[i]) != turn ||
			(turn == TURN_ENDED && !watch_of(lease)->stored))
			continue;
		r = m->store->ops->put_lease(m->store, m->pool, lease, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int persist(struct manager *m, const struct changes *changes, struct error *err)
{
	const struct store_ops *ops = m->store->ops;
	struct clock_mark mark;
	int r;

	r = ops->begin(m->store, err);
	clock_mark(&m->clock, &mark);
	if (r >= 0)
		r = ops->put_mark(m->store, &mark, err);
	for (enum turn turn = 0; r >= 0 && turn < TURN_MAX; turn++)
		r = put_leases(m, changes, turn, err);
	for (size_t i = 0; r >= 0 && i < changes->n_leases; i++)
		r = usage_follow(m, changes->leases[i].lease, err);
	if (r >= 0)
		r = usage_put(m, err);
	for (size_t i = 0; r >= 0 && i < changes->n_gpus; i++)
		r = ops->put_gpu(m->store, &m->pool->gpus[changes->gpus[i].slot], err);
	for (size_t i = 0; r >= 0 && i < changes->n_events; i++)
		r = ops->add_event(m->store, &changes->events[i], err);
	for (size_t i = 0; r >= 0 && i < changes->n_usages; i++)
		r = ops->add_usage(m->store, &changes->usages[i], err);
	for (size_t i = 0; r >= 0 && i < changes->n_imports; i++)
		r = ops->put_import(
			m->store, changes->imports[i].origin, changes->imports[i].lease, err);
	for (size_t i = 0; r >= 0 && i < changes->n_specs; i++)
		r = ops->forget_spec(m->store, changes->specs[i], err);
	if (r >= 0)
		r = ops->commit(m->store, err);
	if (r < 0) /* also if begin failed: a rollback may have failed before it */
		ops->rollback(m->store);
	usage_settle(m, r >= 0);
	return r;
}

static void send_fault(struct connection *c, const struct error *err)
{
	_cleanup_(freep) char *text = message_fault(err);

	connection_send(c, text, true);
}

/* Those that end a call, or the others. A connection may be gone after each. */
static void send_replies(struct changes *changes, bool final)
{
	for (size_t i = 0; i < changes->n_replies; i++) {
		const struct reply *reply = &changes->replies[i];

		if (reply->connection && reply->final == final)
			connection_send(reply->connection, reply->text, final);
	}
}

/* Nothing that was changed is true: puts it all back, and says so to everybody who waits for an
 * answer. */
static void undo(struct manager *m, struct changes *changes, const struct error *err)
{
	for (size_t i = 0; i < changes->n_gpus; i++)
		gpu_change_undo(&changes->gpus[i], &m->pool->gpus[changes->gpus[i].slot]);
	for (size_t i = 0; i < changes->n_leases; i++) {
		struct lease *lease = changes->leases[i].lease;
		struct watch *watch = watch_of(lease);

		watch->touched = false;
		if (watch->stored) {
			lease_change_undo(&changes->leases[i]);
			if (lease->state == LEASE_ENDED) { /* a record that was taken over */
				watch_free(lease);
				continue;
			}
			lease->attached = lease->job || watch->connection != NULL;
			if (lease->job)
				job_undone(lease);
			/* Who took up what was granted before: that is on disk already. */
			if (lease_holds(lease))
				api_request_tell(m, lease);
			continue;
		}
		lease->state = LEASE_ENDED;
		lease->end = LEASE_END_NONE; /* it never was */
		if (watch->connection)
			send_fault(watch->connection, err);
		watch_free(lease);
	}
	guard_apply(m); /* it may have looked at what now turns out not to be true */
	lock_files_apply(m);
	send_replies(changes, false); /* which are of what was there before */
	for (size_t i = 0; i < changes->n_replies; i++)
		if (changes->replies[i].connection && changes->replies[i].final)
			send_fault(changes->replies[i].connection, err);
	m->batch->want_pass = true;
}

static void apply(struct manager *m, struct changes *changes)
{
	for (size_t i = 0; i < changes->n_events; i++)
		hook_event(m, &changes->events[i]);
	for (size_t i = 0; i < changes->n_leases; i++)
		lifecycle_prepare(m, changes->leases[i].lease);
	/* Nobody is told that a GPU is theirs before the gate is open to them, and shut to others.
	 */
	if (changes->n_leases + changes->n_gpus > 0) {
		guard_apply(m);
		lock_files_apply(m);
	}
	/* First: what is applied may bring the last answer of the same call. */
	send_replies(changes, false);
	for (int ended = 1; ended >= 0; ended--)
		for (size_t i = 0; i < changes->n_leases; i++) {
			struct lease *lease = changes->leases[i].lease;

			if ((changes->leases[i].before.state == LEASE_ENDED) != ended)
				continue;
			lifecycle_apply(m, lease);
		}
	revoke_run(m);
	send_replies(changes, true);
}

/* Notes what each lease was when it was stored: while effects are applied, some change again. */
static void mark_stored(struct changes *changes)
{
	for (size_t i = 0; i < changes->n_leases; i++) {
		struct lease *lease = changes->leases[i].lease;
		struct watch *watch = watch_of(lease);

		changes->leases[i].before.state = lease->state;
		watch->touched = false;
		watch->stored = watch->stored || lease->state != LEASE_ENDED;
		if (lease->job)
			lease->job->spec = (free(lease->job->spec), NULL);
	}
}

static void store_failed(struct manager *m, const struct error *err)
{
	struct batch *batch = m->batch;

	if (batch->retry_us == 0)
		log_error("%s; nothing is granted or changed until it works again", err->text);
	batch->retry_us = MIN(MAX(batch->retry_us * 2, RETRY_MIN_US), RETRY_MAX_US);
	sd_event_source_set_time_relative(batch->retry, (uint64_t)batch->retry_us);
	sd_event_source_set_enabled(batch->retry, SD_EVENT_ONESHOT);
}

static void store_works(struct manager *m)
{
	log_info("the store works again");
	m->batch->retry_us = 0;
	sd_event_source_set_enabled(m->batch->retry, SD_EVENT_OFF);
	job_start_all(m); /* also what was to be suspended or resumed */
	/* Processes that ended meanwhile told so once, and it could not be recorded. */
	for (size_t i = 0; i < m->pool->n_leases; i++)
		if (m->pool->leases[i]->state != LEASE_ENDED)
			watch_check(m->pool->leases[i]);
	lock_files_look(m);
}

/* What was first seen of a GPU while the store failed is still to be stored; a lease that was
 * loaded without its GPU would not keep others off it. */
static void touch_gpus(struct manager *m)
{
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		batch_touch_gpu(m, slot);
}

static void arm_deadline(struct manager *m)
{
	int64_t next_us = clock_to_boottime(&m->clock, lifecycle_next(m));

	/* What is due but could not be stored is looked at again by on_retry. */
	if (next_us == TIME_NEVER || m->batch->retry_us > 0) {
		sd_event_source_set_enabled(m->deadline, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(m->deadline, (uint64_t)MAX(next_us, 0));
	sd_event_source_set_enabled(m->deadline, SD_EVENT_ONESHOT);
}

static void batch_settle(struct manager *m)
{
	struct batch *batch = m->batch;
	struct changes changes;
	struct error err = { 0 };

	clock_look(&m->clock);
	sd_event_source_set_enabled(batch->overdue, SD_EVENT_OFF);
	batch->settling = true;
	batch->calls = 0;
	/* While the store fails, time and queue wait for the next attempt to write: whoever only
	 * reads is answered. */
	if (batch->retry_us == 0 || changes_have_facts(&batch->changes)) {
		lifecycle_due(m);
		needs_look(m);
		run_queue(m);
		admit_waiting(m, &batch->changes);
		if (batch->retry_us > 0)
			touch_gpus(m);
	}
	changes = batch->changes;
	batch->changes = (struct changes){ 0 };
	batch->settled = &changes;

	if (changes_have_facts(&changes) && persist(m, &changes, &err) < 0) {
		store_failed(m, &err);
		undo(m, &changes, &err);
	} else {
		mark_stored(&changes);
		apply(m, &changes);
		if (changes_have_facts(&changes) && batch->retry_us > 0) {
			store_works(m);
			guard_apply(m);
			revoke_run(m);
		}
	}
	batch->settling = false;
	if (batch->changes.n_leases == 0)
		pool_sweep(m->pool);
	api_request_positions(m);
	if (changes_have_facts(&changes))
		server_status_changed(m->server);
	arm_deadline(m);
	batch->settled = NULL;
	changes_clear(&changes);
}

void batch_flush(struct manager *m)
{
	if (!batch_pending(m))
		return;
	sd_event_source_set_enabled(m->batch->source, SD_EVENT_OFF);
	batch_settle(m);
}

void batch_call(struct manager *m)
{
	struct batch *batch = m->batch;
	uint64_t now_us = 0;

	kick(m);
	sd_event_now(m->event, CLOCK_MONOTONIC, &now_us);
	if (batch->calls++ == 0)
		batch->first_us = now_us;
	if ((batch->calls >= CALLS_MAX || now_us >= batch->first_us + CALLS_US) && !batch->settling)
		batch_settle(m);
}

static int on_settle(sd_event_source *source, void *userdata)
{
	batch_settle(userdata);
	return 0;
}

static int on_overdue(sd_event_source *source, uint64_t usec, void *userdata)
{
	batch_flush(userdata);
	return 0;
}

/* The store failed a while ago. */
static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	/* Something to write even if nothing is due: it shows whether the store works again. */
	batch_event(userdata, EVENT_RECOVERED, 0, EVENT_NOBODY, NULL, NULL);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	batch_want_pass(userdata);
	return 0;
}

int batch_new(struct manager *m, struct batch **ret)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	int r;

	if (!batch)
		return -ENOMEM;
	*ret = batch;
	r = sd_event_add_defer(m->event, &batch->source, on_settle, m);
	if (r < 0)
		return r;
	/* After everything else that is ready: what arrives together shares one commit. */
	r = sd_event_source_set_priority(batch->source, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_source_set_enabled(batch->source, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(m->event, &batch->overdue, CLOCK_MONOTONIC, 0,
			USEC_PER_MSEC, on_overdue, m);
	if (r >= 0)
		r = sd_event_source_set_priority(batch->overdue, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_source_set_enabled(batch->overdue, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(
			m->event, &batch->retry, CLOCK_BOOTTIME, 0, 0, on_retry, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(batch->retry, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(
			m->event, &m->deadline, CLOCK_BOOTTIME, 0, 1000, on_deadline, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(m->deadline, SD_EVENT_OFF);
	return r;
}

struct batch *batch_free(struct batch *batch)
{
	if (!batch)
		return NULL;
	sd_event_source_disable_unref(batch->source);
	sd_event_source_disable_unref(batch->overdue);
	sd_event_source_disable_unref(batch->retry);
	changes_clear(&batch->changes);
	free(batch);
	return NULL;
}
