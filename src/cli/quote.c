/* SPDX-License-Identifier: MIT */
#include "cli/quote.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/text.h"

static bool needs_quotes(const char *word)
{
	if (!*word)
		return true;
	for (; *word; word++)
		if (!isalnum((unsigned char)*word) && !strchr("@%+=:,./_-", *word) &&
			(unsigned char)*word < 0x80)
			return true;
	return false;
}

static void put_word(FILE *out, const char *word)
{
	if (!needs_quotes(word)) {
		fputs(word, out);
		return;
	}
	fputc('\'', out);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\'", out);
		fputc(*word, out);
	}
	fputc('\'', out);
}

char *quote_word(const char *word)
{
	const char *argv[] = { word, NULL };

	return quote_command(argv, strlen(word) * 4 + 2);
}

char *quote_command(const char *const *argv, size_t max)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(fclosep) FILE *out = NULL;
	size_t size = 0;

	out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	/* What follows behind max is cut anyway. */
	for (size_t i = 0; argv[i] && (size_t)ftell(out) <= max; i++) {
		if (i > 0)
			fputc(' ', out);
		put_word(out, argv[i]);
	}
	if (fflush(out) != 0 || ferror(out))
		return NULL;
	text_sanitize(text);
	text_cut(text, max);
	return strdup(text);
}
