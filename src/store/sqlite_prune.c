/* SPDX-License-Identifier: MIT */
/*
 * What is too old goes, a few rows at a time. Each table is read from its oldest row on until one
 * is young: rows are added as time goes by, so none behind it is worth a look; one that was added
 * late just stays until its neighbours go. So a step costs what it deletes, and what of the old has
 * to stay.
 */
#include "store/sqlite_row.h"

#include <errno.h>
#include <stdlib.h>

#define DROPS_MAX 3

struct kind {
	enum statement find;             /* number, age, whether it stays; the oldest first */
	enum statement drops[DROPS_MAX]; /* by number, in this order */
	unsigned n_drops;
};

static const struct kind kinds[] = {
	{ STATEMENT_GET_OLD_EVENTS, { STATEMENT_DROP_EVENT }, 1 },
	{ STATEMENT_GET_OLD_USAGE, { STATEMENT_DROP_USAGE }, 1 },
	{ STATEMENT_GET_OLD_LEASES,
		{ STATEMENT_DROP_SPEC, STATEMENT_DROP_JOB, STATEMENT_DROP_LEASE }, 3 },
};

/* The numbers of at most limit rows that may go. */
static int find(struct sqlite *s, const struct kind *kind, int64_t before_us, unsigned limit,
	int64_t *ret_ids, unsigned *ret_n, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[kind->find];
	unsigned n = 0;
	int r = 0;

	if (sqlite3_bind_parameter_count(query) > 0) {
		struct row bound = { .query = query };

		row_put_int(&bound, before_us);
	}
	while (n < limit && (r = sqlite_next(s, query, err)) > 0) {
		struct row row = { .query = query };
		int64_t id = row_get_int(&row);

		if (row_get_int(&row) >= before_us)
			break;
		if (row_get_int(&row) == 0)
			ret_ids[n++] = id;
	}
	if (r < 0)
		return r;
	*ret_n = n;
	return 0;
}

static int drop(struct sqlite *s, const struct kind *kind, int64_t id, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < kind->n_drops; i++) {
		struct row row = row_of(s, kind->drops[i]);

		row_put_int(&row, id);
		r = sqlite_write(s, kind->drops[i], err);
	}
	return r;
}

static int prune_kind(struct sqlite *s, const struct kind *kind, int64_t before_us, unsigned limit,
	int64_t *ids, bool *more, struct error *err)
{
	unsigned n;
	int r = find(s, kind, before_us, limit, ids, &n, err);

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = drop(s, kind, ids[i], err);
	/* Looked for anew: an array may go now that its elements are gone. */
	if (r == 0)
		r = find(s, kind, before_us, 1, ids, &n, err);
	*more = *more || (r == 0 && n > 0);
	return r;
}

int sqlite_prune(
	struct store *store, int64_t before_us, unsigned limit, bool *ret_more, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(freep) int64_t *ids = calloc(MAX(limit, 1), sizeof(*ids));
	bool more = false;
	int r = sqlite_writable(s, err);

	if (r < 0)
		return r;
	if (!ids)
		r = error_set(
			err, -ENOMEM, "store.memory", "no memory left to clean up %s", s->path);
	for (size_t i = 0; r == 0 && i < ELEMENTSOF(kinds); i++)
		r = prune_kind(s, &kinds[i], before_us, limit, ids, &more, err);
	if (r < 0) {
		s->failed = true;
		return r;
	}
	*ret_more = more;
	return 0;
}
