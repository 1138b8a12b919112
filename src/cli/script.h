/* SPDX-License-Identifier: MIT */
/*
 * Scripts that are jobs: the file, and the options in its comments, which stand before its first
 * command as those of sbatch do:
 *
 *	#DIBS -g 2 -t 4h
 *	#SBATCH --gres=gpu:2 --time=4:00:00
 */
#pragma once

#include <stddef.h>

#include "cli/options.h"

/* Strings that live together. */
struct strings {
	char **items; /* owned, as the strings are */
	size_t n;
};

/* Takes text, which may be NULL for lack of memory, then -ENOMEM. */
int strings_take(struct strings *strings, char *text);
void strings_clear(struct strings *strings);

/* The text of a script: a regular file, UTF-8 without NULs, not empty, of at most max bytes; *ret
 * is owned by the caller. -EINVAL with a sentence. */
int script_read(const char *path, size_t max, char **ret, struct error *err);

/* The options of a script, as arguments of "submit". */
struct directives {
	struct arguments dibs, slurm; /* their values are borrowed from texts */
	struct strings texts;
	struct strings notes; /* sentences about lines of Slurm that mean nothing here */
};

/* Reads them, and checks their values; name is what to call the file. -EINVAL with a sentence that
 * begins with "name:line: ". *ret is to be cleared in any case. */
int directives_read(const char *text, const char *name, struct directives *ret, struct error *err);
void directives_clear(struct directives *directives);

/*
 * Splits a line into words as a shell does, in place: quotes, backslashes and comments, but nothing
 * is expanded. words gets a NULL at the end. Returns their number; -EINVAL with a sentence.
 */
#define SCRIPT_WORDS_MAX 128
int script_words(char *line, char *words[SCRIPT_WORDS_MAX + 1], struct error *err);
