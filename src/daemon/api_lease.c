/* SPDX-License-Identifier: MIT */
/* Release, Extend, Show: what people do with the leases they have. */
#include <errno.h>
#include <inttypes.h>

#include "base/parse.h"
#include "daemon/api_ids.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "daemon/usage.h"
#include "policy/admit.h"
#include "policy/transition.h"
#include "proto/view.h"

#define EVENTS_MAX 1000 /* of one lease, shown at once */
#define IDS_MAX    1000 /* released by number at once */

struct lease *api_find_lease(const struct manager *m, int64_t id)
{
	struct lease *lease = pool_find(m->pool, id);

	return lease && lease->state != LEASE_ENDED ? lease : NULL;
}

struct verdict api_unknown_lease(int64_t id)
{
	return verdict_make(VERDICT_INVALID, "lease.unknown",
		"there is no lease #%" PRId64 ", or it has ended; see 'dibs list'", id);
}

json_t *api_view_lease(const struct manager *m, const struct lease *lease)
{
	return view_lease(
		m->pool, lease, pool_position(m->pool, lease), clock_to_wall_offset(&m->clock));
}

struct verdict api_resolve(const struct manager *m, const char *typed, struct gpu_set *ret_gpus)
{
	struct request wanted = { 0 };
	struct verdict v = admit_resolve(m->pool, typed, &wanted.gpus);

	*ret_gpus = (struct gpu_set){ 0 };
	if (v.kind == VERDICT_OK && wanted.gpus)
		*ret_gpus = admit_eligible(m->pool, &wanted);
	request_clear(&wanted);
	return v;
}

struct release_parameters {
	json_t *ids;
	char *gpus;
	bool all;
};

#define AT(member) offsetof(struct release_parameters, member)
static const struct field release_fields[] = {
	{ "ids", FIELD_INTS, AT(ids), .min = 1, .max = INT64_MAX },
	{ "gpus", FIELD_STRINGS, AT(gpus), .max = GPU_MAX },
	{ "all", FIELD_BOOL, AT(all) },
};
#undef AT

/* Each named lease must be there and the caller's. */
static struct verdict check_ids(const struct manager *m, const struct actor *actor, json_t *ids)
{
	json_t *id;
	size_t i;

	if (json_array_size(ids) > IDS_MAX)
		return verdict_make(VERDICT_INVALID, "release.too-many",
			"at most %d leases can be released by number at once; use --all", IDS_MAX);
	json_array_foreach (ids, i, id) {
		const struct lease *lease = api_find_lease(m, json_integer_value(id));
		struct verdict v;

		if (!lease)
			return api_unknown_lease(json_integer_value(id));
		v = access_own(actor, lease, "release");
		if (v.kind != VERDICT_OK)
			return v;
	}
	return verdict_ok();
}

/* Of those who have the GPU, one of the caller's, or else the first. NULL: nobody has it. */
static const struct lease *find_holder(
	const struct manager *m, const struct actor *actor, unsigned slot)
{
	const struct lease *holder = pool_holder(m->pool, slot), *first = holder;

	while (holder && holder->uid != actor->uid)
		holder = pool_next_holder(m->pool, slot, holder);
	return holder ? holder : first;
}

/* Each named GPU must be held by a lease of the caller. */
static struct verdict check_gpus(
	const struct manager *m, const struct actor *actor, const char *typed, struct gpu_set *ret)
{
	struct verdict v = api_resolve(m, typed, ret);

	if (v.kind != VERDICT_OK)
		return v;
	gpu_set_foreach (slot, ret) {
		const struct lease *holder = find_holder(m, actor, slot);

		if (!holder)
			return verdict_make(VERDICT_INVALID, "gpu.not-leased",
				"GPU %d is not leased", m->pool->gpus[slot].index);
		v = access_own(actor, holder, "release");
		if (v.kind != VERDICT_OK)
			return v;
	}
	return verdict_ok();
}

static bool is_meant(
	const struct release_parameters *p, const struct gpu_set *gpus, const struct lease *lease)
{
	json_t *id;
	size_t i;

	if (p->all || (!p->ids && !p->gpus))
		return p->all || (lease->kind == LEASE_HOLD && lease_holds(lease) &&
					 lease->request.bound == BOUND_NOT);
	json_array_foreach (p->ids, i, id)
		if (json_integer_value(id) == lease->id)
			return true;
	return lease_holds(lease) && gpu_set_meet(&lease->gpus, gpus);
}

/* All that is meant can be ended. */
static struct verdict check_power(const struct manager *m, const struct actor *actor,
	const struct release_parameters *p, const struct gpu_set *gpus)
{
	struct verdict v = verdict_ok();

	for (size_t i = 0; i < m->pool->n_leases && v.kind == VERDICT_OK; i++)
		if (m->pool->leases[i]->uid == actor->uid && is_meant(p, gpus, m->pool->leases[i]))
			v = lifecycle_can_release(m, m->pool->leases[i]);
	return v;
}

