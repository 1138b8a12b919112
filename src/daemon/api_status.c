/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
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

/* What there is beside the leases, without the bracket that closes it; the caller frees. */
static char *view_head(const struct manager *m)
{
	const struct pool *pool = m->pool;
	struct gpu_set gpus = { 0 };
	_cleanup_(json_decrefp) json_t *head = NULL;
	char *text;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		gpu_set_add(&gpus, slot);
	head = json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:o}", "host", m->host, "version",
		DIBS_VERSION, "guard", guard_mode_to_string(guard_mode(m)), "guard_method",
		guard_method(m), "guard_problem", guard_problem(m), "gpus",
		view_gpus(pool, &gpus, clock_to_wall_offset(&m->clock)));
	text = head ? json_dumps(head, JSON_COMPACT) : NULL;
	if (text)
		text[strlen(text) - 1] = '\0';
	return text;
}

/* One after the other: all of them as JSON objects would take several times their text. */
static int put_leases(const struct manager *m, const size_t *ranks, FILE *out)
{
	const struct pool *pool = m->pool;
	const char *comma = "";

	for (size_t i = 0; i < pool->n_leases; i++) {
		_cleanup_(json_decrefp) json_t *view = NULL;

		if (pool->leases[i]->state == LEASE_ENDED)
			continue;
		view = view_lease(pool, pool->leases[i], ranks[i], clock_to_wall_offset(&m->clock));
		fputs(comma, out);
		if (!view || json_dumpf(view, out, JSON_COMPACT) < 0)
			return -ENOMEM;
		comma = ",";
	}
	return 0;
}

char *api_status(const struct manager *m, bool continues)
{
	_cleanup_(freep) size_t *ranks = positions(m->pool);
	_cleanup_(freep) char *head = view_head(m), *text = NULL;
	size_t size = 0;
	FILE *out;
	int r;

	if (!ranks || !head || !(out = open_memstream(&text, &size)))
		return NULL;
	fprintf(out, "{\"parameters\":%s,\"leases\":[", head);
	r = put_leases(m, ranks, out);
	fputs(continues ? "]},\"continues\":true}" : "]}}", out);
	return fclose(out) == 0 && r == 0 ? TAKE_PTR(text) : NULL;
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
