/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/guard.h"
#include "daemon/server.h"
#include "dibs-config.h"
#include "proto/view.h"

json_t *api_status(const struct manager *m)
{
	const struct pool *pool = m->pool;
	int64_t offset_us = clock_to_wall_offset(&m->clock);
	json_t *leases = json_array();
	struct gpu_set gpus = { 0 };
	size_t position = 0;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		gpu_set_add(&gpus, slot);
	for (size_t i = 0; i < pool->n_leases; i++) {
		const struct lease *lease = pool->leases[i];
		bool waits = lease->state == LEASE_WAITING;

		position += waits;
		if (lease->state != LEASE_ENDED)
			json_array_append_new(
				leases, view_lease(pool, lease, waits ? position : 0, offset_us));
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
