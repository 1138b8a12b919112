/* SPDX-License-Identifier: MIT */
/*
 * ControlJobs and Enter: what people do with the jobs they have.
 *
 * Each id is first resolved to what it means now (a job, an array with all its elements, an element
 * that has not started), then everything is checked, then everything is done: all or nothing. What
 * is meant more than once is one target: they are sorted by number, so an array comes before its
 * elements.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "daemon/api_ids.h"
#include "daemon/batch.h"
#include "daemon/job_suspend.h"
#include "daemon/lifecycle.h"
#include "daemon/watch.h"
#include "policy/transition.h"
#include "priv/cgroup.h"

#define IDS_MAX 10000 /* controlled by one call */

/* What one id means. */
struct target {
	struct lease *lease; /* borrowed from the pool */
	int64_t index;       /* an element of lease that has not started; -1: lease itself */
};

struct targets {
	struct target *items; /* owned */
	size_t n, allocated;
};

static void targets_clear(struct targets *targets)
{
	free(targets->items);
}

static int add(struct targets *targets, struct lease *lease, int64_t index)
{
	if (targets->n == targets->allocated) {
		size_t n = targets->allocated ? targets->allocated * 2 : 16;
		struct target *larger = reallocarray(targets->items, n, sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		targets->items = larger;
		targets->allocated = n;
	}
	targets->items[targets->n++] = (struct target){ lease, index };
	return 0;
}

/* An array means its elements, too. */
static int add_with_elements(const struct manager *m, struct targets *targets, struct lease *lease)
{
	int r = add(targets, lease, -1);

	if (!lease->job || !lease->job->is_array)
		return r;
	for (size_t i = 0; r >= 0 && i < m->pool->n_leases; i++) {
		struct lease *element = m->pool->leases[i];

		if (element->job && element->job->array == lease->id &&
			element->state != LEASE_ENDED)
			r = add(targets, element, -1);
	}
	return r;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct job_address *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static int compare_targets(const void *a, const void *b)
{
	const struct target *x = a, *y = b;

	return compare_addresses(&(struct job_address){ x->lease->id, x->index },
		&(struct job_address){ y->lease->id, y->index });
}

static void make_unique(struct targets *targets)
{
	size_t n = 0;

	if (targets->n > 0)
		qsort(targets->items, targets->n, sizeof(*targets->items), compare_targets);
	for (size_t i = 0; i < targets->n; i++)
		if (n == 0 || compare_targets(&targets->items[n - 1], &targets->items[i]) != 0)
			targets->items[n++] = targets->items[i];
	targets->n = n;
}

static struct verdict resolve(const struct manager *m, const struct actor *actor, json_t *ids,
	const char *action, struct targets *ret, int *ret_r)
{
	_cleanup_(freep) struct job_address *addresses = NULL;
	size_t n = 0;
	struct verdict v = api_parse_ids(ids, &addresses, &n);

	if (v.kind == VERDICT_OK && !addresses)
		*ret_r = -ENOMEM;
	/* Security: an array named often would mean its elements as often. */
	if (n > 0)
		qsort(addresses, n, sizeof(*addresses), compare_addresses);
	for (size_t i = 0; i < n && v.kind == VERDICT_OK && *ret_r >= 0; i++) {
		struct lease *lease;
		bool pending;

		if (i > 0 && compare_addresses(&addresses[i - 1], &addresses[i]) == 0)
			continue;
		lease = api_find_address(m, &addresses[i]);
		pending = lease && addresses[i].index >= 0 && lease->id == addresses[i].id;
		if (!lease)
			return api_unknown_address(&addresses[i]);
		/* Security: only the owner; administrators have their own, journaled, verbs. */
		v = access_own(actor, lease, action);
		if (v.kind == VERDICT_OK)
			*ret_r = pending ? add(ret, lease, addresses[i].index)
					 : add_with_elements(m, ret, lease);
	}
	make_unique(ret);
	return v;
}

static struct verdict refuse(const struct lease *lease, const char *id, const char *why)
{
	char label[LEASE_LABEL_SIZE];

	lease_label(lease, label);
	return verdict_make(
		VERDICT_REFUSED, id, "%s %s %s", lease_kind_to_string(lease->kind), label, why);
}

/* What an action is: whom it is for, and what it does. An action on an array skips those elements
 * that it is not for. */
struct action {
	const char *name;
	bool (*is_for)(const struct target *target);
	const char *otherwise; /* why not: "... is not waiting" */
	void (*apply)(struct manager *m, const struct target *target, uid_t uid, int sig);
};

static bool is_job(const struct target *target)
{
	return target->lease->job != NULL;
}

static bool is_any(const struct target *target)
{
	return true;
}

static void cancel(struct manager *m, const struct target *target, uid_t uid, int sig)
{
	struct lease *lease = target->lease;

	if (lease->state == LEASE_ENDED)
		return;
	if (target->index < 0) {
		lifecycle_release(m, lease, LEASE_END_RELEASED, uid, NULL);
		return;
	}
	batch_touch(m, lease);
	if (transition_drop(lease, target->index))
		lifecycle_end(m, lease, LEASE_END_RELEASED, clock_now(&m->clock), uid, NULL);
}

static bool is_running(const struct target *target)
{
	return is_job(target) && target->index < 0 && lease_holds(target->lease);
}

static bool is_active(const struct target *target)
{
	return is_running(target) && target->lease->state == LEASE_ACTIVE;
}

static void send_signal(struct manager *m, const struct target *target, uid_t uid, int sig)
{
	char detail[32];

	snprintf(detail, sizeof(detail), "signal %d", sig);
	watch_signal(target->lease, sig);
	batch_event(m, EVENT_SIGNALLED, target->lease->id, uid, NULL, detail);
}

static bool is_waiting(const struct target *target)
{
	return is_job(target) && target->index < 0 && target->lease->state == LEASE_WAITING;
}

static void hold(struct manager *m, const struct target *target, uid_t uid, int sig)
{
	if (target->lease->job->held)
		return;
	batch_touch(m, target->lease);
	target->lease->job->held = true;
	batch_event(m, EVENT_HELD, target->lease->id, uid, NULL, NULL);
}

static bool is_held(const struct target *target)
{
	return is_waiting(target) && (target->lease->job->held || target->lease->job->begin_us);
}

/* Also what waits for a later moment: its owner wants it now. */
static void resume(struct manager *m, const struct target *target, uid_t uid, int sig)
{
	struct job *job = target->lease->job;

	batch_touch(m, target->lease);
	job->held = false;
	job->begin_us = 0;
	batch_event(m, EVENT_RESUMED, target->lease->id, uid, NULL, NULL);
	batch_want_pass(m);
}

static void requeue(struct manager *m, const struct target *target, uid_t uid, int sig)
{
	batch_touch(m, target->lease);
	target->lease->job->then = JOB_THEN_REQUEUE;
	lifecycle_warn(m, target->lease, LEASE_END_RELEASED, uid,
		"its owner sends it to the end of the queue");
}

static const struct action actions[] = {
	{ "cancel", is_any, "", cancel },
	{ "signal", is_running, "is not running", send_signal },
	{ "hold", is_waiting, "does not wait, so it cannot be held back", hold },
	{ "resume", is_held, "is neither held nor suspended", resume },
	{ "requeue", is_active, "is not running", requeue },
	{ "suspend", is_active, "is not running", NULL },
};

struct control_parameters {
	const char *action;
	json_t *ids;
	int64_t signal;
};

#define AT(member) offsetof(struct control_parameters, member)
static const struct field control_fields[] = {
	{ "action", FIELD_STRING, AT(action), .required = true, .max = 16 },
	{ "ids", FIELD_TEXTS, AT(ids), .required = true, .max = IDS_MAX },
	{ "signal", FIELD_INT, AT(signal), .min = 1, .max = NSIG - 1 },
};
#undef AT

static const struct action *find_action(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	return NULL;
}

/* Was it named by itself, or only as a part of its array? */
static bool is_part(const struct manager *m, const struct targets *targets, size_t i)
{
	const struct job *job = targets->items[i].lease->job;
	const struct target array = { job && job->array ? pool_find(m->pool, job->array) : NULL,
		-1 };

	return array.lease &&
	       bsearch(&array, targets->items, targets->n, sizeof(array), compare_targets);
}

static bool is_whole_array(const struct target *target)
{
	return target->lease->job && target->lease->job->is_array && target->index < 0;
}

static struct verdict check(
	const struct manager *m, const struct action *action, const struct targets *targets)
{
	size_t n_for = 0;

	for (size_t i = 0; i < targets->n; i++) {
		const struct target *target = &targets->items[i];
		struct verdict v;

		if (action->apply == cancel) {
			v = lifecycle_can_release(m, target->lease);
			if (v.kind != VERDICT_OK)
				return v;
		}
		if (action->is_for(target))
			n_for++;
		else if (!is_whole_array(target) && !is_part(m, targets, i))
			return refuse(target->lease, "job.not-so", action->otherwise);
	}
	return n_for > 0 ? verdict_ok()
			 : refuse(targets->items[0].lease, "job.not-so", action->otherwise);
}

static void apply(struct manager *m, struct connection *c, const struct action *action,
	const struct targets *targets, int sig)
{
	json_t *array = json_array();

	for (size_t i = 0; i < targets->n; i++)
		if (action->is_for(&targets->items[i]))
			action->apply(m, &targets->items[i], c->uid, sig);
	for (size_t i = 0; i < targets->n; i++)
		if (i == 0 || targets->items[i].lease != targets->items[i - 1].lease)
			json_array_append_new(array, api_view_lease(m, targets->items[i].lease));
	connection_reply(c, json_pack("{s:o}", "leases", array));
}

static struct verdict check_call(const struct control_parameters *p, const struct action *action)
{
	if (!action)
		return verdict_make(VERDICT_INVALID, "job.bad-action",
			"the action must be cancel, signal, hold, resume, requeue or suspend");
	if ((action->apply == send_signal) != (p->signal != 0))
		return verdict_make(VERDICT_INVALID, "job.bad-signal",
			"a number of a signal is for the action signal, and only for that");
	return verdict_ok();
}

static int control(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct control_parameters *p = parameters;
	const struct action *action = find_action(p->action);
	_cleanup_(targets_clear) struct targets targets = { 0 };
	struct actor actor = connection_actor(c);
	struct verdict v = check_call(p, action);
	int r = 0;

	if (v.kind == VERDICT_OK)
		v = resolve(m, &actor, p->ids, action->name, &targets, &r);
	if (r < 0)
		return r;
	if (v.kind == VERDICT_OK)
		v = check(m, action, &targets);
	if (v.kind == VERDICT_OK && !action->apply && targets.n > 1)
		v = verdict_make(
			VERDICT_INVALID, "job.one-at-a-time", "jobs are suspended one at a time");
	if (v.kind == VERDICT_OK && action->apply != cancel) /* which gives back */
		v = api_take_changes(m, c, targets.n);
	if (v.kind != VERDICT_OK)
		connection_refuse(c, &v);
	else if (!action->apply)
		job_suspend(m, targets.items[0].lease, c, LEASE_END_RELEASED);
	else
		apply(m, c, action, &targets, (int)p->signal);
	return 0;
}

/* --- Enter --- */

struct enter_parameters {
	const char *id;
};

static const struct field enter_fields[] = {
	{ "id", FIELD_STRING, offsetof(struct enter_parameters, id), .required = true, .min = 1,
		.max = LEASE_LABEL_SIZE },
};

/* Security: who is in a lease, and so will end with it, may go further into it, but not out. */
static struct verdict check_place(
	const struct manager *m, const struct connection *c, const struct lease *lease)
{
	const struct lease *around = watch_around(m, c->pid);
	size_t n = around && around->cgroup ? strlen(around->cgroup) : 0;

	if (!around || (lease->cgroup && strncmp(lease->cgroup, around->cgroup, n) == 0 &&
			       (lease->cgroup[n] == '/' || lease->cgroup[n] == '\0')))
		return verdict_ok();
	return refuse(around, "enter.inside", "has this process already; it cannot go to another");
}

static struct verdict enter_cgroup(
	const struct manager *m, const struct connection *c, const struct lease *lease)
{
	struct verdict v = check_place(m, c, lease);
	uint64_t start_ticks;

	if (v.kind != VERDICT_OK || !lease->cgroup)
		return v;
	if (connection_process(c, &start_ticks) < 0)
		return verdict_make(VERDICT_REFUSED, "request.no-process",
			"the calling process cannot be seen by dibsd, or is not yours (it ended, "
			"lives in another pid namespace, or became another user)");
	if (cgroup_attach(lease->cgroup, c->pid) < 0)
		return refuse(lease, "enter.failed", "cannot be entered: it is about to end");
	return v;
}

static int enter(struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct enter_parameters *p = parameters;
	_cleanup_(json_decrefp) json_t *ids = json_pack("[s]", p->id);
	_cleanup_(freep) struct job_address *address = NULL;
	struct actor actor = connection_actor(c);
	struct lease *lease = NULL;
	size_t n = 0;
	struct verdict v;

	if (!ids)
		return -ENOMEM;
	v = api_parse_ids(ids, &address, &n);
	if (v.kind == VERDICT_OK && !address)
		return -ENOMEM;
	if (v.kind == VERDICT_OK) {
		lease = api_find_address(m, address);
		/* Security: only the owner runs something in it. */
		v = lease ? access_own(&actor, lease, "enter") : api_unknown_address(address);
	}
	if (v.kind == VERDICT_OK && (lease->state != LEASE_ACTIVE || !lease_holds(lease) ||
					    (lease->job && lease->job->suspended)))
		v = refuse(lease, "enter.not-active", "has no GPUs now");
	if (v.kind == VERDICT_OK)
		v = enter_cgroup(m, c, lease);
	if (v.kind == VERDICT_OK)
		connection_reply(c, api_view_request(m, lease, 0));
	else
		connection_refuse(c, &v);
	return 0;
}

const struct method api_job_methods[] = {
	{ "org.dibs.ControlJobs", false, false, control_fields, ELEMENTSOF(control_fields),
		sizeof(struct control_parameters), NULL, control },
	{ "org.dibs.Enter", false, false, enter_fields, ELEMENTSOF(enter_fields),
		sizeof(struct enter_parameters), NULL, enter },
	{ 0 },
};
