/* SPDX-License-Identifier: MIT */
/*
 * The account to rows and back. A line is added when its time is over, so that lines lie in the
 * table nearly by time; filed_us, the largest to_us up to a line, makes that exact: lines before
 * the first that was filed after some moment are about the time before it. It is searched for by
 * halves, which spares each added line an index. No line begins more than reach_us of the newest
 * line before it was filed: that is where a search may end.
 */
#include "store/sqlite_row.h"

#include <errno.h>

#include "base/text.h"
#include "store/usage_sum.h"

int sqlite_add_usage(struct store *store, const struct usage *usage, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_ADD_USAGE);

	row_put_int(&row, usage->lease);
	row_put_text(&row, lease_kind_to_string(usage->kind));
	row_put_int(&row, usage->uid);
	row_put_int(&row, usage->gid);
	row_put_text(&row, usage->gpu);
	row_put_text(&row, usage->model);
	row_put_int(&row, usage->from_us);
	row_put_int(&row, usage->to_us);
	row_put_int(&row, usage->used_us);
	row_put_int(&row, usage->peak_mib);
	row_put_int(&row, usage->waited_us);
	return sqlite_write(s, STATEMENT_ADD_USAGE, err);
}

static void read_usage(struct row *row, struct usage *usage)
{
	usage->lease = row_get_int(row);
	usage->kind = row_get_enum(row, lease_kind_from_string(row_get_text(row)));
	usage->uid = (uid_t)row_get_int(row);
	usage->gid = (gid_t)row_get_int(row);
	text_copy(usage->gpu, sizeof(usage->gpu), row_get_text(row));
	text_copy(usage->model, sizeof(usage->model), row_get_text(row));
	usage->from_us = row_get_int(row);
	usage->to_us = row_get_int(row);
	usage->used_us = row_get_int(row);
	usage->peak_mib = row_get_int(row);
	usage->waited_us = row_get_int(row);
}

/* Of the newest line; both 0 if there is none. */
static int get_last(struct sqlite *s, int64_t *ret_id, int64_t *ret_reach_us, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_LAST_USAGE];
	struct row row = { .query = query };
	int r = sqlite_next(s, query, err);

	if (r < 0)
		return r;
	*ret_id = r > 0 ? row_get_int(&row) : 0;
	*ret_reach_us = r > 0 ? row_get_int(&row) : 0;
	return 0;
}

/* The first line after id: 1, or 0 if there is none. */
static int get_filed(
	struct sqlite *s, int64_t id, int64_t *ret_id, int64_t *ret_filed_us, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_FILED_AFTER];
	struct row bound = { .query = query }, row = { .query = query };
	int r;

	row_put_int(&bound, id);
	r = sqlite_next(s, query, err);
	if (r > 0) {
		*ret_id = row_get_int(&row);
		*ret_filed_us = row_get_int(&row);
	}
	return r;
}

/* A number so that all lines up to it were filed at since_us or before, and the next was not; high
 * is that of the newest. */
static int find_start(
	struct sqlite *s, int64_t since_us, int64_t high, int64_t *ret_id, struct error *err)
{
	int64_t low = 0;
	int r = 0;

	while (r >= 0 && low < high) {
		int64_t middle = low + (high - low) / 2, id, filed_us;

		r = get_filed(s, middle, &id, &filed_us, err);
		if (r > 0 && filed_us <= since_us)
			low = id;
		else
			high = middle;
	}
	if (r < 0)
		return r;
	*ret_id = low;
	return 0;
}

int sqlite_usage_between(struct store *store, int64_t since_us, int64_t until_us, int64_t *cursor,
	unsigned limit, int (*fn)(const struct usage *usage, void *userdata), void *userdata,
	struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_USAGE_AFTER];
	struct row bound = { .query = query };
	int64_t last = *cursor, newest, reach_us;
	bool more = true;
	unsigned n = 0;
	int r;

	r = get_last(s, &newest, &reach_us, err);
	if (r == 0 && last == 0)
		r = find_start(s, since_us, newest, &last, err);
	if (r < 0)
		return r;
	row_put_int(&bound, last);
	row_put_int(&bound, limit);
	while (more && (r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		struct usage usage;

		read_usage(&row, &usage);
		last = row_get_int(&row);
		more = row_get_int(&row) - reach_us < until_us;
		n++;
		r = row_result(s, &row, "usage", err);
		if (r == 0 && usage.to_us > since_us && usage.from_us < until_us)
			r = fn(&usage, userdata);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*cursor = last;
	return more && n == limit;
}

int sqlite_usage_of_lease(
	struct store *store, int64_t id, struct usage *ret, int64_t *ret_held_us, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_USAGE];
	struct row bound = { .query = query };
	struct usage sum = usage_sum_empty();
	int64_t held_us = 0;
	unsigned n = 0;
	int r;

	row_put_int(&bound, id);
	while ((r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		struct usage usage;

		read_usage(&row, &usage);
		r = row_result(s, &row, "usage", err);
		if (r < 0)
			return r;
		usage_sum(&sum, &held_us, &n, &usage);
	}
	if (r < 0)
		return r;
	*ret = sum;
	*ret_held_us = held_us;
	return 0;
}
