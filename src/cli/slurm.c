/* SPDX-License-Identifier: MIT */
/*
 * The table of the options of sbatch(1). What is not in it is unknown to us, which is said, too; it
 * never keeps a job from being queued. What sbatch itself would not take is an error.
 */
#include "cli/slurm.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

#define ID "script.slurm"

int slurm_add(struct slurm *s, char *text)
{
	if (strings_take(&s->directives->texts, text) < 0)
		return cli_no_memory(s->err);
	return arguments_add(s->line, (char *[]){ text, NULL }, s->err);
}

int slurm_note(struct slurm *s, const char *fmt, ...)
{
	char reason[256];
	va_list ap;

	va_start(ap, fmt);
	text_vprint(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (strings_take(&s->directives->notes,
		    text_format("%s: #SBATCH %s: %s", s->where, s->word, reason)) < 0)
		return cli_no_memory(s->err);
	return 0;
}

int slurm_wrong(struct slurm *s, const char *expected)
{
	return error_set(s->err, -EINVAL, ID, "#SBATCH %s: not %s", s->word, expected);
}

enum value { VALUE_NONE, VALUE_NEEDED, VALUE_MAY /* only behind '=' */ };

static const struct slurm_option {
	const char *name;
	char letter;
	enum value value;
	/* One of them; none: it means nothing, but for what is so anyway. */
	int (*take)(struct slurm *s, const char *value);
	const char *reason; /* why there is no counterpart */
	const char *same;   /* the option of dibs that takes the same value, or none as well */
} table[] = {
	{ "time", 't', VALUE_NEEDED, slurm_take_time },
	{ "output", 'o', VALUE_NEEDED, slurm_take_output },
	{ "error", 'e', VALUE_NEEDED, slurm_take_error },
	{ "array", 'a', VALUE_NEEDED, .same = "--array" },
	{ "job-name", 'J', VALUE_NEEDED, .same = "--name" },
	{ "chdir", 'D', VALUE_NEEDED, .same = "--chdir" },
	{ "comment", 0, VALUE_NEEDED, .same = "--note" },
	{ "hold", 'H', VALUE_NONE, .same = "--hold" },
	{ "wait", 'W', VALUE_NONE, .same = "--wait-for" },
	{ "gpus", 'G', VALUE_NEEDED, slurm_take_gpus },
	{ "gpus-per-node", 0, VALUE_NEEDED, slurm_take_gpus },
	{ "gres", 0, VALUE_NEEDED, slurm_take_gres },
	{ "tres-per-node", 0, VALUE_NEEDED, slurm_take_gres },
	{ "dependency", 'd', VALUE_NEEDED, slurm_take_dependency },
	{ "begin", 'b', VALUE_NEEDED, slurm_take_begin },
	{ "signal", 0, VALUE_NEEDED, slurm_take_signal },
	{ "nice", 0, VALUE_MAY, slurm_take_nice },
	{ "export", 0, VALUE_NEEDED, slurm_take_export },
	{ "exclusive", 0, VALUE_MAY, slurm_take_exclusive },
	{ "nodes", 'N', VALUE_NEEDED, slurm_take_one },
	{ "ntasks", 'n', VALUE_NEEDED, slurm_take_one },
	{ "ntasks-per-node", 0, VALUE_NEEDED, slurm_take_one },
	{ "no-requeue", 0, VALUE_NONE },
	{ "parsable", 0, VALUE_NONE },
	{ "quiet", 'Q', VALUE_NONE },
	{ "verbose", 'v', VALUE_NONE },
	{ "requeue", 0, VALUE_NONE, NULL, "say --on-limit requeue, or --retries N" },
	{ "mem", 0, VALUE_NEEDED, NULL,
		"memory of the host is not shared out; --mem of dibs means that of a GPU" },
	{ "mem-per-cpu", 0, VALUE_NEEDED, NULL, "memory of the host is not shared out" },
	{ "mem-per-gpu", 0, VALUE_NEEDED, NULL, "memory of the host is not shared out" },
	{ "cpus-per-task", 'c', VALUE_NEEDED, NULL, "CPUs are not shared out" },
	{ "cpus-per-gpu", 0, VALUE_NEEDED, NULL, "CPUs are not shared out" },
	{ "partition", 'p', VALUE_NEEDED, NULL, "there are no partitions; see --type" },
	{ "account", 'A', VALUE_NEEDED, NULL, "there are no accounts" },
	{ "qos", 'q', VALUE_NEEDED, NULL, "there is none" },
	{ "constraint", 'C', VALUE_NEEDED, NULL, "see --type and --min-memory" },
	{ "mail-type", 0, VALUE_NEEDED, NULL, "no mail is sent" },
	{ "mail-user", 0, VALUE_NEEDED, NULL, "no mail is sent" },
	{ "nodelist", 'w', VALUE_NEEDED, NULL, "there is one machine" },
	{ "exclude", 'x', VALUE_NEEDED, NULL, "there is one machine" },
	{ "licenses", 'L', VALUE_NEEDED, NULL, "there are none" },
	{ "reservation", 0, VALUE_NEEDED, NULL, "there are none" },
	{ "open-mode", 0, VALUE_NEEDED, NULL, "logs are always appended to" },
	{ "oversubscribe", 's', VALUE_NONE, NULL, "say --mem SIZE of dibs to share a GPU" },
};

static const struct slurm_option *find(const char *word, size_t length)
{
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const struct slurm_option *o = &table[i];

		if (word[1] == '-' ? strlen(o->name) == length - 2 &&
					     strncmp(o->name, word + 2, length - 2) == 0
				   : o->letter && o->letter == word[1])
			return o;
	}
	return NULL;
}

/* What is unknown may have a value behind it, too. */
static int unknown(struct slurm *s, const char *next)
{
	int r = slurm_note(s, "not known here, and left out");

	if (r < 0)
		return r;
	return next && *next != '-' && !strchr(s->word, '=') ? 2 : 1;
}

static int apply(struct slurm *s, const struct slurm_option *o, const char *value)
{
	if (o->take)
		return o->take(s, value);
	if (o->reason)
		return slurm_note(s, "%s", o->reason);
	if (!o->same)
		return 0;
	return slurm_add(s, value ? text_format("%s=%s", o->same, value) : strdup(o->same));
}

/* Returns how many words it took. */
static int translate_one(struct slurm *s, char **words)
{
	char *word = words[0], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
	const struct slurm_option *o;
	const char *value = equals ? equals + 1 : NULL;
	int taken = 1, r;

	if (word[0] != '-' || !word[1])
		return slurm_wrong(s, "an option of sbatch");
	o = find(word, equals ? (size_t)(equals - word) : strlen(word));
	if (!o)
		return unknown(s, words[1]);
	if (word[1] != '-' && word[2])
		value = word + 2;
	if (o->value == VALUE_NONE && value)
		return slurm_wrong(s, "an option that takes a value");
	if (o->value == VALUE_NEEDED && !value) {
		value = words[1];
		taken = 2;
	}
	if (o->value == VALUE_NEEDED && (!value || !*value))
		return slurm_wrong(s, "complete: its value is missing");
	r = apply(s, o, value);
	return r < 0 ? r : taken;
}

int slurm_translate(struct directives *directives, struct arguments *line, char **words,
	const char *where, struct error *err)
{
	for (int r; *words; words += r) {
		struct slurm s = { directives, line, where, *words, err };

		r = translate_one(&s, words);
		if (r < 0)
			return r;
	}
	return 0;
}
