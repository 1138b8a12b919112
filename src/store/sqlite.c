/* SPDX-License-Identifier: MIT */
/*
 * Transactions, running statements, and what goes wrong, in one place.
 *
 * SQLite can leave a transaction half done: a statement that violates a constraint is undone alone,
 * a full disk may undo everything and fall back to one commit a statement. The rule of store.h is
 * simpler (after a failure nothing is kept), and sqlite_write keeps it: it runs only while a
 * transaction is open in which nothing has failed, and COMMIT goes through it too.
 */
#include "store/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>

/* Why a file could not be opened; for writes SQLite itself tells a full disk from other faults. */
static int open_error(sqlite3 *db)
{
	int code = sqlite3_system_errno(db);

	return code == ENOSPC || code == EROFS ? -code : -EACCES;
}

static int code_of(sqlite3 *db)
{
	switch (sqlite3_extended_errcode(db)) {
	case SQLITE_CONSTRAINT_PRIMARYKEY: /* of table holder */
		return -EEXIST;
	case SQLITE_IOERR_NOMEM:
		return -ENOMEM;
	}
	switch (sqlite3_errcode(db) & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
		return -EACCES;
	case SQLITE_CANTOPEN:
		return open_error(db);
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CONSTRAINT:
		return -EINVAL;
	default:
		return -EIO;
	}
}

int sqlite_fail(struct sqlite *s, struct error *err)
{
	const char *detail = sqlite3_errmsg(s->db);
	int code = code_of(s->db);

	switch (code) {
	case -EUCLEAN:
		return sqlite_damaged(s, err, "%s", detail);
	case -ENOSPC:
		return error_set(err, code, "store.full",
			"the disk is full: %s cannot be written; make room on it and try again",
			s->path);
	case -EROFS:
	case -EACCES:
		return error_set(err, code, "store.read-only",
			"%s cannot be written (%s); make it and its directory writable for dibsd",
			s->path, detail);
	case -EBUSY:
		return error_set(err, code, "store.busy",
			"%s is in use by another program; end that first", s->path);
	case -EEXIST:
		return error_set(err, code, "store.held",
			"a GPU is held by another lease already (%s)", detail);
	case -ENOMEM:
		return error_set(err, code, "store.memory", "no memory left to use %s", s->path);
	case -EINVAL:
		return error_set(err, code, "store.refused", "%s does not accept a record: %s",
			s->path, detail);
	default:
		return error_set(err, code, "store.io",
			"%s cannot be read or written (%s); look for disk errors in the kernel "
			"log, "
			"and at quotas and limits",
			s->path, detail);
	}
}

int sqlite_damaged(struct sqlite *s, struct error *err, const char *fmt, ...)
{
	char detail[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	return error_set(err, -EUCLEAN, "store.damaged",
		"%s is damaged (%s); dibsd leaves it as it is: move it and its -wal file away to "
		"start "
		"empty, or restore a copy",
		s->path, detail);
}

int sqlite_exec(struct sqlite *s, const char *sql, struct error *err)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sqlite_fail(s, err);
}

int sqlite_next(struct sqlite *s, sqlite3_stmt *query, struct error *err)
{
	int r = sqlite3_step(query);

	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE ? 0 : sqlite_fail(s, err);
}

int sqlite_run(struct sqlite *s, enum statement statement, struct error *err)
{
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[statement];
	int r = sqlite_next(s, query, err);

	assert(r <= 0);
	return r;
}

int sqlite_writable(struct sqlite *s, struct error *err)
{
	if (s->failed || sqlite3_get_autocommit(s->db))
		return error_set(err, -ECANCELED, "store.no-transaction",
			"nothing is written to %s outside a transaction or after a failure in it",
			s->path);
	return 0;
}

int sqlite_write(struct sqlite *s, enum statement statement, struct error *err)
{
	int r = sqlite_writable(s, err);

	if (r < 0)
		return r;
	r = sqlite_run(s, statement, err);
	s->failed = r < 0;
	return r;
}

static int begin(struct store *store, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;

	s->mark.boot_id[0] = '\0';
	s->journaled_us = INT64_MIN;
	return sqlite_run(s, STATEMENT_BEGIN, err);
}

static int commit(struct store *store, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	int r = sqlite_write_mark(s, err);

	return r < 0 ? r : sqlite_write(s, STATEMENT_COMMIT, err);
}

static void rollback(struct store *store)
{
	struct sqlite *s = (struct sqlite *)store;

	/* A full disk may have undone it already. */
	if (!sqlite3_get_autocommit(s->db))
		sqlite_run(s, STATEMENT_ROLLBACK, NULL);
	s->failed = false;
	s->stored.boot_id[0] = '\0';
}

static const struct store_ops sqlite_ops = {
	.close = sqlite_close,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.load = sqlite_load,
	.put_lease = sqlite_put_lease,
	.put_gpu = sqlite_put_gpu,
	.forget_gpu = sqlite_forget_gpu,
	.put_override = sqlite_put_override,
	.get_override = sqlite_get_override,
	.put_import = sqlite_put_import,
	.find_import = sqlite_find_import,
	.put_mark = sqlite_put_mark,
	.add_event = sqlite_add_event,
	.get_lease = sqlite_get_lease,
	.last_event = sqlite_last_event,
	.events_after = sqlite_events_after,
	.history = sqlite_history,
	.get_spec = sqlite_get_spec,
	.forget_spec = sqlite_forget_spec,
	.find_element = sqlite_find_element,
	.add_usage = sqlite_add_usage,
	.usage_between = sqlite_usage_between,
	.usage_of_lease = sqlite_usage_of_lease,
	.prune = sqlite_prune,
	.events_of_lease = sqlite_events_of_lease,
};

struct sqlite *sqlite_new(char *path)
{
	struct sqlite *s = calloc(1, sizeof(*s));

	if (!s) {
		free(path);
		return NULL;
	}
	s->store.ops = &sqlite_ops;
	s->path = path;
	return s;
}

int sqlite_prepare(struct sqlite *s, struct error *err)
{
	for (unsigned i = 0; i < STATEMENT_MAX; i++)
		if (sqlite3_prepare_v3(s->db, sqlite_statement_sql[i], -1,
			    SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL) != SQLITE_OK)
			return sqlite_fail(s, err);
	return 0;
}

void sqlite_close(struct store *store)
{
	struct sqlite *s = (struct sqlite *)store;

	if (!s)
		return;
	for (unsigned i = 0; i < STATEMENT_MAX; i++)
		sqlite3_finalize(s->statements[i]);
	sqlite3_close(s->db);
	free(s->path);
	free(s);
}
