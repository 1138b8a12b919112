/* SPDX-License-Identifier: MIT */
/* GPUs, clock and journal to rows and back, and all of it together at the start. */
#include "store/sqlite_row.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

#define MARK_AGE_US 1000000 /* how much older than put_mark a mark of load may be */

/* GPUs */

/* A use is UID:LAST_US; they lie between spaces. */
#define USES_SIZE (GPU_RECENT_MAX * sizeof("4294967295:-9223372036854775808 "))

static void format_uses(const struct gpu *gpu, char dst[USES_SIZE])
{
	size_t n = 0;

	dst[0] = '\0';
	for (size_t i = 0; i < gpu->n_recent; i++)
		n += (size_t)snprintf(dst + n, USES_SIZE - n, "%s%u:%" PRId64, n > 0 ? " " : "",
			gpu->recent[i].uid, gpu->recent[i].last_us);
}

static int parse_uses(const char *s, struct gpu *gpu)
{
	for (char *end; *s; s = end + (*end == ' ')) {
		struct gpu_use *use = &gpu->recent[gpu->n_recent];

		if (gpu->n_recent == GPU_RECENT_MAX)
			return -E2BIG;
		use->uid = (uid_t)strtoul(s, &end, 10);
		if (*end != ':')
			return -EINVAL;
		use->last_us = strtoll(end + 1, &end, 10);
		if (*end != ' ' && *end != '\0')
			return -EINVAL;
		gpu->n_recent++;
	}
	return 0;
}

int sqlite_put_gpu(struct store *store, const struct gpu *gpu, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_PUT_GPU);
	char recent[USES_SIZE], nodes[GPU_NODES_SIZE];

	gpu_format_nodes(gpu, nodes);
	format_uses(gpu, recent);
	row_put_text(&row, gpu->uuid);
	row_put_text(&row, gpu->model);
	row_put_text(&row, gpu->pci);
	row_put_text(&row, gpu_vendor_to_string(gpu->vendor));
	row_put_int(&row, gpu->index);
	row_put_int(&row, gpu->minor);
	row_put_text(&row, nodes);
	row_put_int(&row, gpu->memory_mib);
	row_put_int(&row, gpu->drained);
	row_put_text(&row, gpu->drain_reason);
	row_put_int(&row, gpu->revoking);
	row_put_int(&row, gpu->trusted_since_us);
	row_put_int(&row, gpu->free_since_us);
	row_put_text(&row, recent);
	return sqlite_write(s, STATEMENT_PUT_GPU, err);
}

int sqlite_forget_gpu(struct store *store, const char *uuid, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_DROP_GPU);

	row_put_text(&row, uuid);
	return sqlite_write(s, STATEMENT_DROP_GPU, err);
}

static int load_gpus(struct sqlite *s, struct pool *pool, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_GPUS];
	struct row limit = { .query = query };
	int r;

	row_put_int(&limit, GPU_MAX);
	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		int slot = pool_add_gpu(pool, row_get_text(&row));
		struct gpu *gpu;

		assert(slot >= 0);
		gpu = &pool->gpus[slot];
		text_copy(gpu->model, sizeof(gpu->model), row_get_text(&row));
		text_copy(gpu->pci, sizeof(gpu->pci), row_get_text(&row));
		gpu->vendor = row_get_enum(&row, gpu_vendor_from_string(row_get_text(&row)));
		gpu->index = (int)row_get_int(&row);
		gpu->minor = (int)row_get_int(&row);
		row_get_enum(&row, gpu_parse_nodes(row_get_text(&row), gpu));
		gpu->memory_mib = row_get_int(&row);
		gpu->drained = row_get_int(&row) != 0;
		text_copy(gpu->drain_reason, sizeof(gpu->drain_reason), row_get_text(&row));
		gpu->revoking = row_get_int(&row);
		gpu->trusted_since_us = row_get_int(&row);
		gpu->free_since_us = row_get_int(&row);
		row_get_enum(&row, parse_uses(row_get_text(&row), gpu));
		r = row_result(s, &row, "gpu", err);
		if (r < 0)
			break;
	}
	return r;
}

/* What administrators said at run time */

int sqlite_put_override(struct store *store, const char *name, const char *value, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	enum statement statement = value ? STATEMENT_PUT_OVERRIDE : STATEMENT_DROP_OVERRIDE;
	struct row row = row_of(s, statement);

	row_put_text(&row, name);
	if (value)
		row_put_text(&row, value);
	return sqlite_write(s, statement, err);
}

int sqlite_get_override(
	struct store *store, const char *name, char *dst, size_t size, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_OVERRIDE];
	struct row bound = { .query = query }, row = { .query = query };
	int r;

	row_put_text(&bound, name);
	r = sqlite_next(s, query, err);
	if (r < 0)
		return r;
	text_copy(dst, size, r > 0 ? row_get_text(&row) : "");
	return row_result(s, &row, "override", err);
}

/* What was taken over */

int sqlite_put_import(struct store *store, const char *origin, int64_t lease, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_PUT_IMPORT);

	row_put_text(&row, origin);
	row_put_int(&row, lease);
	return sqlite_write(s, STATEMENT_PUT_IMPORT, err);
}

int sqlite_find_import(struct store *store, const char *origin, int64_t *ret_id, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_IMPORT];
	struct row bound = { .query = query }, row = { .query = query };
	int r;

	row_put_text(&bound, origin);
	r = sqlite_next(s, query, err);
	if (r < 0)
		return r;
	*ret_id = r > 0 ? row_get_int(&row) : 0;
	return 0;
}

