/* SPDX-License-Identifier: MIT */
/*
 * Records to rows and back: all SQL that the running daemon uses stands here, beside the code that
 * binds and reads its columns in the order in which they are named.
 *
 * Enums are stored by name, UUIDs instead of slots, and NULL where a record says "nobody" or
 * "nothing". $N is a parameter name for SQLite and a number for PostgreSQL; named in rising order
 * it is the same for both.
 */
#include "store/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "base/text.h"

#define LEASE_COLUMNS                                                                          \
	"id, kind, state, ended_by, uid, n_gpus, only_gpus, types, min_memory_mib, "           \
	"duration_us, wait_us, forced, note, command, submitted_us, wait_until_us, since_us, " \
	"until_us, kill_us, ended_us, pid, start_ticks, cgroup"
#define GPU_COLUMNS                                                                    \
	"uuid, model, pci, vendor, number, minor, memory_mib, drained, drain_reason, " \
	"free_since_us"
#define EVENT_COLUMNS "at_us, wall_us, kind, lease, uid, gpu, detail"
#define MARK_COLUMNS  "boot_id, offset_us, ledger_us, wall_us"

const char *const sqlite_statement_sql[STATEMENT_MAX] = {
	[STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
	[STATEMENT_COMMIT] = "COMMIT",
	[STATEMENT_ROLLBACK] = "ROLLBACK",

	[STATEMENT_PUT_LEASE] =
		"INSERT INTO lease (" LEASE_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
		"$10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) "
		"ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, state = excluded.state, "
		"ended_by = excluded.ended_by, uid = excluded.uid, n_gpus = excluded.n_gpus, "
		"only_gpus = excluded.only_gpus, types = excluded.types, "
		"min_memory_mib = excluded.min_memory_mib, duration_us = excluded.duration_us, "
		"wait_us = excluded.wait_us, forced = excluded.forced, note = excluded.note, "
		"command = excluded.command, submitted_us = excluded.submitted_us, "
		"wait_until_us = excluded.wait_until_us, since_us = excluded.since_us, "
		"until_us = excluded.until_us, kill_us = excluded.kill_us, "
		"ended_us = excluded.ended_us, pid = excluded.pid, "
		"start_ticks = excluded.start_ticks, cgroup = excluded.cgroup",
	[STATEMENT_DROP_LEASE_GPUS] = "DELETE FROM lease_gpu WHERE lease = $1",
	[STATEMENT_PUT_LEASE_GPU] =
		"INSERT INTO lease_gpu (lease, position, gpu, held) VALUES ($1, $2, $3, $4)",

	[STATEMENT_PUT_GPU] =
		"INSERT INTO gpu (" GPU_COLUMNS
		") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
		"ON CONFLICT (uuid) DO UPDATE SET model = excluded.model, pci = excluded.pci, "
		"vendor = excluded.vendor, number = excluded.number, minor = excluded.minor, "
		"memory_mib = excluded.memory_mib, drained = excluded.drained, "
		"drain_reason = excluded.drain_reason, free_since_us = excluded.free_since_us",
	[STATEMENT_DROP_GPU_USES] = "DELETE FROM gpu_use WHERE gpu = $1",
	[STATEMENT_PUT_GPU_USE] = "INSERT INTO gpu_use (gpu, uid, last_us) VALUES ($1, $2, $3)",

	[STATEMENT_PUT_MARK] = "INSERT INTO meta (id, " MARK_COLUMNS ") VALUES (1, $1, $2, $3, $4) "
			       "ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id, "
			       "offset_us = excluded.offset_us, ledger_us = excluded.ledger_us, "
			       "wall_us = excluded.wall_us",
	[STATEMENT_ADD_EVENT] =
		"INSERT INTO event (" EVENT_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7)",

	/* Cards come and go over the years; if there is no room for all, those that matter most. */
	[STATEMENT_GET_GPUS] = "SELECT " GPU_COLUMNS " FROM gpu ORDER BY "
			       "EXISTS (SELECT 1 FROM lease_gpu WHERE lease_gpu.gpu = gpu.uuid AND "
			       "held = 1) DESC, "
			       "drained DESC, free_since_us DESC, number, uuid LIMIT $1",
	[STATEMENT_GET_GPU_USES] = "SELECT gpu, uid, last_us FROM gpu_use ORDER BY last_us DESC",
	[STATEMENT_GET_OPEN_LEASES] =
		"SELECT " LEASE_COLUMNS " FROM lease WHERE state <> 'ended' ORDER BY id",
	[STATEMENT_GET_LEASE] = "SELECT " LEASE_COLUMNS " FROM lease WHERE id = $1",
	[STATEMENT_GET_LEASE_GPUS] = "SELECT gpu FROM lease_gpu WHERE lease = $1",
	/* Also what was only journaled: a number that somebody has seen means one thing. */
	[STATEMENT_GET_LAST_ID] = "SELECT (SELECT MAX(id) FROM lease), "
				  "(SELECT MAX(lease) FROM event WHERE lease IS NOT NULL)",
	[STATEMENT_GET_MARK] = "SELECT " MARK_COLUMNS " FROM meta WHERE id = 1",
	[STATEMENT_GET_EVENTS] =
		"SELECT id, " EVENT_COLUMNS " FROM (SELECT id, " EVENT_COLUMNS
		" FROM event WHERE lease = $1 ORDER BY id DESC LIMIT $2) AS newest ORDER BY id",
};

