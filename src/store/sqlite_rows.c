/* SPDX-License-Identifier: MIT */
/* GPUs, clock and journal to rows and back, and all of it together at the start. */
#include "store/sqlite_row.h"

#include <assert.h>

#include "base/text.h"

/* GPUs */

static int drop(struct sqlite *s, enum statement statement, const char *uuid, struct error *err)
{
	struct row row = row_of(s, statement);

	row_put_text(&row, uuid);
	return sqlite_write(s, statement, err);
}

static int put_gpu_uses(struct sqlite *s, const struct gpu *gpu, struct error *err)
{
	struct row row;
	int r = drop(s, STATEMENT_DROP_GPU_USES, gpu->uuid, err);

	for (size_t i = 0; r == 0 && i < gpu->n_recent; i++) {
		row = row_of(s, STATEMENT_PUT_GPU_USE);
		row_put_text(&row, gpu->uuid);
		row_put_int(&row, gpu->recent[i].uid);
		row_put_int(&row, gpu->recent[i].last_us);
		r = sqlite_write(s, STATEMENT_PUT_GPU_USE, err);
	}
	return r;
}

int sqlite_put_gpu(struct store *store, const struct gpu *gpu, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_PUT_GPU);
	int r;

	row_put_text(&row, gpu->uuid);
	row_put_text(&row, gpu->model);
	row_put_text(&row, gpu->pci);
	row_put_text(&row, gpu_vendor_to_string(gpu->vendor));
	row_put_int(&row, gpu->index);
	row_put_int(&row, gpu->minor);
	row_put_int(&row, gpu->memory_mib);
	row_put_int(&row, gpu->drained);
	row_put_text(&row, gpu->drain_reason);
	row_put_int(&row, gpu->free_since_us);
	r = sqlite_write(s, STATEMENT_PUT_GPU, err);
	return r < 0 ? r : put_gpu_uses(s, gpu, err);
}

int sqlite_forget_gpu(struct store *store, const char *uuid, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	int r = drop(s, STATEMENT_DROP_GPU_USES, uuid, err);

	return r < 0 ? r : drop(s, STATEMENT_DROP_GPU, uuid, err);
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
		gpu->memory_mib = row_get_int(&row);
		gpu->drained = row_get_int(&row) != 0;
		text_copy(gpu->drain_reason, sizeof(gpu->drain_reason), row_get_text(&row));
		gpu->free_since_us = row_get_int(&row);
		r = row_result(s, &row, "gpu", err);
		if (r < 0)
			break;
	}
	return r;
}

static int load_gpu_uses(struct sqlite *s, struct pool *pool, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_GPU_USES];
	int r;

	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		int slot = pool_slot_by_uuid(pool, row_get_text(&row));
		struct gpu *gpu = slot >= 0 ? &pool->gpus[slot] : NULL;

		if (!gpu || gpu->n_recent == GPU_RECENT_MAX)
			continue;
		gpu->recent[gpu->n_recent].uid = (uid_t)row_get_int(&row);
		gpu->recent[gpu->n_recent++].last_us = row_get_int(&row);
	}
	return r;
}

/* Clock and numbers */

int sqlite_put_mark(struct store *store, const struct clock_mark *mark, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_PUT_MARK);

	row_put_text(&row, mark->boot_id);
	row_put_int(&row, mark->offset_us);
	row_put_int(&row, mark->ledger_us);
	row_put_int(&row, mark->wall_us);
	return sqlite_write(s, STATEMENT_PUT_MARK, err);
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
		r = load_gpu_uses(s, pool, err);
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

int sqlite_events_of_lease(struct store *store, int64_t id, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_EVENTS];
	struct row bound = { .query = query };
	int r;

	row_put_int(&bound, id);
	row_put_int(&bound, limit);
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
