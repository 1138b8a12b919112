/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/guard.h"
#include "daemon/server.h"
#include "dibs-config.h"
#include "proto/view.h"

static int by_id(const void *a, const void *b)
{
	const struct lease *const *x = a, *const *y = b;

	return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

/* pool_position of all leases, in their order, at the price of one: the caller frees. NULL without
 * memory. */
static size_t *positions(const struct pool *pool)
{
	size_t *ranks = calloc(pool->n_leases + 1, sizeof(*ranks)), n, rank = 0;
	_cleanup_(freep) struct lease **queue = NULL;

	if (!ranks || pool_queue(pool, &queue, &n) < 0) {
		free(ranks);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		struct lease **lease = bsearch(
			&queue[i], pool->leases, pool->n_leases, sizeof(struct lease *), by_id);

		if (!pool_blocked(pool, queue[i], 0, 0, NULL))
			ranks[lease - pool->leases] = ++rank;
	}
	return ranks;
}

json_t *api_status(const struct manager *m)
{
	const struct pool *pool = m->pool;
	_cleanup_(freep) size_t *ranks = positions(pool);
	int64_t offset_us = clock_to_wall_offset(&m->clock);
	struct gpu_set gpus = { 0 };
	json_t *leases;

	if (!ranks)
		return NULL;
	leases = json_array();
	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		gpu_set_add(&gpus, slot);
	for (size_t i = 0; i < pool->n_leases; i++) {
		const struct lease *lease = pool->leases[i];

		if (lease->state != LEASE_ENDED)
			json_array_append_new(leases, view_lease(pool, lease, ranks[i], offset_us));
	}
	return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:o, s:o}", "host", m->host, "version",
		DIBS_VERSION, "guard", guard_mode_to_string(guard_mode(m)), "guard_method",
		guard_method(m), "guard_problem", guard_problem(m), "gpus",
		view_gpus(pool, &gpus, offset_us), "leases", leases);
}

static int get_status(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const char *text = server_status(m->server, c->more);

	c->watches_status = c->more; /* and stays busy: that call never ends */
	batch_reply(m, c, text ? strdup(text) : NULL, !c->more);
	return 0;
}

const struct method api_status_methods[] = {
	{ .name = "org.dibs.GetStatus", .handler = get_status },
	{ 0 },
};
