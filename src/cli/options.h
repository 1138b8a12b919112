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
	OPT_MAX,
};

#define OPT_BIT(opt) (UINT64_C(1) << (opt))

struct option {
	char letter; /* 0 = has none */
	const char *name;
	const char *argument; /* NULL = takes none */
	const char *help;
	bool words; /* may be given again; its values join the words of the verb */
};

extern const struct option options[OPT_MAX];

struct verb {
	const char *name, *arguments;
	const char *summary; /* a line for the overview */
	const char *help;    /* what more there is to know; may be NULL */
	uint64_t options;    /* besides those that all verbs take */
	int min_words, max_words;
	bool command; /* the first word and all that follows is somebody else's command line */
	enum client_exit (*run)(struct cli *cli);
	const struct verb *verbs; /* verbs below this one, to a NULL name; or NULL */
};

extern const struct verb verbs[]; /* to a NULL name; the first is what "dibs" alone does */

struct arguments {
	const struct verb *verb, *parent; /* parent: NULL, or the verb that verb stands below */
	const char *values[OPT_MAX];      /* borrowed from argv; "" = given; NULL = not given */
	char **words;                     /* borrowed from argv, NULL at the end */
	int n_words;
};

/*
 * Reads argv, whose pointers it reorders. -EINVAL with a sentence, and as much of *ret as was
 * understood. With --help or --version among the options, words are not counted.
 */
int arguments_parse(int argc, char **argv, struct arguments *ret, struct error *err);

/* Does the verb take this option? */
bool verb_takes(const struct verb *verb, enum opt opt);

/* The text of --help: of everything (verb NULL) or of one verb. */
void help_print(FILE *out, const struct verb *parent, const struct verb *verb);