/* A statement being bound, or a row being read, from the first column to the last. */
struct row {
	sqlite3_stmt *query;
	int n;
	int error; /* the first, so that one check at the end is enough */
};

static struct row bind(struct sqlite *s, enum statement statement)
{
	return (struct row){ .query = s->statements[statement] };
}

/* Nothing is copied, so that binding cannot fail: what is bound lives until the statement ran. */
static void put_int(struct row *row, int64_t value)
{
	int r = sqlite3_bind_int64(row->query, ++row->n, value);

	assert(r == SQLITE_OK);
	(void)r;
}

static void put_text(struct row *row, const char *text)
{
	int r = sqlite3_bind_text(row->query, ++row->n, text, -1, SQLITE_STATIC);

	assert(r == SQLITE_OK);
	(void)r;
}

static void put_null(struct row *row)
{
	put_text(row, NULL);
}

static int64_t get_int(struct row *row)
{
	return sqlite3_column_int64(row->query, row->n++);
}

/* NULL reads as "". */
static const char *get_text(struct row *row)
{
	bool null = sqlite3_column_type(row->query, row->n) == SQLITE_NULL;
	const char *text = (const char *)sqlite3_column_text(row->query, row->n++);

	if (!text && !null)
		row->error = -ENOMEM;
	return text ?: "";
}

static char *get_string(struct row *row)
{
	bool null = sqlite3_column_type(row->query, row->n) == SQLITE_NULL;
	char *copy = strdup(get_text(row));

	if (!copy)
		row->error = -ENOMEM;
	if (null) {
		free(copy);
		return NULL;
	}
	return copy;
}

static int get_enum(struct row *row, int value)
{
	if (value < 0 && row->error == 0)
		row->error = -EUCLEAN;
	return value;
}

static int row_result(struct sqlite *s, const struct row *row, const char *what, struct error *err)
{
	if (row->error == -ENOMEM)
		return error_set(
			err, -ENOMEM, "store.memory", "no memory left to read %s", s->path);
	if (row->error < 0)
		return sqlite_damaged(s, err, "unknown word in a row of table %s", what);
	return 0;
}

/* Leases */

static void bind_lease(struct row *row, const struct lease *lease)
{
	const struct request *request = &lease->request;

	put_int(row, lease->id);
	put_text(row, lease_kind_to_string(lease->kind));
	put_text(row, lease_state_to_string(lease->state));
	put_text(row, lease_end_to_string(lease->end));
	put_int(row, lease->uid);
	put_int(row, request->count);
	put_text(row, request->gpus);
	put_text(row, request->types);
	put_int(row, (int64_t)request->min_memory_mib);
	put_int(row, request->duration_us);
	put_int(row, request->wait_us);
	put_int(row, request->force);
	put_text(row, request->note);
	put_text(row, request->command);
	put_int(row, lease->submitted_us);
	put_int(row, lease->wait_until_us);
	put_int(row, lease->since_us);
	put_int(row, lease->until_us);
	put_int(row, lease->kill_us);
	put_int(row, lease->ended_us);
	put_int(row, lease->pid);
	put_int(row, (int64_t)lease->start_ticks);
	put_text(row, lease->cgroup);
}

