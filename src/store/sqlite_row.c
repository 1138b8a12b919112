/* SPDX-License-Identifier: MIT */
#include "store/sqlite_row.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct row row_of(struct sqlite *s, enum statement statement)
{
	return (struct row){ .query = s->statements[statement] };
}

/* Nothing is copied, so that binding cannot fail: what is bound lives until the statement ran. */
void row_put_int(struct row *row, int64_t value)
{
	int r = sqlite3_bind_int64(row->query, ++row->n, value);

	assert(r == SQLITE_OK);
	(void)r;
}

void row_put_text(struct row *row, const char *text)
{
	int r = sqlite3_bind_text(row->query, ++row->n, text, -1, SQLITE_STATIC);

	assert(r == SQLITE_OK);
	(void)r;
}

void row_put_bytes(struct row *row, const char *bytes, size_t size)
{
	int r = sqlite3_bind_blob64(row->query, ++row->n, bytes, size, SQLITE_STATIC);

	assert(r == SQLITE_OK);
	(void)r;
}

void row_put_null(struct row *row)
{
	row_put_text(row, NULL);
}

int64_t row_get_int(struct row *row)
{
	return sqlite3_column_int64(row->query, row->n++);
}

const char *row_get_text(struct row *row)
{
	bool null = sqlite3_column_type(row->query, row->n) == SQLITE_NULL;
	const char *text = (const char *)sqlite3_column_text(row->query, row->n++);

	if (!text && !null)
		row->error = -ENOMEM;
	return text ?: "";
}

char *row_get_string(struct row *row)
{
	bool null = sqlite3_column_type(row->query, row->n) == SQLITE_NULL;
	char *copy = strdup(row_get_text(row));

	if (!copy)
		row->error = -ENOMEM;
	if (null) {
		free(copy);
		return NULL;
	}
	return copy;
}

char *row_get_bytes(struct row *row, size_t *ret_size)
{
	const void *bytes = sqlite3_column_blob(row->query, row->n);
	size_t size = (size_t)sqlite3_column_bytes(row->query, row->n++);
	char *copy = bytes || size == 0 ? malloc(size + 1) : NULL;

	if (!copy) {
		row->error = -ENOMEM;
		return NULL;
	}
	if (size > 0)
		memcpy(copy, bytes, size);
	copy[size] = '\0';
	*ret_size = size;
	return copy;
}

void row_check(struct row *row, int r)
{
	if (r < 0 && row->error != -ENOMEM)
		row->error = r == -ENOMEM ? r : -EUCLEAN;
}

int row_get_enum(struct row *row, int value)
{
	if (value < 0 && row->error == 0)
		row->error = -EUCLEAN;
	return value;
}

int row_result(struct sqlite *s, const struct row *row, const char *what, struct error *err)
{
	if (row->error == -ENOMEM)
		return error_set(
			err, -ENOMEM, "store.memory", "no memory left to read %s", s->path);
	if (row->error < 0)
		return sqlite_damaged(
			s, err, "a row of table %s holds what dibs never wrote", what);
	return 0;
}
