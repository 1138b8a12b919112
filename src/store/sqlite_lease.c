/* SPDX-License-Identifier: MIT */
/*
 * Leases to rows and back. The row of a lease says which GPUs it holds or held; who holds one now
 * is a row of table holder. Its primary key sees to it that nobody else has the GPU alone; the
 * statement that adds a row adds none for a share beside such a one or beyond the card.
 */
#include "store/sqlite_row.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"

#define GPUS_SIZE (GPU_MAX * GPU_UUID_SIZE)

static void bind_lease(struct row *row, const struct lease *lease)
{
	const struct request *request = &lease->request;

	row_put_int(row, lease->id);
	row_put_text(row, lease_kind_to_string(lease->kind));
	row_put_text(row, lease_state_to_string(lease->state));
	row_put_text(row, lease_end_to_string(lease->end));
	row_put_int(row, lease->uid);
	row_put_int(row, request->count);
	row_put_text(row, request->gpus);
	row_put_text(row, request->types);
	row_put_int(row, (int64_t)request->min_memory_mib);
	row_put_int(row, request->duration_us);
	row_put_int(row, request->wait_us);
	row_put_int(row, request->force);
	row_put_text(row, request->note);
	row_put_text(row, request->command);
	row_put_int(row, lease->submitted_us);
	row_put_int(row, lease->wait_until_us);
	row_put_int(row, lease->since_us);
	row_put_int(row, lease->until_us);
	row_put_int(row, lease->kill_us);
	row_put_int(row, lease->ended_us);
	row_put_int(row, lease->pid);
	row_put_int(row, (int64_t)lease->start_ticks);
	row_put_text(row, lease->cgroup);
	row_put_int(row, lease->gid);
	row_put_int(row, lease->turn);
	row_put_int(row, lease->started_us);
	row_put_int(row, (int64_t)request->share_mib);
	row_put_text(row, request_bound_to_string(request->bound));
}

static void read_lease(struct row *row, struct lease *lease)
{
	struct request *request = &lease->request;

	lease->id = row_get_int(row);
	lease->kind = row_get_enum(row, lease_kind_from_string(row_get_text(row)));
	lease->state = row_get_enum(row, lease_state_from_string(row_get_text(row)));
	lease->end = row_get_enum(row, lease_end_from_string(row_get_text(row)));
	lease->uid = (uid_t)row_get_int(row);
	request->count = (unsigned)row_get_int(row);
	request->gpus = row_get_string(row);
	request->types = row_get_string(row);
	request->min_memory_mib = (uint64_t)row_get_int(row);
	request->duration_us = row_get_int(row);
	request->wait_us = row_get_int(row);
	request->force = row_get_int(row) != 0;
	request->note = row_get_string(row);
	request->command = row_get_string(row);
	lease->submitted_us = row_get_int(row);
	lease->wait_until_us = row_get_int(row);
	lease->since_us = row_get_int(row);
	lease->until_us = row_get_int(row);
	lease->kill_us = row_get_int(row);
	lease->ended_us = row_get_int(row);
	lease->pid = (pid_t)row_get_int(row);
	lease->start_ticks = (uint64_t)row_get_int(row);
	lease->cgroup = row_get_string(row);
	lease->gid = (gid_t)row_get_int(row);
	lease->turn = row_get_int(row);
	lease->started_us = row_get_int(row);
	request->share_mib = (uint64_t)row_get_int(row);
	request->bound = row_get_enum(row, request_bound_from_string(row_get_text(row)));
}

/* As text between commas. */
static void list_gpus(const struct pool *pool, const struct gpu_set *set, char dst[GPUS_SIZE])
{
	size_t n = 0;

	dst[0] = '\0';
	gpu_set_foreach (slot, set)
		n += (size_t)snprintf(
			dst + n, GPUS_SIZE - n, "%s%s", n > 0 ? "," : "", pool->gpus[slot].uuid);
}

static void read_gpus(struct row *row, const struct pool *pool, struct lease *lease)
{
	_cleanup_(freep) char *list = row_get_string(row);
	char *cursor = list;

	for (const char *uuid; (uuid = text_next(&cursor));) {
		int slot = pool_slot_by_uuid(pool, uuid);

		if (slot >= 0)
			gpu_set_add(&lease->gpus, (unsigned)slot);
	}
}

static int drop_holders(struct sqlite *s, const struct lease *lease, struct error *err)
{
	struct row row = row_of(s, STATEMENT_DROP_HOLDERS);

	row_put_int(&row, lease->id);
	return sqlite_write(s, STATEMENT_DROP_HOLDERS, err);
}

static int drop_holder(
	struct sqlite *s, const char *uuid, const struct lease *lease, struct error *err)
{
	struct row row = row_of(s, STATEMENT_DROP_HOLDER);

	row_put_text(&row, uuid);
	row_put_int(&row, lease->id);
	return sqlite_write(s, STATEMENT_DROP_HOLDER, err);
}

