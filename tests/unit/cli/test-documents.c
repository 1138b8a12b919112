/* SPDX-License-Identifier: MIT */
/*
 * Completions and the manual page are written by hand; here they are held against the tables. The
 * arguments are their paths.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/macro.h"
#include "cli/options.h"

static char **paths;

/* Is there this word, and not only a part of a longer one? */
static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *s = text; (s = strstr(s, word)); s++) {
		bool begins = s == text || (!isalnum((unsigned char)s[-1]) && s[-1] != '-');

		if (begins && !isalnum((unsigned char)s[n]) && s[n] != '-')
			return true;
	}
	return false;
}

static void check_word(const char *path, const char *text, const char *word)
{
	if (has_word(text, word))
		return;
	tap_failed_now = 1;
	printf("# %s: no \"%s\"\n", path, word);
}

static void check_verbs(const char *path, const char *text, const struct verb *verb)
{
	for (; verb->name; verb++) {
		check_word(path, text, verb->name);
		if (verb->verbs)
			check_verbs(path, text, verb->verbs);
	}
}

static void check_file(const char *path)
{
	static char text[100000];
	bool is_fish = strstr(path, ".fish");

	CHECK(read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
	check_verbs(path, text, verbs);
	for (enum opt opt = 0; opt < OPT_MAX; opt++) {
		char word[64];

		snprintf(word, sizeof(word), "%s%s", is_fish ? "" : "--", options[opt].name);
		check_word(path, text, word);
	}
}

static void all_is_documented(void)
{
	CHECK(paths[0]);
	for (char **path = paths; *path; path++)
		check_file(*path);
}

static void help_says_all(void)
{
	for (const struct verb *verb = verbs; verb->name; verb++) {
		_cleanup_(freep) char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);

		help_print(out, NULL, verb);
		fclose(out);
		CHECK(strstr(text, verb->summary));
		for (enum opt opt = 0; opt < OPT_MAX; opt++)
			CHECK_INT(strstr(text, options[opt].help) != NULL, verb_takes(verb, opt));
	}
}

int main(int argc, char **argv)
{
	paths = argv + 1;
	TEST(all_is_documented);
	TEST(help_says_all);
	return tap_done();
}
