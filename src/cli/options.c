/* SPDX-License-Identifier: MIT */
/*
 * An own reader instead of getopt_long: which options there are depends on the verb, "run" must
 * stop at the first word while all others look on, and a sentence about a wrong option should name
 * the verb. Options may stand before the verb as well ("dibs --socket S list"); whether the verb
 * takes them is known only at the end.
 *
 * Words are collected at the front of argv, which is safe because there are never more of them than
 * were read. The values of an option that may be repeated are collected there, too.
 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

#define COMMON (OPT_BIT(OPT_SOCKET) | OPT_BIT(OPT_COLOR) | OPT_BIT(OPT_HELP) | OPT_BIT(OPT_VERSION))

const struct option options[OPT_MAX] = {
	[OPT_SOCKET] = { 0, "socket", "PATH", "where dibsd listens ($DIBS_SOCKET)" },
	[OPT_COLOR] = { 0, "color", "WHEN", "auto, always or never" },
	[OPT_HELP] = { 'h', "help", NULL, "this text" },
	[OPT_VERSION] = { 'V', "version", NULL, "which dibs this is" },
	[OPT_JSON] = { 'j', "json", NULL, "for programs: JSON on standard output" },
	[OPT_WATCH] = { 'w', "watch", NULL, "stay, and show every change" },
	[OPT_GPUS] = { 'g', "gpus", "N", "how many GPUs (1, or all of --gpu)" },
	[OPT_GPU] = { 0, "gpu", "LIST", "just these: indices or UUIDs, with commas" },
	[OPT_TYPE] = { 0, "type", "MODEL", "a part of the model's name; several with commas" },
	[OPT_MIN_MEMORY] = { 0, "min-memory", "SIZE", "cards of at least this size, as 24G" },
	[OPT_WAIT] = { 0, "wait", "DURATION", "wait for so long at most, as 30m" },
	[OPT_NO_WAIT] = { 0, "no-wait", NULL, "now or not at all" },
	[OPT_NOTE] = { 0, "note", "TEXT", "what it is for; everybody sees it" },
	[OPT_FORCE] = { 0, "force", NULL, "also GPUs that somebody uses without a lease" },
	[OPT_TIME] = { 't', "time", "LIMIT", "end the command after this time" },
	[OPT_VISIBLE] = { 0, "visible", "HOW", "name GPUs to the command by uuid or index" },
	[OPT_DURATION] = { 'd', "duration", "DURATION", "hold them for so long (8h)" },
	[OPT_SHORT] = { 0, "short", NULL, "print the indices and nothing else" },
	[OPT_EVERYBODY] = { 'a', "all", NULL, "those of everybody" },
	[OPT_ALL] = { 'a', "all", NULL, "all that is yours, running and waiting too" },
	[OPT_RELEASE_GPU] = { 0, "gpu", "LIST", "your leases on these GPUs" },
	[OPT_SHRINK_GPU] = { 0, "gpu", "LIST", "the GPUs that are given back" },
	[OPT_REASON] = { 0, "reason", "TEXT", "why; people will read it" },
	[OPT_ADOPT] = { 0, "adopt", "PID...", "the GPUs that these processes of yours use",
		OPTION_WORDS },
	[OPT_UUID] = { 0, "uuid", NULL, "print their UUIDs, with commas" },
	[OPT_INDEX] = { 0, "index", NULL, "print their indices, with commas" },
	[OPT_DOCKER] = { 0, "docker", NULL, "print what docker run needs to have them" },
	[OPT_CDI] = { 0, "cdi", NULL, "the same as names of CDI, for podman and others" },
	[OPT_NAME] = { 0, "name", "NAME", "what the job is called" },
	[OPT_OUTPUT] = { 'o', "output", "FILE", "its output (dibs-%j.log)" },
	[OPT_ERROR] = { 'e', "error", "FILE", "its standard error, if not there as well" },
	[OPT_CHDIR] = { 0, "chdir", "DIR", "start in this directory" },
	[OPT_ENV_SETUP] = { 0, "env-setup", "CMD",
		"a line of shell before, as 'module load cuda'" },
	[OPT_VENV] = { 0, "venv", "DIR", "activate this Python environment (~/venv if there)" },
	[OPT_NO_VENV] = { 0, "no-venv", NULL, "activate none" },
	[OPT_ENV] = { 0, "env", "NAME[=V]", "with this variable; may be given again",
		OPTION_REPEATED },
	[OPT_NO_ENV] = { 0, "no-env", NULL, "without the variables of this shell" },
	[OPT_AFTER] = { 0, "after", "ID[:HOW]", "when that job ended: ok (else never), fail, any",
		OPTION_REPEATED },
	[OPT_ARRAY] = { 0, "array", "LIST[%MAX]", "one job for each number, as 0-9,12%4" },
	[OPT_BEGIN] = { 0, "begin", "TIME", "not before 20:00, 'tomorrow 08:00', +2h, ..." },
	[OPT_HELD] = { 0, "hold", NULL, "wait until 'dibs resume'" },
	[OPT_RETRIES] = { 0, "retries", "N", "start it again if it fails, so often" },
	[OPT_ON_LIMIT] = { 0, "on-limit", "WHAT", "at its time limit: kill, requeue, suspend" },
	[OPT_GRACE] = { 0, "grace", "DURATION", "between TERM and KILL" },
	[OPT_WARN_SIGNAL] = { 0, "signal", "SIG[@TIME]", "a signal before its time limit (60s)" },
	[OPT_NICE] = { 0, "nice", "N", "let others go first; -100 to 100" },
	[OPT_MEM] = { 0, "mem", "SIZE", "share a GPU: so much of its memory will do" },
	[OPT_EXCLUSIVE] = { 0, "exclusive", NULL, "share its GPUs with nobody (the default)" },
	[OPT_WAIT_FOR] = { 0, "wait-for", NULL, "wait for its end, and take its exit status" },
	[OPT_SIGNAL] = { 0, "signal", "SIG", "send this signal, and do not end it" },
	[OPT_FOLLOW] = { 'f', "follow", NULL, "stay, and show what is added until the job ends" },
	[OPT_TAIL] = { 'n', "tail", "N", "only the last lines" },
	[OPT_SINCE] = { 0, "since", "TIME", "what was not over by then, as 2026-12-01 or 7d" },
	[OPT_UNTIL] = { 0, "until", "TIME", "up to then (now)" },
	[OPT_USER] = { 0, "user", "USER", "those of this user" },
	[OPT_LIMIT] = { 0, "limit", "N", "so many at most" },
	[OPT_DAYS] = { 0, "days", "N", "the last days (30)" },
	[OPT_BY] = { 0, "by", "WHAT", "a row for each user, group, gpu, type or kind" },
	[OPT_CSV] = { 0, "csv", NULL, "for spreadsheets" },
	[OPT_REDIS] = { 0, "redis", "HOST:PORT", "where canhazgpu keeps its state" },
	[OPT_DB] = { 0, "db", "N", "in which database of that Redis (0)" },
	[OPT_DRY_RUN] = { 0, "dry-run", NULL, "only say what would be imported" },
};

bool verb_takes(const struct verb *verb, enum opt opt)
{
	return (verb->options | COMMON) & OPT_BIT(opt);
}

const struct verb *verb_find(const struct verb *table, const char *name)
{
	for (; table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

/* Options before the verb: those of any verb. Later: those of this verb. */
static bool accepts(const struct verb *verb, enum opt opt)
{
	if (verb)
		return verb_takes(verb, opt);
	return OPT_BIT(opt) & (COMMON | OPT_BIT(OPT_JSON) | OPT_BIT(OPT_WATCH));
}

