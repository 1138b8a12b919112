/* SPDX-License-Identifier: MIT */
/*
 * Give and Shrink: a lease goes on, but whose it is or what it holds changes. To those who lose the
 * right it is as if the lease had ended: the guard lets nobody on these GPUs until their processes
 * are gone.
 */
#include <inttypes.h>

#include "base/parse.h"
#include "daemon/api.h"
#include "daemon/attribution.h"
#include "daemon/batch.h"
#include "daemon/guard.h"
#include "daemon/inventory.h"
#include "daemon/revoke.h"
#include "policy/admit.h"
#include "policy/transition.h"
#include "priv/holders.h"

#define SHRINK_SCAN_US (50 * USEC_PER_MSEC)

static void journal(struct manager *m, enum event_kind kind, const struct connection *c,
	const struct lease *lease, const struct gpu_set *gpus, const char *to)
{
	char list[GPU_LIST_SIZE], detail[EVENT_DETAIL_SIZE];

	pool_format_gpus(m->pool, gpus, list, sizeof(list));
	snprintf(detail, sizeof(detail), "GPU %.280s%s", list, to);
	batch_event(m, kind, lease->id, c->uid, NULL, detail);
}

static void answer(struct manager *m, struct connection *c, const struct lease *lease)
{
	connection_reply(c, json_pack("{s:o}", "lease", api_view_lease(m, lease)));
}

struct give_parameters {
	int64_t id, uid;
};

#define AT(member) offsetof(struct give_parameters, member)
static const struct field give_fields[] = {
	{ "id", FIELD_INT, AT(id), .required = true, .min = 1, .max = INT64_MAX },
	{ "uid", FIELD_INT, AT(uid), .required = true, .max = UINT32_MAX - INT64_C(1) },
};
#undef AT

static int give(struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct give_parameters *p = parameters;
	const struct admit_limits limits = {
		.requests_per_user = m->config->requests_per_user,
	};
	struct actor actor = connection_actor(c);
	struct lease *lease = api_find_lease(m, p->id), given;
	uid_t uid = (uid_t)p->uid;
	/* Security: only the owner gives it away. */
	struct verdict v = lease ? access_own(&actor, lease, "give") : api_unknown_lease(p->id);
	char to[32];

	if (v.kind == VERDICT_OK) {
		given = *lease;
		v = transition_give(&given, uid, clock_now(&m->clock));
	}
	/* Security: nobody can be made to have more than they could ask for. */
	if (v.kind == VERDICT_OK)
		v = admit_receiver(m->pool, &limits, uid);
	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	revoke_mark(m, lease, &lease->gpus);
	batch_touch(m, lease);
	*lease = given;
	inventory_judge(m, &lease->gpus);
	snprintf(to, sizeof(to), " to uid %u", (unsigned)uid);
	journal(m, EVENT_GIVEN, c, lease, &lease->gpus, to);
	answer(m, c, lease);
	return 0;
}

struct shrink_parameters {
	int64_t id;
	char *gpus;
};

#define AT(member) offsetof(struct shrink_parameters, member)
static const struct field shrink_fields[] = {
	{ "id", FIELD_INT, AT(id), .required = true, .min = 1, .max = INT64_MAX },
	{ "gpus", FIELD_STRINGS, AT(gpus), .required = true, .max = GPU_MAX },
};
#undef AT

static struct verdict check_unused(
	const struct manager *m, const struct lease *lease, const struct gpu_set *gpus)
{
	gpu_set_foreach (slot, gpus) {
		const struct gpu *gpu = &m->pool->gpus[slot];

		for (size_t i = 0; i < gpu->n_processes; i++)
			if (gpu->processes[i].lease == lease->id)
				return verdict_make(VERDICT_REFUSED, "lease.in-use",
					"process %d (%s) of %s #%" PRId64
					" uses GPU %d; end it first",
					(int)gpu->processes[i].pid, gpu->processes[i].command,
					lease_kind_to_string(lease->kind), lease->id, gpu->index);
	}
	return verdict_ok();
}

/* A program has all GPUs open that it saw when it started, those too that it does nothing with:
 * under a guard that denies it would be ended for one of them. Security: bounded, as everybody can
 * ask. */
static struct verdict check_unopened(
	struct manager *m, const struct lease *lease, const struct gpu_set *gpus)
{
	_cleanup_(holders_freep) struct holders *scan = NULL;
	uint32_t devices[GPU_MAX * GPU_NODES_MAX][2];
	const struct holder *found;
	size_t n = guard_devices(m, gpus, devices);

	if (!guard_denies(m))
		return verdict_ok();
	scan = holders_new(devices, n, lease->uid);
	if (!scan || holders_step(scan, SHRINK_SCAN_US) != 0)
		return verdict_make(VERDICT_REFUSED, "lease.too-many-processes",
			"you have too many processes or open files to tell in time which of them "
			"use these GPUs; end some, or release the lease");
	found = holders_found(scan, &n);
	for (size_t i = 0; i < n; i++)
		gpu_set_foreach (slot, gpus) {
			const struct gpu *gpu = &m->pool->gpus[slot];
			struct gpu_process p = { .pid = found[i].pid, .memory_mib = GPU_UNKNOWN };

			if (!gpu_has_node(gpu, found[i].major, found[i].minor) ||
				attribution_fill(m, &p) < 0)
				continue;
			attribution_judge(m, slot, &p);
			if (p.lease == lease->id)
				return verdict_make(VERDICT_REFUSED, "lease.in-use",
					"process %d (%s) of %s #%" PRId64
					" has GPU %d open; end it first",
					(int)p.pid, p.command, lease_kind_to_string(lease->kind),
					lease->id, gpu->index);
		}
	return verdict_ok();
}

static struct verdict check_shrink(struct manager *m, const struct connection *c,
	const struct shrink_parameters *p, const struct lease *lease, struct gpu_set *ret_gpus)
{
	struct actor actor = connection_actor(c);
	/* Security: only the owner gives back. */
	struct verdict v = lease ? access_own(&actor, lease, "shrink") : api_unknown_lease(p->id);

	if (v.kind == VERDICT_OK)
		v = api_resolve(m, p->gpus, ret_gpus);
	if (v.kind == VERDICT_OK)
		v = transition_can_shrink(m->pool, lease, ret_gpus);
	if (v.kind != VERDICT_OK)
		return v;
	inventory_judge(m, ret_gpus); /* who ended since the last sample is in nobody's way */
	v = check_unused(m, lease, ret_gpus);
	return v.kind == VERDICT_OK ? check_unopened(m, lease, ret_gpus) : v;
}

static int shrink(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct shrink_parameters *p = parameters;
	struct lease *lease = api_find_lease(m, p->id);
	struct gpu_set gpus;
	struct verdict v = check_shrink(m, c, p, lease, &gpus);

	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	revoke_mark(m, lease, &gpus);
	batch_touch(m, lease);
	gpu_set_foreach (slot, &gpus)
		batch_touch_gpu(m, slot);
	transition_shrink(m->pool, lease, &gpus, clock_now(&m->clock));
	inventory_judge(m, &gpus);
	journal(m, EVENT_SHRUNK, c, lease, &gpus, " given back");
	batch_want_pass(m);
	answer(m, c, lease);
	return 0;
}

const struct method api_transfer_methods[] = {
	{ "org.dibs.Give", false, true, give_fields, ELEMENTSOF(give_fields),
		sizeof(struct give_parameters), NULL, give },
	{ "org.dibs.Shrink", false, true, shrink_fields, ELEMENTSOF(shrink_fields),
		sizeof(struct shrink_parameters), NULL, shrink },
	{ 0 },
};
