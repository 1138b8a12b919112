/* SPDX-License-Identifier: MIT */
/*
 * WaitJobs, and who waits for a suspend. An element that has not started has no lease yet, so it is
 * waited for by its array and index; it may also never get one, and then ends with its array.
 */
#include "daemon/wait.h"

#include <errno.h>
#include <inttypes.h>

#include "daemon/api_ids.h"
#include "daemon/batch.h"
#include "daemon/server.h"

#define IDS_MAX 1000 /* waited for by one call */

struct waits {
	bool suspend; /* for that of the only target; else for the end of each */
	size_t n;
	struct job_address targets[]; /* what is left */
};

struct waits *waits_free(struct waits *waits)
{
	free(waits);
	return NULL;
}

DEFINE_CLEANUP(struct waits *, waits_free)

static struct waits *waits_new(size_t n)
{
	return calloc(1, sizeof(struct waits) + n * sizeof(struct job_address));
}

static bool is_element(const struct job_address *target, const struct lease *lease)
{
	return target->index >= 0 && lease->job && lease->job->array == target->id &&
	       lease->job->index == target->index;
}

/* Did it start? Then its own end is told, also if its array ends in the same commit. */
static bool has_started(const struct manager *m, const struct job_address *target)
{
	for (size_t i = 0; i < m->pool->n_leases; i++)
		if (is_element(target, m->pool->leases[i]))
			return true;
	return false;
}

/* Is the end of lease what is waited for there? */
static bool is_meant(
	const struct manager *m, const struct job_address *target, const struct lease *lease)
{
	if (lease->id == target->id)
		return target->index < 0 ||
		       (lease->job && lease->job->is_array && !has_started(m, target));
	return is_element(target, lease);
}

/* Takes out what lease meets; false: nothing. */
static bool take(const struct manager *m, struct waits *waits, const struct lease *lease)
{
	size_t before = waits->n;

	for (size_t i = waits->n; i-- > 0;)
		if (is_meant(m, &waits->targets[i], lease))
			waits->targets[i] = waits->targets[--waits->n];
	return waits->n < before;
}

static void tell(struct manager *m, struct connection *c, const struct lease *lease)
{
	bool last = c->waits->n == 0;
	_cleanup_(json_decrefp) json_t *reply =
		json_pack("{s:o}", "lease", api_view_lease(m, lease));

	if (last)
		c->waits = waits_free(c->waits);
	else if (!c->more)
		return;
	/* Behind what this call was answered before, of which some may wait for a commit. */
	batch_reply(m, c, reply ? message_reply(reply, !last) : NULL, last);
}

void wait_tell(struct manager *m, const struct lease *lease)
{
	struct connection *c = LIST_FIRST(&m->server->connections), *next;

	for (; c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->waits && !c->waits->suspend && take(m, c->waits, lease))
			tell(m, c, lease);
	}
}

int wait_for_suspend(struct connection *c, int64_t id)
{
	c->waits = waits_new(1);
	if (!c->waits)
		return -ENOMEM;
	c->waits->suspend = true;
	c->waits->n = 1;
	c->waits->targets[0] = (struct job_address){ .id = id, .index = -1 };
	return 0;
}

void wait_tell_suspended(struct manager *m, int64_t id, const struct verdict *v)
{
	struct connection *c;

	LIST_FOREACH (c, &m->server->connections, link) {
		if (!c->waits || !c->waits->suspend || c->waits->targets[0].id != id)
			continue;
		c->waits = waits_free(c->waits);
		if (v->kind == VERDICT_OK)
			connection_reply(c, json_pack("{s:[o]}", "leases",
						    api_view_lease(m, pool_find(m->pool, id))));
		else
			connection_refuse(c, v);
	}
}

struct wait_parameters {
	json_t *ids;
};

static const struct field wait_fields[] = {
	{ "ids", FIELD_TEXTS, offsetof(struct wait_parameters, ids), .required = true,
		.max = IDS_MAX },
};

/* Has it ended, but in memory only? Then it is told after the commit, as if it went on. */
static bool is_ending(const struct manager *m, const struct job_address *target)
{
	for (size_t i = 0; i < m->pool->n_leases; i++)
		if (m->pool->leases[i]->state == LEASE_ENDED &&
			is_meant(m, target, m->pool->leases[i]))
			return true;
	return false;
}

/* One that has ended already is told at once. */
static int add(struct manager *m, struct connection *c, struct waits *waits,
	const struct job_address *target, bool last, struct error *err)
{
	_cleanup_(lease_freep) struct lease *ended = NULL;
	_cleanup_(json_decrefp) json_t *reply = NULL;
	int r;

	if (api_find_address(m, target) || api_find_ending(m, target)) {
		waits->targets[waits->n++] = *target;
		return 0;
	}
	r = api_find_ended(m, target, &ended, err);
	if (r < 0)
		return r;
	if (!ended && is_ending(m, target)) {
		waits->targets[waits->n++] = *target;
		return 0;
	}
	if (!ended)
		return -ENOENT;
	reply = json_pack("{s:o}", "lease", api_view_lease(m, ended));
	last = last && waits->n == 0;
	batch_reply(m, c, reply ? message_reply(reply, !last) : NULL, last);
	return 0;
}

static int wait_jobs(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct wait_parameters *p = parameters;
	_cleanup_(freep) struct job_address *targets = NULL;
	_cleanup_(waits_freep) struct waits *waits = NULL;
	size_t n = 0;
	struct verdict v = api_parse_ids(p->ids, &targets, &n);

	if (v.kind == VERDICT_OK && n > 1 && !c->more)
		v = verdict_make(VERDICT_INVALID, "wait.more",
			"WaitJobs answers one by one: call it with \"more\"");
	if (v.kind == VERDICT_OK && !(targets && (waits = waits_new(n))))
		return -ENOMEM;
	for (size_t i = 0; i < n && v.kind == VERDICT_OK; i++) {
		int r = add(m, c, waits, &targets[i], i + 1 == n, err);

		if (r < 0 && r != -ENOENT)
			return r;
		if (r < 0)
			v = api_unknown_address(&targets[i]);
	}
	if (v.kind != VERDICT_OK)
		connection_refuse(c, &v);
	else if (waits->n > 0)
		c->waits = TAKE_PTR(waits);
	return 0;
}

const struct method api_wait_methods[] = {
	{ "org.dibs.WaitJobs", false, false, wait_fields, ELEMENTSOF(wait_fields),
		sizeof(struct wait_parameters), NULL, wait_jobs },
	{ 0 },
};