static void read_lease(struct row *row, struct lease *lease)
{
	struct request *request = &lease->request;

	lease->id = get_int(row);
	lease->kind = get_enum(row, lease_kind_from_string(get_text(row)));
	lease->state = get_enum(row, lease_state_from_string(get_text(row)));
	lease->end = get_enum(row, lease_end_from_string(get_text(row)));
	lease->uid = (uid_t)get_int(row);
	request->count = (unsigned)get_int(row);
	request->gpus = get_string(row);
	request->types = get_string(row);
	request->min_memory_mib = (uint64_t)get_int(row);
	request->duration_us = get_int(row);
	request->wait_us = get_int(row);
	request->force = get_int(row) != 0;
	request->note = get_string(row);
	request->command = get_string(row);
	lease->submitted_us = get_int(row);
	lease->wait_until_us = get_int(row);
	lease->since_us = get_int(row);
	lease->until_us = get_int(row);
	lease->kill_us = get_int(row);
	lease->ended_us = get_int(row);
	lease->pid = (pid_t)get_int(row);
	lease->start_ticks = (uint64_t)get_int(row);
	lease->cgroup = get_string(row);
}

static int put_lease_gpus(
	struct sqlite *s, const struct pool *pool, const struct lease *lease, struct error *err)
{
	struct row row = bind(s, STATEMENT_DROP_LEASE_GPUS);
	int64_t position = 0;
	int r;

	put_int(&row, lease->id);
	r = sqlite_write(s, STATEMENT_DROP_LEASE_GPUS, err);
	if (r < 0)
		return r;
	gpu_set_foreach (slot, &lease->gpus) {
		row = bind(s, STATEMENT_PUT_LEASE_GPU);
		put_int(&row, lease->id);
		put_int(&row, position++);
		put_text(&row, pool->gpus[slot].uuid);
		put_int(&row, lease_holds(lease));
		r = sqlite_write(s, STATEMENT_PUT_LEASE_GPU, err);
		if (r == -EEXIST)
			return error_set(err, r, "store.held",
				"GPU %s is held by another lease; lease %" PRId64 " cannot have it",
				pool->gpus[slot].uuid, lease->id);
		if (r < 0)
			return r;
	}
	return 0;
}

int sqlite_put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = bind(s, STATEMENT_PUT_LEASE);
	int r;

	bind_lease(&row, lease);
	r = sqlite_write(s, STATEMENT_PUT_LEASE, err);
	return r < 0 ? r : put_lease_gpus(s, pool, lease, err);
}

static int get_lease_gpus(
	struct sqlite *s, const struct pool *pool, struct lease *lease, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_LEASE_GPUS];
	struct row row = { .query = query };
	int r;

	put_int(&row, lease->id);
	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row uuid = { .query = query };
		int slot = pool_slot_by_uuid(pool, get_text(&uuid));

		if (slot >= 0)
			gpu_set_add(&lease->gpus, (unsigned)slot);
		r = row_result(s, &uuid, "lease_gpu", err);
		if (r < 0)
			break;
	}
	return r;
}

/* The lease of the row at which query stands. */
static int get_lease_row(struct sqlite *s, sqlite3_stmt *query, const struct pool *pool,
	struct lease **ret_lease, struct error *err)
{
	_cleanup_(lease_freep) struct lease *lease = lease_new();
	struct row row = { .query = query };
	int r;

	if (!lease)
		return error_set(
			err, -ENOMEM, "store.memory", "no memory left to read %s", s->path);
	read_lease(&row, lease);
	r = row_result(s, &row, "lease", err);
	if (r < 0)
		return r;
	r = get_lease_gpus(s, pool, lease, err);
	if (r < 0)
		return r;
	*ret_lease = TAKE_PTR(lease);
	return 0;
}

int sqlite_get_lease(struct store *store, const struct pool *pool, int64_t id,
	struct lease **ret_lease, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_LEASE];
	struct row row = { .query = query };
	int r;

	put_int(&row, id);
	r = sqlite_next(s, query, err);
	if (r > 0)
		return get_lease_row(s, query, pool, ret_lease, err);
	if (r == 0)
		*ret_lease = NULL;
	return r;
}

static int load_leases(struct sqlite *s, struct pool *pool, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_OPEN_LEASES];
	int r;

	while ((r = sqlite_next(s, query, err)) > 0) {
		_cleanup_(lease_freep) struct lease *lease = NULL;

		r = get_lease_row(s, query, pool, &lease, err);
		if (r < 0)
			return r;
		r = pool_add(pool, lease);
		if (r < 0)
			return error_errno(
				err, r, "store.memory", "cannot load lease %" PRId64, lease->id);
		TAKE_PTR(lease);
	}
	return r;
}

/* GPUs */

static int put_gpu_uses(struct sqlite *s, const struct gpu *gpu, struct error *err)
{
	struct row row = bind(s, STATEMENT_DROP_GPU_USES);
	int r;

	put_text(&row, gpu->uuid);
	r = sqlite_write(s, STATEMENT_DROP_GPU_USES, err);
	for (size_t i = 0; r == 0 && i < gpu->n_recent; i++) {
		row = bind(s, STATEMENT_PUT_GPU_USE);
		put_text(&row, gpu->uuid);
		put_int(&row, gpu->recent[i].uid);
		put_int(&row, gpu->recent[i].last_us);
		r = sqlite_write(s, STATEMENT_PUT_GPU_USE, err);
	}
	return r;
}

