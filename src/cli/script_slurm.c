/* SPDX-License-Identifier: MIT */
/*
 * Options of sbatch(1), one by one: each has a function that puts the options of dibs in its place,
 * or a reason why there are none. What is not in the table is unknown to us, which is said, too; it
 * never keeps a job from being queued. What sbatch itself would not take is an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/script.h"

#define ID "script.slurm"

struct slurm {
	struct directives *directives;
	struct arguments *line;
	const char *where; /* "name:line" */
	const char *word;  /* as it stands in the script */
	struct error *err;
};

static int no_memory(struct slurm *s)
{
	return error_set(s->err, -ENOMEM, "cli.memory", "out of memory");
}

/* Adds an option of dibs; takes the text, which may be NULL for lack of memory. */
static int add(struct slurm *s, char *text)
{
	if (strings_take(&s->directives->texts, text) < 0)
		return no_memory(s);
	return arguments_add(s->line, (char *[]){ text, NULL }, s->err);
}

/* Says what has no counterpart. */
static _printf_(2, 3) int note(struct slurm *s, const char *fmt, ...)
{
	char reason[256];
	va_list ap;

	va_start(ap, fmt);
	text_vprint(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (strings_take(&s->directives->notes,
		    text_format("%s: #SBATCH %s: %s", s->where, s->word, reason)) < 0)
		return no_memory(s);
	return 0;
}

static int wrong(struct slurm *s, const char *expected)
{
	return error_set(s->err, -EINVAL, ID, "#SBATCH %s: not %s", s->word, expected);
}

/* sbatch counts in minutes unless there are more numbers: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S. -1 if
 * it is nothing of that. */
static int64_t time_sec(const char *text)
{
	static const int64_t with_days[] = { 3600, 60, 1 };
	static const int64_t without[][3] = { { 60 }, { 60, 1 }, { 3600, 60, 1 } };
	_cleanup_(freep) char *copy = strdup(text);
	char *rest = copy, *dash, *pieces[3], *piece;
	const int64_t *units = with_days;
	uint64_t value, days = 0;
	int64_t sec;
	size_t n = 0;

	dash = copy ? strchr(copy, '-') : NULL;
	if (dash) {
		*dash = '\0';
		rest = dash + 1;
		if (parse_uint(copy, 0, 36500, &days) < 0)
			return -1;
	}
	while ((piece = strsep(&rest, ":"))) {
		if (n == ELEMENTSOF(pieces))
			return -1;
		pieces[n++] = piece;
	}
	if (n == 0)
		return -1;
	if (!dash)
		units = without[n - 1];
	sec = (int64_t)days * 86400;
	for (size_t i = 0; i < n; i++) {
		if (parse_uint(pieces[i], 0, 100000000, &value) < 0)
			return -1;
		sec += (int64_t)value * units[i];
	}
	return sec;
}

static int take_time(struct slurm *s, const char *value)
{
	int64_t sec = time_sec(value);

	/* No limit, as we have it anyway. */
	if (sec == 0 || strcasecmp(value, "unlimited") == 0 || strcasecmp(value, "infinite") == 0)
		return 0;
	if (sec < 0)
		return wrong(s, "a time as 90, 90:00, 4:00:00, 2-0 or 2-12:00");
	return add(s, text_format("--time=%" PRId64 "s", sec));
}

/* Translates the names in a pattern. Returns what of it means nothing here, or '\0'. */
static char translate_pattern(char *dst, const char *value, bool *ret_width)
{
	static const char names[][2] = { "jj", "JJ", "AA", "aa", "xx", "uu", "Nh", "%%" };

	*ret_width = false;
	for (; *value; value++) {
		size_t i = 0;

		*dst++ = *value;
		if (*value != '%')
			continue;
		while (value[1] >= '0' && value[1] <= '9') {
			*ret_width = true;
			value++;
		}
		value++;
		while (i < ELEMENTSOF(names) && names[i][0] != *value)
			i++;
		if (i == ELEMENTSOF(names))
			return *value ? *value : '%';
		*dst++ = names[i][1] == 'J' ? 'j' : names[i][1];
	}
	*dst = '\0';
	return '\0';
}

static int take_pattern(struct slurm *s, const char *option, const char *value)
{
	_cleanup_(freep) char *pattern = malloc(strlen(value) + 1);
	bool width;
	char unknown;

	if (!pattern)
		return no_memory(s);
	unknown = translate_pattern(pattern, value, &width);
	if (unknown)
		return note(s, "a name with %%%c is not known here, so the option is left out",
			unknown);
	if (width && note(s, "numbers are not padded with zeros here") < 0)
		return -ENOMEM;
	return add(s, text_format("%s=%s", option, pattern));
}

static int take_output(struct slurm *s, const char *value)
{
	return take_pattern(s, "--output", value);
}

static int take_error(struct slurm *s, const char *value)
{
	return take_pattern(s, "--error", value);
}

static int take_array(struct slurm *s, const char *value)
{
	return add(s, text_format("--array=%s", value));
}

static int take_name(struct slurm *s, const char *value)
{
	return add(s, text_format("--name=%s", value));
}

static int take_chdir(struct slurm *s, const char *value)
{
	return add(s, text_format("--chdir=%s", value));
}

static int take_comment(struct slurm *s, const char *value)
{
	return add(s, text_format("--note=%s", value));
}

static int take_hold(struct slurm *s, const char *value)
{
	(void)value;
	return add(s, strdup("--hold"));
}

static int take_wait(struct slurm *s, const char *value)
{
	(void)value;
	return add(s, strdup("--wait-for"));
}

/* "N", "TYPE:N" or "TYPE". */
static int put_gpus(struct slurm *s, const char *value)
{
	const char *colon = strrchr(value, ':'), *count = colon ? colon + 1 : value;
	size_t type = colon ? (size_t)(colon - value) : 0;
	uint64_t n;

	if (!*count || *count < '0' || *count > '9') {
		type = strlen(value);
		count = "1";
	}
	if (parse_uint(count, 0, 100000, &n) < 0 || strchr(value, ','))
		return wrong(s, "a number of GPUs, or a type and a number");
	if (n == 0)
		return note(s, "every job has a GPU here");
	if (type > 0 && add(s, text_format("--type=%.*s", (int)type, value)) < 0)
		return -EINVAL;
	return add(s, text_format("--gpus=%" PRIu64, n));
}

static int take_gpus(struct slurm *s, const char *value)
{
	return put_gpus(s, value);
}

/* "gpu:2", "gpu:a100:2", "gres/gpu:2", "gpu=2"; what is no GPU is not ours. */
static int put_gres(struct slurm *s, const char *piece, bool *had)
{
	if (strncmp(piece, "gres", 4) == 0 && piece[4] && strchr("/:", piece[4]))
		piece += 5;
	if (strncmp(piece, "gpu", 3) != 0 || (piece[3] && !strchr(":=", piece[3])))
		return note(s, "'%s' is no GPU, and has no counterpart", piece);
	if (*had)
		return note(s, "'%s' as well is left out: a job has GPUs of one kind", piece);
	*had = true;
	return put_gpus(s, piece[3] ? piece + 4 : "1");
}

static int take_gres(struct slurm *s, const char *value)
{
	_cleanup_(freep) char *copy = strdup(value);
	char *cursor = copy, *piece;
	bool had = false;
	int r = copy ? 0 : no_memory(s);

	if (strcasecmp(value, "none") == 0)
		return note(s, "every job has a GPU here");
	while (r == 0 && (piece = text_next(&cursor)))
		r = put_gres(s, piece, &had);
	return r;
}

/* "afterok:41:42": *type is changed. */
static int put_dependency(struct slurm *s, char *type)
{
	static const char *const hows[][2] = { { "afterok", "ok" }, { "afternotok", "fail" },
		{ "afterany", "any" } };
	char *ids = type, *id;
	size_t i = 0;
	int r = 0;

	strsep(&ids, ":");
	while (i < ELEMENTSOF(hows) && strcmp(hows[i][0], type) != 0)
		i++;
	if (i == ELEMENTSOF(hows))
		return note(s, "'%s' has no counterpart: this job does not wait for that", type);
	if (!ids)
		return wrong(s, "a dependency as afterok:41");
	while (r == 0 && (id = strsep(&ids, ":")))
		r = add(s, text_format("--after=%s:%s", id, hows[i][1]));
	return r;
}

static int take_dependency(struct slurm *s, const char *value)
{
	_cleanup_(freep) char *copy = strdup(value);
	char *cursor = copy, *piece;
	int r = copy ? 0 : no_memory(s);

	if (strchr(value, '?'))
		return note(s, "'?' (any of them) has no counterpart: this job waits for none");
	while (r == 0 && (piece = text_next(&cursor)))
		r = put_dependency(s, piece);
	return r;
}

/* "now+1hour" */
static int take_begin_in(struct slurm *s, const char *value)
{
	static const struct {
		const char *name;
		int64_t sec;
	} units[] = { { "second", 1 }, { "minute", 60 }, { "hour", 3600 }, { "day", 86400 },
		{ "week", 604800 } };
	size_t digits = strspn(value, "0123456789"), length = strlen(value + digits), i = 0;
	_cleanup_(freep) char *number = strndup(value, digits);
	uint64_t n;

	if (!number || parse_uint(number, 0, 315360000, &n) < 0)
		return wrong(s, "a time as now+2hours");
	if (length > 1 && value[digits + length - 1] == 's')
		length--;
	while (length > 0 && i < ELEMENTSOF(units) &&
		(strncmp(units[i].name, value + digits, length) != 0 || units[i].name[length]))
		i++;
	if (i == ELEMENTSOF(units))
		return wrong(s, "a time as now+2hours");
	return n == 0 ? 0 : add(s, text_format("--begin=+%" PRId64 "s", (int64_t)n * units[i].sec));
}

static int take_begin(struct slurm *s, const char *value)
{
	static const char *const words[][2] = { { "midnight", "00:00" }, { "noon", "12:00" },
		{ "elevenses", "11:00" }, { "fika", "15:00" }, { "teatime", "16:00" } };

	if (strcasecmp(value, "now") == 0 || strcasecmp(value, "today") == 0)
		return 0;
	if (strncasecmp(value, "now+", 4) == 0)
		return take_begin_in(s, value + 4);
	for (size_t i = 0; i < ELEMENTSOF(words); i++)
		if (strcasecmp(value, words[i][0]) == 0)
			value = words[i][1];
	return add(s, text_format("--begin=%s", value));
}

/* "[R][B:]SIG[@SECONDS]" */
static int take_signal(struct slurm *s, const char *value)
{
	const char *colon = strchr(value, ':'), *name = colon ? colon + 1 : value, *at;
	bool batch = colon && memchr(value, 'B', (size_t)(colon - value));

	at = strchr(name, '@');
	if (!batch && note(s, "all processes of the job get it here, its shell, too") < 0)
		return -ENOMEM;
	if (batch && note(s, "all processes of the job get it here, not only its shell") < 0)
		return -ENOMEM;
	return at ? add(s, text_format("--signal=%ss", name))
		  : add(s, text_format("--signal=%s@60s", name));
}

/* Slurm's have no bounds to speak of; without a number it is 100. */
static int take_nice(struct slurm *s, const char *value)
{
	bool negative = value && *value == '-';
	uint64_t n = 100;

	if (value && parse_uint(value + negative, 0, INT32_MAX, &n) < 0)
		return wrong(s, "a number");
	return add(s, text_format("--nice=%s%" PRIu64, negative ? "-" : "", MIN(n, 100)));
}

/* "NONE", "ALL", "ALL,A=1,B", "A=1,B" (which means nothing else), "NIL". */
static int take_export(struct slurm *s, const char *value)
{
	_cleanup_(freep) char *copy = strdup(value);
	char *cursor = copy, *piece;
	bool all = strncasecmp(value, "all", 3) == 0 && (!value[3] || value[3] == ',');
	int r = copy ? 0 : no_memory(s);

	if (r == 0 && !all)
		r = add(s, strdup("--no-env"));
	while (r == 0 && (piece = text_next(&cursor)))
		if (strcasecmp(piece, "all") != 0 && strcasecmp(piece, "none") != 0 &&
			strcasecmp(piece, "nil") != 0)
			r = add(s, text_format("--env=%s", piece));
	return r;
}

static int take_exclusive(struct slurm *s, const char *value)
{
	(void)value;
	if (note(s, "this means its GPUs here, not the whole machine") < 0)
		return -ENOMEM;
	return add(s, strdup("--exclusive"));
}

/* One node and one task are what every job has. */
static int take_one(struct slurm *s, const char *value)
{
	if (strcmp(value, "1") == 0 || strcmp(value, "1-1") == 0)
		return 0;
	return note(s, "a job is one process on this one machine");
}

static int take_nothing(struct slurm *s, const char *value)
{
	(void)s, (void)value;
	return 0;
}

enum value { VALUE_NONE, VALUE_NEEDED, VALUE_MAY /* only behind '=' */ };

static const struct slurm_option {
	const char *name;
	char letter;
	enum value value;
	int (*take)(struct slurm *s, const char *value); /* NULL: it has no counterpart */
	const char *reason;
} table[] = {
	{ "time", 't', VALUE_NEEDED, take_time },
	{ "output", 'o', VALUE_NEEDED, take_output },
	{ "error", 'e', VALUE_NEEDED, take_error },
	{ "array", 'a', VALUE_NEEDED, take_array },
	{ "job-name", 'J', VALUE_NEEDED, take_name },
	{ "chdir", 'D', VALUE_NEEDED, take_chdir },
	{ "comment", 0, VALUE_NEEDED, take_comment },
	{ "hold", 'H', VALUE_NONE, take_hold },
	{ "wait", 'W', VALUE_NONE, take_wait },
	{ "gpus", 'G', VALUE_NEEDED, take_gpus },
	{ "gpus-per-node", 0, VALUE_NEEDED, take_gpus },
	{ "gres", 0, VALUE_NEEDED, take_gres },
	{ "tres-per-node", 0, VALUE_NEEDED, take_gres },
	{ "dependency", 'd', VALUE_NEEDED, take_dependency },
	{ "begin", 'b', VALUE_NEEDED, take_begin },
	{ "signal", 0, VALUE_NEEDED, take_signal },
	{ "nice", 0, VALUE_MAY, take_nice },
	{ "export", 0, VALUE_NEEDED, take_export },
	{ "exclusive", 0, VALUE_MAY, take_exclusive },
	{ "nodes", 'N', VALUE_NEEDED, take_one },
	{ "ntasks", 'n', VALUE_NEEDED, take_one },
	{ "ntasks-per-node", 0, VALUE_NEEDED, take_one },
	{ "no-requeue", 0, VALUE_NONE, take_nothing },
	{ "parsable", 0, VALUE_NONE, take_nothing },
	{ "quiet", 'Q', VALUE_NONE, take_nothing },
	{ "verbose", 'v', VALUE_NONE, take_nothing },
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
	int r = note(s, "not known here, and left out");

	if (r < 0)
		return r;
	return next && *next != '-' && !strchr(s->word, '=') ? 2 : 1;
}

/* Returns how many words it took. */
static int translate_one(struct slurm *s, char **words)
{
	char *word = words[0], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
	const struct slurm_option *o;
	const char *value = equals ? equals + 1 : NULL;
	int taken = 1, r;

	if (word[0] != '-' || !word[1])
		return wrong(s, "an option of sbatch");
	o = find(word, equals ? (size_t)(equals - word) : strlen(word));
	if (!o)
		return unknown(s, words[1]);
	if (word[1] != '-' && word[2])
		value = word + 2;
	if (o->value == VALUE_NONE && value)
		return wrong(s, "an option that takes a value");
	if (o->value == VALUE_NEEDED && !value) {
		value = words[1];
		taken = 2;
	}
	if (o->value == VALUE_NEEDED && (!value || !*value))
		return wrong(s, "complete: its value is missing");
	r = o->take ? o->take(s, value) : note(s, "%s", o->reason);
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
