/* SPDX-License-Identifier: MIT */
#include "base/pattern.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NUMBER_SIZE 24
#define WIDTH_MAX   10

static const char *number(char dst[NUMBER_SIZE], int width, int64_t value)
{
	snprintf(dst, NUMBER_SIZE, "%0*" PRId64, width, value);
	return dst;
}

/* Of what is no number, the width says nothing. NULL: there is no such letter. */
static const char *find(
	const struct pattern_values *values, char letter, int width, char buffer[NUMBER_SIZE])
{
	switch (letter) {
	case '%':
		return "%";
	case 'j':
		return number(buffer, width, values->id);
	case 'A':
		return number(buffer, width, values->array ? values->array : values->id);
	case 'a':
		return number(buffer, width, values->array ? values->index : 0);
	case 'u':
		return values->user;
	case 'x':
		return values->name;
	case 'h':
		return values->host;
	}
	return NULL;
}

/* Reads the digits of a width and moves *p behind them; 0: there are none. */
static int take_width(const char **p)
{
	int width = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++)
		width = MIN(width * 10 + **p - '0', WIDTH_MAX);
	return width;
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
		const char *text = literal;

		if (*p == '%') {
			int width;

			p++;
			width = take_width(&p);
			text = find(values, *p, width, buffer);
		}
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