static int release(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct release_parameters *p = parameters;
	struct actor actor = connection_actor(c);
	struct gpu_set gpus = { 0 };
	struct verdict v = check_ids(m, &actor, p->ids);
	json_t *released;

	if (v.kind == VERDICT_OK && p->gpus)
		v = check_gpus(m, &actor, p->gpus, &gpus);
	if (v.kind == VERDICT_OK)
		v = check_power(m, &actor, p, &gpus);
	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	released = json_array();
	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];

		/* Security: whatever was named, only the caller's own are touched. */
		if (lease->state == LEASE_ENDED || lease->uid != c->uid ||
			!is_meant(p, &gpus, lease))
			continue;
		lifecycle_release(m, lease, LEASE_END_RELEASED, c->uid, NULL);
		json_array_append_new(released, api_view_lease(m, lease));
	}
	connection_reply(c, json_pack("{s:o}", "leases", released));
	return 0;
}

struct extend_parameters {
	int64_t id, duration_us;
};

static const struct field extend_fields[] = {
	{ "id", FIELD_INT, offsetof(struct extend_parameters, id), .required = true, .min = 1,
		.max = INT64_MAX },
	{ "duration_us", FIELD_INT, offsetof(struct extend_parameters, duration_us),
		.required = true, .min = 1, .max = DURATION_MAX_US },
};

static int extend(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct extend_parameters *p = parameters;
	struct actor actor = connection_actor(c);
	struct lease *lease = api_find_lease(m, p->id), extended;
	char by[DURATION_TEXT_SIZE], detail[64];
	struct verdict v = lease ? access_own(&actor, lease, "extend") : api_unknown_lease(p->id);

	/* Tried on a copy: what is touched is applied, and a run in grace would get TERM again. */
	if (v.kind == VERDICT_OK) {
		int64_t max_us = m->config->max_hold_us;

		if (lease->kind == LEASE_JOB)
			max_us = m->config->jobs_max_time_us ? m->config->jobs_max_time_us
							     : TIME_NEVER;
		extended = *lease;
		v = transition_extend(&extended, p->duration_us, clock_now(&m->clock), max_us);
	}
	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	batch_touch(m, lease);
	lease->until_us = extended.until_us;
	lease->kill_us = extended.kill_us;
	if (lease->job)
		lease->job->warned = false;
	format_duration(by, p->duration_us);
	snprintf(detail, sizeof(detail), "by %s", by);
	batch_event(m, EVENT_EXTENDED, lease->id, c->uid, NULL, detail);
	batch_want_pass(
		m); /* an expiry that moves can close a gap that somebody would have fitted into */
	connection_reply(c, json_pack("{s:o}", "lease", api_view_lease(m, lease)));
	return 0;
}

struct show_parameters {
	int64_t id, index;
};

static const struct field show_fields[] = {
	{ "id", FIELD_INT, offsetof(struct show_parameters, id), .required = true, .min = 1,
		.max = INT64_MAX },
	{ "index", FIELD_INT, offsetof(struct show_parameters, index), .max = INDICES_INDEX_MAX },
};

static const struct show_parameters show_defaults = { .index = -1 };

static int append_event(const struct event *event, void *userdata)
{
	return json_array_append_new(userdata, view_event(event)) < 0 ? -ENOMEM : 0;
}

static int show(struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct show_parameters *p = parameters;
	const struct job_address address = { p->id, p->index };
	const struct lease *lease = api_find_address(m, &address);
	_cleanup_(lease_freep) struct lease *stored = NULL;
	_cleanup_(json_decrefp) json_t *events = json_array(), *view = NULL;
	int r;

	if (!lease) {
		r = api_find_ended(m, &address, &stored, err);
		if (r < 0)
			return r;
		lease = stored;
	}
	/* It has ended, in memory only so far. */
	if (!lease && p->index < 0)
		lease = pool_find(m->pool, p->id);
	if (!lease) {
		struct verdict v = p->index < 0
					   ? verdict_make(VERDICT_INVALID, "lease.unknown",
						     "there never was a lease #%" PRId64, p->id)
					   : api_unknown_address(&address);

		connection_refuse(c, &v);
		return 0;
	}
	r = m->store->ops->events_of_lease(
		m->store, lease->id, EVENTS_MAX, append_event, events, err);
	if (r < 0)
		return r;
	view = api_view_lease(m, lease);
	r = usage_show(m, lease, view, err);
	if (r < 0)
		return r;
	connection_reply(c, json_pack("{s:O, s:O}", "lease", view, "events", events));
	return 0;
}

const struct method api_lease_methods[] = {
	{ "org.dibs.Release", false, false, release_fields, ELEMENTSOF(release_fields),
		sizeof(struct release_parameters), NULL, release },
	{ "org.dibs.Extend", false, true, extend_fields, ELEMENTSOF(extend_fields),
		sizeof(struct extend_parameters), NULL, extend },
	{ "org.dibs.Show", false, false, show_fields, ELEMENTSOF(show_fields),
		sizeof(struct show_parameters), &show_defaults, show },
	{ 0 },
};
