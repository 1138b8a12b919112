/* SPDX-License-Identifier: MIT */
/*
 * Schema versions. A database is at version N when the first N migrations ran on it; table
 * migration holds one row for each, with a checksum of its text. Every step is one transaction, so
 * a crash or a full disk leaves the version before it. Before the first step on a database with
 * data in it, a copy of it is laid beside it: dibs.db.vN.
 */
#include "store/sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define CHECKSUM_SIZE 17

/* FNV-1a: finds the edited migration, which is an accident and not an attack. */
static void checksum(const char *text, char dst[CHECKSUM_SIZE])
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	snprintf(dst, CHECKSUM_SIZE, "%016" PRIx64, hash);
}

/* The text of a migration as SQLite wants it. NULL without memory. */
static char *in_dialect(const char *sql)
{
	static const struct {
		const char *token, *here;
	} words[] = { { "{ID}", "INTEGER PRIMARY KEY" }, { "{CLUSTERED}", "WITHOUT ROWID" },
		{ "{BYTES}", "BLOB" } };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	while (*sql) {
		const char *here = NULL;

		for (size_t i = 0; i < ELEMENTSOF(words) && !here; i++) {
			size_t length = strlen(words[i].token);

			if (strncmp(sql, words[i].token, length) == 0) {
				here = words[i].here;
				sql += length;
			}
		}
		if (here)
			fputs(here, out);
		else
			fputc(*sql++, out);
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int prepare(struct sqlite *s, const char *sql, sqlite3_stmt **ret, struct error *err)
{
	return sqlite3_prepare_v2(s->db, sql, -1, ret, NULL) == SQLITE_OK ? 0 : sqlite_fail(s, err);
}

static void finalizep(sqlite3_stmt **query)
{
	sqlite3_finalize(*query);
}

static int has_versions(struct sqlite *s, struct error *err)
{
	_cleanup_(finalizep) sqlite3_stmt *query = NULL;
	int r;

	r = prepare(s, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'",
		&query, err);
	return r < 0 ? r : sqlite_next(s, query, err);
}

/* The version of the database, when all of its steps are those of this program. */
static int get_version(struct sqlite *s, const char *const *steps, unsigned n_steps,
	unsigned *ret_version, struct error *err)
{
	_cleanup_(finalizep) sqlite3_stmt *query = NULL;
	char expected[CHECKSUM_SIZE];
	unsigned version = 0;
	int r;

	r = prepare(s, "SELECT version, checksum FROM migration ORDER BY version", &query, err);
	if (r < 0)
		return r;
	while ((r = sqlite_next(s, query, err)) > 0) {
		const char *recorded = (const char *)sqlite3_column_text(query, 1);

		if (sqlite3_column_int64(query, 0) != ++version)
			return sqlite_damaged(
				s, err, "version %u is missing in table migration", version);
		if (version > n_steps)
			return error_set(err, -EPROTO, "store.newer",
				"%s was written by a newer dibs; install that version again, or "
				"move the file "
				"away to start empty",
				s->path);
		checksum(steps[version - 1], expected);
		if (!recorded || strcmp(recorded, expected) != 0)
			return error_set(err, -EPROTO, "store.other-schema",
				"version %u of %s was made by another build of dibs; install that "
				"build again",
				version, s->path);
	}
	*ret_version = version;
	return r;
}

/* Through SQLite, because a part of the data may still be in the -wal file. */
static int copy_to(struct sqlite *s, const char *path, struct error *err)
{
	_cleanup_(finalizep) sqlite3_stmt *query = NULL;
	_cleanup_(closep) int fd = -1;
	int r;

	/* An empty file is what VACUUM INTO accepts; making it here gives it its mode. */
	if (unlink(path) < 0 && errno != ENOENT)
		return error_errno(err, -errno, "store.copy", "cannot replace %s", path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, -errno, "store.copy", "cannot make %s", path);
	r = prepare(s, "VACUUM INTO $1", &query, err);
	if (r < 0)
		return r;
	sqlite3_bind_text(query, 1, path, -1, SQLITE_STATIC);
	r = sqlite_next(s, query, err);
	if (r < 0)
		return r;
	if (fsync(fd) < 0)
		return error_errno(err, -errno, "store.copy", "cannot write %s", path);
	return 0;
}

static int copy(struct sqlite *s, unsigned version, struct error *err)
{
	_cleanup_(freep) char *path = NULL;
	int r;

	if (asprintf(&path, "%s.v%u", s->path, version) < 0) {
		path = NULL;
		return error_set(
			err, -ENOMEM, "store.memory", "no memory left to copy %s", s->path);
	}
	r = copy_to(s, path, err);
	if (r < 0)
		unlink(path);
	return r;
}

static int record(struct sqlite *s, unsigned version, const char *text, struct error *err)
{
	_cleanup_(finalizep) sqlite3_stmt *query = NULL;
	char sum[CHECKSUM_SIZE];
	int r;

	r = prepare(s, "INSERT INTO migration (version, checksum) VALUES ($1, $2)", &query, err);
	if (r < 0)
		return r;
	checksum(text, sum);
	sqlite3_bind_int64(query, 1, version);
	sqlite3_bind_text(query, 2, sum, -1, SQLITE_STATIC);
	return sqlite_next(s, query, err);
}

static int apply(struct sqlite *s, unsigned version, const char *text, struct error *err)
{
	_cleanup_(freep) char *sql = in_dialect(text);
	int r;

	if (!sql)
		return error_set(err, -ENOMEM, "store.memory", "no memory left to use %s", s->path);
	r = sqlite_exec(s, "BEGIN IMMEDIATE", err);
	if (r < 0)
		return r;
	r = sqlite_exec(s, sql, err);
	if (r == 0)
		r = record(s, version, text, err);
	if (r == 0)
		r = sqlite_exec(s, "COMMIT", err);
	if (r < 0 && !sqlite3_get_autocommit(s->db))
		sqlite_exec(s, "ROLLBACK", NULL);
	return r;
}

int sqlite_migrate(
	struct sqlite *s, const char *const *steps, unsigned n_steps, bool fresh, struct error *err)
{
	unsigned version = 0;
	int r;

	if (fresh) {
		r = sqlite_exec(s,
			"CREATE TABLE migration (version BIGINT NOT NULL PRIMARY KEY, "
			"checksum TEXT NOT NULL)",
			err);
		if (r < 0)
			return r;
	} else {
		r = has_versions(s, err);
		if (r <= 0)
			return r < 0 ? r : sqlite_damaged(s, err, "it is not a database of dibs");
	}

	r = get_version(s, steps, n_steps, &version, err);
	if (r < 0)
		return r;
	if (version == 0 && !fresh)
		return sqlite_damaged(s, err, "table migration is empty");
	if (version > 0 && version < n_steps)
		r = copy(s, version, err);
	for (; r == 0 && version < n_steps; version++)
		r = apply(s, version + 1, steps[version], err);
	return r;
}
