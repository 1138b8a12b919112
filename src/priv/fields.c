/* SPDX-License-Identifier: MIT */
#include "priv/fields.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 4096

static bool reserve(struct fields_writer *w, size_t more)
{
	size_t wanted = MAX(w->allocated, (size_t)FIRST_SIZE);
	char *text;

	if (w->failed || more > SIZE_MAX / 4 - w->size) {
		w->failed = true;
		return false;
	}
	if (w->size + more <= w->allocated)
		return true;
	while (wanted < w->size + more)
		wanted *= 2;
	text = realloc(w->text, wanted);
	if (!text) {
		w->failed = true;
		return false;
	}
	w->text = text;
	w->allocated = wanted;
	return true;
}

void fields_put_raw(struct fields_writer *w, const char *bytes, size_t size)
{
	if (size == 0 || !reserve(w, size))
		return;
	memcpy(w->text + w->size, bytes, size);
	w->size += size;
}

void fields_put(struct fields_writer *w, const char *key, const char *value)
{
	size_t n = strlen(key);

	if (!reserve(w, n + 1 + (value ? strlen(value) + 1 : 0)))
		return;
	if (value) {
		fields_put_raw(w, key, n);
		fields_put_raw(w, "=", 1);
		key = value;
	}
	fields_put_raw(w, key, strlen(key) + 1);
}

void fields_put_int(struct fields_writer *w, const char *key, int64_t value)
{
	char number[24];

	snprintf(number, sizeof(number), "%" PRId64, value);
	fields_put(w, key, number);
}

void fields_writer_clear(struct fields_writer *w)
{
	free(w->text);
	*w = (struct fields_writer){ 0 };
}

const char *fields_next(const char **cursor, const char *end)
{
	const char *field = *cursor;
	const char *nul = field < end ? memchr(field, '\0', (size_t)(end - field)) : NULL;

	if (!nul)
		return NULL;
	*cursor = nul + 1;
	return field;
}

const char *fields_value(const char *field, const char *key)
{
	size_t n = strlen(key);

	return strncmp(field, key, n) == 0 && field[n] == '=' ? field + n + 1 : NULL;
}
