/* SPDX-License-Identifier: MIT */
#include "store/sqlite_row.h"

#include <assert.h>
#include <errno.h>

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
		return sqlite_damaged(s, err, "unknown word in a row of table %s", what);
	return 0;
}
