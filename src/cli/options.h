/* SPDX-License-Identifier: MIT */
/*
 * The verbs and options of the command line, as tables. What is parsed, the texts of --help, the
 * completions and the manual page all follow from them; a test checks those that are written by
 * hand.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "proto/client.h"

struct cli;

enum opt {
	OPT_SOCKET,
	OPT_COLOR,
	OPT_HELP,
	OPT_VERSION,
	OPT_JSON,
	OPT_WATCH,
	OPT_GPUS,
	OPT_GPU,
	OPT_TYPE,
	OPT_MIN_MEMORY,
	OPT_WAIT,
	OPT_NO_WAIT,
	OPT_NOTE,
	OPT_FORCE,
	OPT_TIME,
	OPT_VISIBLE,
	OPT_DURATION,
	OPT_SHORT,
	OPT_EVERYBODY,   /* --all of list */
	OPT_ALL,         /* --all of release */
	OPT_RELEASE_GPU, /* --gpu of release */
	OPT_SHRINK_GPU,  /* --gpu of shrink */
	OPT_REASON,
	OPT_ADOPT,
	OPT_UUID,
	OPT_INDEX,
	OPT_DOCKER,
	OPT_CDI,
	OPT_NAME,
	OPT_OUTPUT,
	OPT_ERROR,
	OPT_CHDIR,
	OPT_ENV_SETUP,
	OPT_VENV,
	OPT_NO_VENV,
	OPT_ENV,
	OPT_NO_ENV,
	OPT_AFTER,
	OPT_ARRAY,
	OPT_BEGIN,
	OPT_HELD, /* --hold */
	OPT_RETRIES,
	OPT_ON_LIMIT,
	OPT_GRACE,
	OPT_WARN_SIGNAL, /* --signal of submit */
	OPT_NICE,
	OPT_MEM,
	OPT_EXCLUSIVE,
	OPT_WAIT_FOR,
	OPT_SIGNAL, /* --signal of cancel */
	OPT_FOLLOW,
	OPT_TAIL,
	OPT_SINCE,
	OPT_UNTIL,
	OPT_USER,
	OPT_LIMIT,
	OPT_DAYS,
	OPT_BY,
	OPT_CSV,
	OPT_REDIS, /* to OPT_DRY_RUN: of admin import canhazgpu */
	OPT_DB,
	OPT_DRY_RUN,
	OPT_MAX,
};

__extension__ typedef unsigned __int128 opt_set;
#define OPT_BIT(opt) ((opt_set)1 << (opt))
_Static_assert(OPT_MAX <= 128, "a set has a bit for each option");

struct option {
	char letter; /* 0 = has none */
	const char *name;
	const char *argument; /* NULL = takes none */
	const char *help;
	enum {
		OPTION_ONCE,     /* the last one counts */
		OPTION_WORDS,    /* may be given again; its values join the words of the verb */
		OPTION_REPEATED, /* may be given again; see arguments_next */
	} again;
};

extern const struct option options[OPT_MAX];

struct verb {
	const char *name, *arguments;
	const char *summary; /* a line for the overview */
	const char *help;    /* what more there is to know; may be NULL */
	opt_set options;     /* besides those that all verbs take */
	int min_words, max_words;
	bool command; /* the first word and all that follows is somebody else's command line */
	enum client_exit (*run)(struct cli *cli);
	const struct verb *verbs; /* verbs below this one, to a NULL name; or NULL */
};

extern const struct verb verbs[]; /* to a NULL name; the first is what "dibs" alone does */

/* One of those that may be given again. */
struct given {
	enum opt opt;
	const char *value; /* borrowed from argv */
};
#define ARGUMENTS_GIVEN_MAX 256

struct arguments {
	const struct verb *verb, *parent; /* parent: NULL, or the verb that verb stands below */
	const char *values[OPT_MAX];      /* borrowed from argv; "" = given; NULL = not given */
	struct given given[ARGUMENTS_GIVEN_MAX]; /* in their order */
	unsigned n_given;
	char **words; /* borrowed from argv, NULL at the end */
	int n_words;
	bool dashes; /* "--" stood before the first word */
};

/*
 * Reads argv, whose pointers it reorders. -EINVAL with a sentence, and as much of *ret as was
 * understood. With --help or --version among the options, words are not counted.
 */
int arguments_parse(int argc, char **argv, struct arguments *ret, struct error *err);

/* Reads words that are options of arguments->verb and nothing else, up to a NULL: those of a
 * script. -EINVAL with a sentence. */
int arguments_add(struct arguments *arguments, char **words, struct error *err);

/* The next value of an option that may be given again: *i is where to go on, 0 at first. NULL at
 * the end. */
const char *arguments_next(const struct arguments *arguments, enum opt opt, unsigned *i);

/* The verb of this name in a table, or NULL. */
const struct verb *verb_find(const struct verb *table, const char *name);

/* Does the verb take this option? */
bool verb_takes(const struct verb *verb, enum opt opt);

/* The text of --help: of everything (verb NULL) or of one verb. */
void help_print(FILE *out, const struct verb *parent, const struct verb *verb);