static int put_holder(
	struct sqlite *s, const char *uuid, const struct lease *lease, struct error *err)
{
	struct row row = row_of(s, STATEMENT_PUT_HOLDER);
	int r;

	row_put_text(&row, uuid);
	row_put_int(&row, (int64_t)lease->request.share_mib);
	row_put_int(&row, lease->id);
	r = sqlite_write(s, STATEMENT_PUT_HOLDER, err);
	if (r < 0 || sqlite3_changes(s->db) == 1)
		return r;
	s->failed = true;
	return error_set(err, -EEXIST, "store.held",
		"GPU %s is held by others, or has less than lease %" PRId64
		" asks for; it cannot have it",
		uuid, lease->id);
}

/* Which GPUs are on record as held by it, and which of them with its share as it is now. */
static int get_held(struct sqlite *s, const struct pool *pool, const struct lease *lease,
	struct gpu_set *ret_held, struct gpu_set *ret_right, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_HELD];
	struct row bound = { .query = query };
	struct gpu_set held = { 0 }, right = { 0 };
	int r;

	row_put_int(&bound, lease->id);
	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		int slot = pool_slot_by_uuid(pool, row_get_text(&row));
		bool same = row_get_int(&row) == (int64_t)lease->request.share_mib;

		r = row_result(s, &row, "holder", err);
		if (r < 0)
			return r;
		if (slot >= 0)
			gpu_set_add(&held, (unsigned)slot);
		if (slot >= 0 && same)
			gpu_set_add(&right, (unsigned)slot);
	}
	if (r == 0) {
		*ret_held = held;
		*ret_right = gpu_set_and(right, &lease->gpus);
	}
	return r;
}

/* Only the difference, by key: mostly there is none, and a page that is not touched is not
 * written. */
static int put_holders(
	struct sqlite *s, const struct pool *pool, const struct lease *lease, struct error *err)
{
	struct gpu_set held, right, more, less;
	int r = get_held(s, pool, lease, &held, &right, err);

	if (r < 0) {
		s->failed = true;
		return r;
	}
	less = gpu_set_minus(held, &right);
	more = gpu_set_minus(lease->gpus, &right);
	gpu_set_foreach (slot, &less) {
		r = drop_holder(s, pool->gpus[slot].uuid, lease, err);
		if (r < 0)
			return r;
	}
	gpu_set_foreach (slot, &more) {
		r = put_holder(s, pool->gpus[slot].uuid, lease, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int sqlite_put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_PUT_LEASE);
	char gpus[GPUS_SIZE];
	int r;

	assert(!lease->job == (lease->kind != LEASE_JOB));
	list_gpus(pool, &lease->gpus, gpus);
	bind_lease(&row, lease);
	row_put_text(&row, gpus);
	r = sqlite_write(s, STATEMENT_PUT_LEASE, err);
	if (r == 0 && lease->job)
		r = sqlite_put_job(s, lease, err);
	if (r < 0)
		return r;
	return lease_holds(lease) ? put_holders(s, pool, lease, err) : drop_holders(s, lease, err);
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
	read_gpus(&row, pool, lease);
	sqlite_read_job(&row, lease);
	r = row_result(s, &row, "lease", err);
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

	row_put_int(&row, id);
	r = sqlite_next(s, query, err);
	if (r > 0)
		return get_lease_row(s, query, pool, ret_lease, err);
	if (r == 0)
		*ret_lease = NULL;
	return r;
}

int sqlite_load_leases(struct sqlite *s, struct pool *pool, struct error *err)
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

static int read_history(struct sqlite *s, sqlite3_stmt *query, const struct pool *pool,
	int (*fn)(const struct lease *lease, void *userdata), void *userdata, struct error *err)
{
	int r;

	while ((r = sqlite_next(s, query, err)) > 0) {
		_cleanup_(lease_freep) struct lease *lease = NULL;

		r = get_lease_row(s, query, pool, &lease, err);
		if (r == 0)
			r = fn(lease, userdata);
		if (r != 0)
			return r;
	}
	return r;
}

int sqlite_history(struct store *store, const struct pool *pool, int64_t before_id, uid_t uid,
	int64_t since_us, unsigned limit, int (*fn)(const struct lease *lease, void *userdata),
	void *userdata, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	enum statement statement = uid != (uid_t)-1 ? STATEMENT_GET_ENDED_OF
				   : since_us > 0   ? STATEMENT_GET_ENDED_SINCE
						    : STATEMENT_GET_ENDED;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[statement];
	struct row bound = { .query = query };

	row_put_int(&bound, before_id > 0 ? before_id : INT64_MAX);
	if (statement != STATEMENT_GET_ENDED)
		row_put_int(&bound, since_us);
	if (statement == STATEMENT_GET_ENDED_OF)
		row_put_int(&bound, uid);
	row_put_int(&bound, limit);
	return read_history(s, query, pool, fn, userdata, err);
}