static const char *verb_name(const struct arguments *a)
{
	return a->verb ? a->verb->name : "";
}

static const char *verb_space(const struct arguments *a)
{
	return a->verb ? " " : "";
}

static int unknown_option(const struct arguments *a, const char *word, struct error *err)
{
	return error_set(err, -EINVAL, "usage.option",
		"there is no option '%s'; see 'dibs%s%s --help'", word, verb_space(a),
		verb_name(a));
}

static int take_value(struct arguments *a, enum opt opt, char *value, struct error *err)
{
	a->values[opt] = value;
	if (options[opt].again == OPTION_WORDS)
		a->words[a->n_words++] = value;
	if (options[opt].again != OPTION_REPEATED)
		return 0;
	if (a->n_given == ARGUMENTS_GIVEN_MAX)
		return error_set(err, -EINVAL, "usage.option",
			"--%s: no more than %d options may be repeated", options[opt].name,
			ARGUMENTS_GIVEN_MAX);
	a->given[a->n_given++] = (struct given){ opt, value };
	return 0;
}

/* "--name", "--name=value", "--name value". Returns how many words of argv it took. */
static int parse_long(struct arguments *a, char **argv, struct error *err)
{
	char *name = argv[0] + 2, *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);

	for (enum opt opt = 0; opt < OPT_MAX; opt++) {
		const struct option *o = &options[opt];

		if (!accepts(a->verb, opt) || strlen(o->name) != length ||
			strncmp(o->name, name, length) != 0)
			continue;
		if (!o->argument && equals)
			return error_set(
				err, -EINVAL, "usage.option", "--%s takes no value", o->name);
		if (o->argument && !equals && !argv[1])
			return error_set(err, -EINVAL, "usage.option",
				"--%s needs a value: --%s %s", o->name, o->name, o->argument);
		if (!o->argument) {
			a->values[opt] = "";
			return 1;
		}
		if (take_value(a, opt, equals ? equals + 1 : argv[1], err) < 0)
			return -EINVAL;
		return equals ? 1 : 2;
	}
	return unknown_option(a, argv[0], err);
}

