/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "cli/script.h"

#define ID "script.words"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Copies what stands in quotes, from behind the first, to *to. Returns where the line goes on; NULL
 * if they are not closed. */
static const char *take_quoted(const char *from, char quote, char **to)
{
	for (; *from != quote; from++) {
		if (quote == '"' && *from == '\\' && from[1] && strchr("\\\"$`", from[1]))
			from++;
		if (!*from)
			return NULL;
		*(*to)++ = *from;
	}
	return from + 1;
}

/* One word; it never grows. Returns where the line goes on. */
static const char *take_word(const char *from, char **to, struct error *err)
{
	while (*from && !is_blank(*from)) {
		char c = *from++;

		if (c == '\'' || c == '"') {
			from = take_quoted(from, c, to);
			if (!from)
				goto open;
			continue;
		}
		if (c == '\\') {
			c = *from++;
			if (!c)
				goto open;
		}
		*(*to)++ = c;
	}
	return from;
open:
	error_set(err, -EINVAL, ID, "something is open at the end of the line: a quote or a '\\'");
	return NULL;
}

int script_words(char *line, char *words[SCRIPT_WORDS_MAX + 1], struct error *err)
{
	const char *from = line;
	char *to = line;
	int n = 0;

	for (;;) {
		bool last;

		while (is_blank(*from))
			from++;
		if (!*from || *from == '#')
			break;
		if (n == SCRIPT_WORDS_MAX)
			return error_set(
				err, -EINVAL, ID, "more than %d words in a line", SCRIPT_WORDS_MAX);
		words[n++] = to;
		from = take_word(from, &to, err);
		if (!from)
			return -EINVAL;
		/* The end of a word may stand where the next character is still to be read. */
		last = !*from;
		*to++ = '\0';
		if (last)
			break;
		from++;
	}
	words[n] = NULL;
	return n;
}
