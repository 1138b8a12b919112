/* SPDX-License-Identifier: MIT */
/*
 * What the files of the SQLite store share. Not for other layers.
 *
 * Functions return 0 or a negative errno with err filled. A failed write marks the transaction, so
 * that nothing of it can be committed any more.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>

#include "store/store.h"

enum statement {
	STATEMENT_BEGIN,
	STATEMENT_COMMIT,
	STATEMENT_ROLLBACK,
	STATEMENT_PUT_LEASE,
	STATEMENT_DROP_HOLDERS,
	STATEMENT_DROP_HOLDER,
	STATEMENT_PUT_HOLDER,
	STATEMENT_PUT_JOB,
	STATEMENT_DROP_JOB,
	STATEMENT_PUT_SPEC,
	STATEMENT_DROP_SPEC,
	STATEMENT_DROP_LEASE,
	STATEMENT_PUT_IMPORT,
	STATEMENT_GET_IMPORT,
	STATEMENT_PUT_GPU,
	STATEMENT_DROP_GPU,
	STATEMENT_PUT_OVERRIDE,
	STATEMENT_DROP_OVERRIDE,
	STATEMENT_PUT_MARK,
	STATEMENT_ADD_EVENT,
	STATEMENT_DROP_EVENT,
	STATEMENT_ADD_USAGE,
	STATEMENT_DROP_USAGE,
	STATEMENT_GET_GPUS,
	STATEMENT_GET_OPEN_LEASES,
	STATEMENT_GET_LEASE,
	STATEMENT_GET_ENDED,
	STATEMENT_GET_ENDED_OF,
	STATEMENT_GET_ENDED_SINCE,
	STATEMENT_GET_HELD,
	STATEMENT_GET_SPEC,
	STATEMENT_GET_ELEMENT,
	STATEMENT_GET_LAST_ID,
	STATEMENT_GET_OVERRIDE,
	STATEMENT_GET_MARK,
	STATEMENT_GET_EVENTS,
	STATEMENT_GET_EVENTS_AFTER,
	STATEMENT_GET_EVENTS_OF_AFTER,
	STATEMENT_GET_LAST_EVENT,
	STATEMENT_GET_USAGE,
	STATEMENT_GET_USAGE_AFTER,
	STATEMENT_GET_LAST_USAGE,
	STATEMENT_GET_FILED_AFTER,
	STATEMENT_GET_OLD_EVENTS,
	STATEMENT_GET_OLD_USAGE,
	STATEMENT_GET_OLD_LEASES,
	STATEMENT_MAX,
};

/* sqlite_sql.c */
extern const char *const sqlite_statement_sql[STATEMENT_MAX];

struct sqlite {
	struct store store;
	sqlite3 *db;                             /* owned */
	char *path;                              /* owned; for sentences */
	bool failed;                             /* a write of this transaction failed */
	sqlite3_stmt *statements[STATEMENT_MAX]; /* owned; each is reset after use */

	/* The clock, see sqlite_write_mark. */
	struct clock_mark mark;   /* put in this transaction; boot_id empty = none */
	struct clock_mark stored; /* in table meta; boot_id empty = not known */
	int64_t journaled_us;     /* time of the latest line of this transaction */
};

/* sqlite.c: the errno and the sentence for the latest failure of s->db. */
int sqlite_fail(struct sqlite *s, struct error *err);

/* "FILE is damaged (detail)", -EUCLEAN. */
int sqlite_damaged(struct sqlite *s, struct error *err, const char *fmt, ...) _printf_(3, 4);

/* Runs a text without parameters and results; only for pragmas and migrations. */
int sqlite_exec(struct sqlite *s, const char *sql, struct error *err);

/* Runs a bound statement that has no result: with sqlite_write only inside a healthy transaction.
 */
int sqlite_run(struct sqlite *s, enum statement statement, struct error *err);
int sqlite_write(struct sqlite *s, enum statement statement, struct error *err);
int sqlite_writable(struct sqlite *s, struct error *err);

