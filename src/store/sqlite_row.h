/* SPDX-License-Identifier: MIT */
/*
 * A statement being bound, or a row being read, from the first column to the last. Not for other
 * layers.
 *
 * Enums are stored by name, UUIDs instead of slots, and NULL where a record says "nobody" or
 * "nothing".
 */
#pragma once

#include "store/sqlite.h"

struct row {
	sqlite3_stmt *query; /* borrowed from the store */
	int n;               /* columns done */
	int error;           /* of reading; one check at the end is enough */
};

struct row row_of(struct sqlite *s, enum statement statement);

/* Text (NULL is NULL) and bytes are not copied: they must live until the statement ran. */
void row_put_int(struct row *row, int64_t value);
void row_put_text(struct row *row, const char *text);
void row_put_bytes(struct row *row, const char *bytes, size_t size);
void row_put_null(struct row *row);

int64_t row_get_int(struct row *row);

/* Valid until the next row; NULL reads as "". */
const char *row_get_text(struct row *row);

/* A copy that the caller frees; NULL stays NULL. */
char *row_get_string(struct row *row);

/* A copy of size bytes that the caller frees; NULL is an error of the row. */
char *row_get_bytes(struct row *row, size_t *ret_size);

/* A field that was read by something that returns 0 or a negative errno. */
void row_check(struct row *row, int r);

/* Passes on what an enum's _from_string returned; negative means that the row is damaged. */
int row_get_enum(struct row *row, int value);

/* 0 if all columns could be read. */
int row_result(struct sqlite *s, const struct row *row, const char *table, struct error *err);

/* sqlite_job.c: the columns after those of a lease; sets lease->job if it is one. */
void sqlite_read_job(struct row *row, struct lease *lease);
