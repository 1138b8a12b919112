/* SPDX-License-Identifier: MIT */
/* Texts of fields "key=value", each ended by a NUL: what travels to a supervisor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

/* A growing text of fields. Once memory ran out, failed stays set and nothing is added. */
struct fields_writer {
	char *text; /* owned; size bytes */
	size_t size, allocated;
	bool failed;
};
/* Adds "key=value", or "key" alone where value is NULL. */
void fields_put(struct fields_writer *w, const char *key, const char *value);
void fields_put_int(struct fields_writer *w, const char *key, int64_t value);
void fields_put_raw(struct fields_writer *w, const char *bytes, size_t size); /* whole fields */
void fields_writer_clear(struct fields_writer *w);

/* The next field, moving *cursor behind it. NULL at the end, and at a field that is cut short:
 * then *cursor is not the end. */
const char *fields_next(const char **cursor, const char *end);

/* The value if the field is of that key, else NULL. */
const char *fields_value(const char *field, const char *key);