/* The next row: 1, or 0 at the end. The caller resets the statement. */
int sqlite_next(struct sqlite *s, sqlite3_stmt *query, struct error *err);

static inline void sqlite_resetp(sqlite3_stmt **query)
{
	sqlite3_reset(*query);
}

/* sqlite_lease.c */
int sqlite_put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease, struct error *err);
int sqlite_get_lease(struct store *store, const struct pool *pool, int64_t id,
	struct lease **ret_lease, struct error *err);
int sqlite_load_leases(struct sqlite *s, struct pool *pool, struct error *err);
int sqlite_history(struct store *store, const struct pool *pool, int64_t before_id, uid_t uid,
	int64_t since_us, unsigned limit, int (*fn)(const struct lease *lease, void *userdata),
	void *userdata, struct error *err);

/* sqlite_job.c: with its spec if that is there. */
int sqlite_put_job(struct sqlite *s, const struct lease *lease, struct error *err);
int sqlite_get_spec(
	struct store *store, int64_t id, char **ret, size_t *ret_size, struct error *err);
int sqlite_forget_spec(struct store *store, int64_t id, struct error *err);
int sqlite_find_element(
	struct store *store, int64_t array, int64_t index, int64_t *ret_id, struct error *err);

/* sqlite_usage.c */
int sqlite_add_usage(struct store *store, const struct usage *usage, struct error *err);
int sqlite_usage_between(struct store *store, int64_t since_us, int64_t until_us, int64_t *cursor,
	unsigned limit, int (*fn)(const struct usage *usage, void *userdata), void *userdata,
	struct error *err);
int sqlite_usage_of_lease(struct store *store, int64_t id, struct usage *ret, int64_t *ret_held_us,
	struct error *err);

/* sqlite_prune.c */
int sqlite_prune(
	struct store *store, int64_t before_us, unsigned limit, bool *ret_more, struct error *err);

/* sqlite_rows.c */
int sqlite_put_gpu(struct store *store, const struct gpu *gpu, struct error *err);
int sqlite_forget_gpu(struct store *store, const char *uuid, struct error *err);
int sqlite_put_override(
	struct store *store, const char *name, const char *value, struct error *err);
int sqlite_get_override(
	struct store *store, const char *name, char *dst, size_t size, struct error *err);
int sqlite_put_import(struct store *store, const char *origin, int64_t lease, struct error *err);
int sqlite_find_import(struct store *store, const char *origin, int64_t *ret_id, struct error *err);
int sqlite_put_mark(struct store *store, const struct clock_mark *mark, struct error *err);
int sqlite_write_mark(struct sqlite *s, struct error *err);
int sqlite_add_event(struct store *store, const struct event *event, struct error *err);
int sqlite_load(struct store *store, struct pool *pool, int64_t *ret_next_id,
	struct clock_mark *ret_mark, struct error *err);
int sqlite_last_event(struct store *store, int64_t *ret_id, struct error *err);
int sqlite_events_after(struct store *store, int64_t after, int64_t lease, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err);
int sqlite_events_of_lease(struct store *store, int64_t id, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err);

/* sqlite_migrate.c: brings the schema to version n_steps; steps[i] makes version i + 1. Only a file
 * that is fresh may have no version yet. */
int sqlite_migrate(struct sqlite *s, const char *const *steps, unsigned n_steps, bool fresh,
	struct error *err);

/* sqlite_open.c: store_open_sqlite, with the migrations as an argument. */
int sqlite_open(const char *directory, const char *const *steps, unsigned n_steps,
	struct store **ret, struct error *err);

/* sqlite.c: an object without a database yet; takes ownership of path. NULL without memory. */
struct sqlite *sqlite_new(char *path);
int sqlite_prepare(struct sqlite *s, struct error *err);
void sqlite_close(struct store *store);
