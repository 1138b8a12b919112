/* SPDX-License-Identifier: MIT */
/*
 * How many commits of a single row SQLite does here, with the settings of dibs and nothing around
 * it: no other program that answers only after its data is on disk can do better one at a time.
 *
 *	bench-commit DATABASE MILLISECONDS
 *
 * Prints "COMMITS ELAPSED_NS".
 */
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>

#include "measure.h"

#define NOTE "as long as what a lease needs, more or less: who, when, until when, which GPUs, why"

static void check(sqlite3 *db, int r)
{
	errno = 0;
	if (r != SQLITE_OK && r != SQLITE_DONE)
		fail("%s", sqlite3_errmsg(db));
}

static uint64_t commit_rows(sqlite3 *db, int64_t end_ns)
{
	sqlite3_stmt *insert;
	uint64_t commits = 0;

	check(db, sqlite3_prepare_v2(
			  db, "INSERT INTO row (note) VALUES ('" NOTE "')", -1, &insert, NULL));
	for (; now_ns() < end_ns; commits++) {
		check(db, sqlite3_step(insert));
		check(db, sqlite3_reset(insert));
	}
	sqlite3_finalize(insert);
	return commits;
}

int main(int argc, char **argv)
{
	static const char settings[] =
		"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; "
		"PRAGMA synchronous = FULL; "
		"CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, note TEXT NOT NULL)";
	uint64_t commits;
	int64_t begin;
	sqlite3 *db;

	if (argc != 3)
		fail("DATABASE MILLISECONDS");
	check(NULL, sqlite3_open(argv[1], &db));
	check(db, sqlite3_exec(db, settings, NULL, NULL, NULL));
	begin = now_ns();
	commits = commit_rows(db, begin + number(argv[2], 600000) * INT64_C(1000000));
	printf("%" PRIu64 " %" PRId64 "\n", commits, now_ns() - begin);
	sqlite3_close(db);
	return 0;
}
