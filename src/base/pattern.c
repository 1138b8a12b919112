/* SPDX-License-Identifier: MIT */
#include "base/pattern.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NUMBER_SIZE 24

static const char *number(char dst[NUMBER_SIZE], int64_t value)
{
	snprintf(dst, NUMBER_SIZE, "%" PRId64, value);
	return dst;
}

/* NULL: there is no such letter. */
static const char *find(const struct pattern_values *values, char letter, char buffer[NUMBER_SIZE])
{
	switch (letter) {
	case '%':
		return "%";
	case 'j':
		return number(buffer, values->id);
	case 'A':
		return number(buffer, values->array ? values->array : values->id);
	case 'a':
		return number(buffer, values->array ? values->index : 0);
	case 'u':
		return values->user;
	case 'x':
		return values->name;
	case 'h':
		return values->host;
	}
	return NULL;
}

int pattern_expand(const char *pattern, const struct pattern_values *values, char *dst, size_t size,
	struct error *err)
{
	char buffer[NUMBER_SIZE];
	size_t n = 0;

	if (!*pattern)
		return error_set(err, -EINVAL, "pattern.empty", "the name of a log is empty");
	for (const char *p = pattern; *p; p++) {
		const char literal[] = { *p, '\0' };
		const char *text = *p == '%' ? find(values, *++p, buffer) : literal;

		if (!text)
			return error_set(err, -EINVAL, "pattern.unknown",
				"%%%s in the name of a log means nothing; there are %%j %%a %%A "
				"%%u %%x %%h, and %%%% for %%",
				*p ? (const char[]){ *p, '\0' } : "");
		if (strlen(text) >= size - n)
			return error_set(err, -ENAMETOOLONG, "pattern.long",
				"the name of a log is longer than %zu bytes", size - 1);
		for (; *text; text++)
			dst[n++] = *text == '/' && text != literal ? '_' : *text;
	}
	dst[n] = '\0';
	return 0;
}