int sqlite_put_gpu(struct store *store, const struct gpu *gpu, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = bind(s, STATEMENT_PUT_GPU);
	int r;

	put_text(&row, gpu->uuid);
	put_text(&row, gpu->model);
	put_text(&row, gpu->pci);
	put_text(&row, gpu_vendor_to_string(gpu->vendor));
	put_int(&row, gpu->index);
	put_int(&row, gpu->minor);
	put_int(&row, gpu->memory_mib);
	put_int(&row, gpu->drained);
	put_text(&row, gpu->drain_reason);
	put_int(&row, gpu->free_since_us);
	r = sqlite_write(s, STATEMENT_PUT_GPU, err);
	return r < 0 ? r : put_gpu_uses(s, gpu, err);
}

static int load_gpus(struct sqlite *s, struct pool *pool, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_GPUS];
	struct row limit = { .query = query };
	int r;

	put_int(&limit, GPU_MAX);
	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		int slot = pool_add_gpu(pool, get_text(&row));
		struct gpu *gpu;

		assert(slot >= 0);
		gpu = &pool->gpus[slot];
		text_copy(gpu->model, sizeof(gpu->model), get_text(&row));
		text_copy(gpu->pci, sizeof(gpu->pci), get_text(&row));
		gpu->vendor = get_enum(&row, gpu_vendor_from_string(get_text(&row)));
		gpu->index = (int)get_int(&row);
		gpu->minor = (int)get_int(&row);
		gpu->memory_mib = get_int(&row);
		gpu->drained = get_int(&row) != 0;
		text_copy(gpu->drain_reason, sizeof(gpu->drain_reason), get_text(&row));
		gpu->free_since_us = get_int(&row);
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
		int slot = pool_slot_by_uuid(pool, get_text(&row));
		struct gpu *gpu = slot >= 0 ? &pool->gpus[slot] : NULL;

		if (!gpu || gpu->n_recent == GPU_RECENT_MAX)
			continue;
		gpu->recent[gpu->n_recent].uid = (uid_t)get_int(&row);
		gpu->recent[gpu->n_recent++].last_us = get_int(&row);
	}
	return r;
}

/* Clock and numbers */

int sqlite_put_mark(struct store *store, const struct clock_mark *mark, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = bind(s, STATEMENT_PUT_MARK);

	put_text(&row, mark->boot_id);
	put_int(&row, mark->offset_us);
	put_int(&row, mark->ledger_us);
	put_int(&row, mark->wall_us);
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
		text_copy(mark.boot_id, sizeof(mark.boot_id), get_text(&row));
		mark.offset_us = get_int(&row);
		mark.ledger_us = get_int(&row);
		mark.wall_us = get_int(&row);
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
	stored = get_int(&row);
	journaled = get_int(&row);
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
		r = load_leases(s, pool, err);
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
	struct row row = bind(s, STATEMENT_ADD_EVENT);

	put_int(&row, event->at_us);
	put_int(&row, event->wall_us);
	put_text(&row, event_kind_to_string(event->kind));
	if (event->lease != 0)
		put_int(&row, event->lease);
	else
		put_null(&row);
	if (event->uid != EVENT_NOBODY)
		put_int(&row, event->uid);
	else
		put_null(&row);
	put_text(&row, event->gpu[0] ? event->gpu : NULL);
	put_text(&row, event->detail);
	return sqlite_write(s, STATEMENT_ADD_EVENT, err);
}

static void read_event(struct row *row, struct event *event)
{
	bool nobody;

	event->id = get_int(row);
	event->at_us = get_int(row);
	event->wall_us = get_int(row);
	event->kind = get_enum(row, event_kind_from_string(get_text(row)));
	event->lease = get_int(row);
	nobody = sqlite3_column_type(row->query, row->n) == SQLITE_NULL;
	event->uid = (uid_t)get_int(row);
	if (nobody)
		event->uid = EVENT_NOBODY;
	text_copy(event->gpu, sizeof(event->gpu), get_text(row));
	text_copy(event->detail, sizeof(event->detail), get_text(row));
}

int sqlite_events_of_lease(struct store *store, int64_t id, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_EVENTS];
	struct row bound = { .query = query };
	int r;

	put_int(&bound, id);
	put_int(&bound, limit);
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