/* "-a", "-ab", "-n5", "-n 5". Returns how many words of argv it took. */
static int parse_letters(struct arguments *a, char **argv, struct error *err)
{
	for (char *s = argv[0] + 1; *s; s++) {
		enum opt opt = 0;

		while (opt < OPT_MAX && !(accepts(a->verb, opt) && options[opt].letter == *s))
			opt++;
		if (opt == OPT_MAX)
			return unknown_option(a, argv[0], err);
		if (!options[opt].argument) {
			a->values[opt] = "";
			continue;
		}
		if (!s[1] && !argv[1])
			return error_set(err, -EINVAL, "usage.option", "-%c needs a value: -%c %s",
				*s, *s, options[opt].argument);
		if (take_value(a, opt, s[1] ? s + 1 : argv[1], err) < 0)
			return -EINVAL;
		return s[1] ? 1 : 2;
	}
	return 1;
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1];
}

static int parse_option(struct arguments *a, char **argv, struct error *err)
{
	return argv[0][1] == '-' ? parse_long(a, argv, err) : parse_letters(a, argv, err);
}

/* The first words are the verb. Returns 1 if word was a part of it. */
static int take_verb(struct arguments *a, const char *word, struct error *err)
{
	const struct verb *table = a->verb ? a->verb->verbs : verbs, *verb;

	if (!table)
		return 0;
	verb = verb_find(table, word);
	if (!verb)
		return error_set(err, -EINVAL, "usage.verb",
			"there is no command 'dibs%s%s %s'; see 'dibs%s%s --help'", verb_space(a),
			verb_name(a), word, verb_space(a), verb_name(a));
	a->parent = a->verb;
	a->verb = verb;
	return 1;
}

static int check_words(const struct arguments *a, struct error *err)
{
	const char *name = a->verb->name, *parent = a->parent ? a->parent->name : "";
	const char *space = a->parent ? " " : "";

	if (a->n_words < a->verb->min_words)
		return error_set(err, -EINVAL, "usage.words",
			"something is missing: dibs %s%s%s %s", parent, space, name,
			a->verb->arguments);
	if (a->n_words > a->verb->max_words)
		return error_set(err, -EINVAL, "usage.words",
			"'%s' is too much; see 'dibs %s%s%s --help'", a->words[a->verb->max_words],
			parent, space, name);
	return 0;
}

static int check_all(struct arguments *a, struct error *err)
{
	if (!a->verb && !a->values[OPT_HELP])
		a->verb = verbs;
	if (a->values[OPT_HELP] || a->values[OPT_VERSION])
		return 0;
	/* What stood before the verb was accepted on trust. */
	for (enum opt opt = 0; opt < OPT_MAX; opt++)
		if (a->values[opt] && !verb_takes(a->verb, opt))
			return error_set(err, -EINVAL, "usage.option",
				"'dibs %s' has no option --%s", a->verb->name, options[opt].name);
	return check_words(a, err);
}

int arguments_parse(int argc, char **argv, struct arguments *ret, struct error *err)
{
	bool only_words = false;

	*ret = (struct arguments){ .words = argv };
	for (int i = 1, r; i < argc; i += r) {
		const char *word = argv[i];

		if (!only_words && strcmp(word, "--") == 0) {
			only_words = ret->dashes = true;
			r = 1;
		} else if (!only_words && is_option(word)) {
			r = parse_option(ret, argv + i, err);
		} else if ((r = take_verb(ret, word, err)) == 0) {
			r = 1;
			ret->words[ret->n_words++] = argv[i];
			only_words |= ret->verb->command;
		}
		if (r < 0)
			return r;
	}
	ret->words[ret->n_words] = NULL;
	return check_all(ret, err);
}

int arguments_add(struct arguments *arguments, char **words, struct error *err)
{
	for (int r; *words; words += r) {
		if (!is_option(*words) || strcmp(*words, "--") == 0)
			return error_set(err, -EINVAL, "usage.words", "'%s' is no option", *words);
		r = parse_option(arguments, words, err);
		if (r < 0)
			return r;
	}
	return 0;
}

const char *arguments_next(const struct arguments *arguments, enum opt opt, unsigned *i)
{
	while (*i < arguments->n_given) {
		const struct given *given = &arguments->given[(*i)++];

		if (given->opt == opt)
			return given->value;
	}
	return NULL;
}