/* Clock and numbers */

int sqlite_put_mark(struct store *store, const struct clock_mark *mark, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	int r = sqlite_writable(s, err);

	if (r == 0)
		s->mark = *mark;
	return r;
}

/* A journal line carries the same two times: within a boot one that is written now replaces the
 * mark, which would be one more page in every commit. Lines about the past (a lease that expired
 * while nobody looked) do not. */
static bool journal_knows(const struct sqlite *s)
{
	return s->journaled_us > s->mark.ledger_us - MARK_AGE_US &&
	       s->mark.offset_us == s->stored.offset_us &&
	       strcmp(s->mark.boot_id, s->stored.boot_id) == 0;
}

/* At the end of a transaction, when it is known what else is in it. */
int sqlite_write_mark(struct sqlite *s, struct error *err)
{
	const struct clock_mark *mark = &s->mark;
	struct row row = row_of(s, STATEMENT_PUT_MARK);
	int r;

	if (!mark->boot_id[0] || journal_knows(s))
		return 0;
	row_put_text(&row, mark->boot_id);
	row_put_int(&row, mark->offset_us);
	row_put_int(&row, mark->ledger_us);
	row_put_int(&row, mark->wall_us);
	r = sqlite_write(s, STATEMENT_PUT_MARK, err);
	if (r == 0)
		s->stored = *mark;
	return r;
}

static int get_mark(struct sqlite *s, struct clock_mark *ret_mark, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_MARK];
	struct row row = { .query = query };
	struct clock_mark mark = { 0 };
	int r;

	r = sqlite_next(s, query, err);
	if (r < 0)
		return r;
	if (r > 0) {
		text_copy(mark.boot_id, sizeof(mark.boot_id), row_get_text(&row));
		mark.offset_us = row_get_int(&row);
		mark.ledger_us = row_get_int(&row);
		mark.wall_us = row_get_int(&row);
	}
	*ret_mark = mark;
	return 0;
}

static int get_next_id(struct sqlite *s, int64_t *ret_next_id, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_LAST_ID];
	struct row row = { .query = query };
	int64_t stored, journaled;
	int r;

	r = sqlite_next(s, query, err);
	if (r < 0)
		return r;
	stored = row_get_int(&row);
	journaled = row_get_int(&row);
	*ret_next_id = MAX(stored, journaled) + 1;
	return 0;
}

int sqlite_load(struct store *store, struct pool *pool, int64_t *ret_next_id,
	struct clock_mark *ret_mark, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	int64_t next_id;
	int r;

	r = load_gpus(s, pool, err);
	if (r == 0)
		r = sqlite_load_leases(s, pool, err);
	if (r == 0)
		r = get_next_id(s, &next_id, err);
	if (r == 0)
		r = get_mark(s, ret_mark, err);
	if (r == 0)
		*ret_next_id = next_id;
	return r;
}

/* Journal */

int sqlite_add_event(struct store *store, const struct event *event, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_ADD_EVENT);

	s->journaled_us = event->at_us;
	row_put_int(&row, event->at_us);
	row_put_int(&row, event->wall_us);
	row_put_text(&row, event_kind_to_string(event->kind));
	if (event->lease != 0)
		row_put_int(&row, event->lease);
	else
		row_put_null(&row);
	if (event->uid != EVENT_NOBODY)
		row_put_int(&row, event->uid);
	else
		row_put_null(&row);
	row_put_text(&row, event->gpu[0] ? event->gpu : NULL);
	row_put_text(&row, event->detail);
	return sqlite_write(s, STATEMENT_ADD_EVENT, err);
}

static void read_event(struct row *row, struct event *event)
{
	bool nobody;

	event->id = row_get_int(row);
	event->at_us = row_get_int(row);
	event->wall_us = row_get_int(row);
	event->kind = row_get_enum(row, event_kind_from_string(row_get_text(row)));
	event->lease = row_get_int(row);
	nobody = sqlite3_column_type(row->query, row->n) == SQLITE_NULL;
	event->uid = (uid_t)row_get_int(row);
	if (nobody)
		event->uid = EVENT_NOBODY;
	text_copy(event->gpu, sizeof(event->gpu), row_get_text(row));
	text_copy(event->detail, sizeof(event->detail), row_get_text(row));
}

int sqlite_last_event(struct store *store, int64_t *ret_id, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_LAST_EVENT];
	struct row row = { .query = query };
	int r = sqlite_next(s, query, err);

	if (r < 0)
		return r;
	*ret_id = r > 0 ? row_get_int(&row) : 0;
	return 0;
}

static int read_events(struct sqlite *s, sqlite3_stmt *query,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	int r;

	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		struct event event;

		read_event(&row, &event);
		r = row_result(s, &row, "event", err);
		if (r < 0)
			return r;
		r = fn(&event, userdata);
		if (r != 0)
			return r;
	}
	return r;
}

int sqlite_events_after(struct store *store, int64_t after, int64_t lease, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	enum statement statement =
		lease ? STATEMENT_GET_EVENTS_OF_AFTER : STATEMENT_GET_EVENTS_AFTER;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[statement];
	struct row bound = { .query = query };

	row_put_int(&bound, after);
	if (lease)
		row_put_int(&bound, lease);
	row_put_int(&bound, limit);
	return read_events(s, query, fn, userdata, err);
}

int sqlite_events_of_lease(struct store *store, int64_t id, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_EVENTS];
	struct row bound = { .query = query };

	row_put_int(&bound, id);
	row_put_int(&bound, limit);
	return read_events(s, query, fn, userdata, err);
}
