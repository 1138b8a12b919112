/* SPDX-License-Identifier: MIT */
/* Values of options of sbatch(1), as options of dibs. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/slurm.h"

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

int slurm_take_time(struct slurm *s, const char *value)
{
	int64_t sec = time_sec(value);

	/* No limit, as we have it anyway. */
	if (sec == 0 || strcasecmp(value, "unlimited") == 0 || strcasecmp(value, "infinite") == 0)
		return 0;
	if (sec < 0)
		return slurm_wrong(s, "a time as 90, 90:00, 4:00:00, 2-0 or 2-12:00");
	return slurm_add(s, text_format("--time=%" PRId64 "s", sec));
}

/* Translates the names in a pattern. Returns what of it means nothing here, or '\0'. */
static char translate_pattern(char *dst, const char *value)
{
	static const char names[][2] = { "jj", "JJ", "AA", "aa", "xx", "uu", "Nh", "%%" };

	for (; *value; value++) {
		size_t i = 0;

		*dst++ = *value;
		if (*value != '%')
			continue;
		while (*++value >= '0' && *value <= '9')
			*dst++ = *value;
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
	char unknown;

	if (!pattern)
		return cli_no_memory(s->err);
	unknown = translate_pattern(pattern, value);
	if (unknown)
		return slurm_note(s,
			"a name with %%%c is not known here, so the option is left out", unknown);
	return slurm_add(s, text_format("%s=%s", option, pattern));
}

int slurm_take_output(struct slurm *s, const char *value)
{
	return take_pattern(s, "--output", value);
}

int slurm_take_error(struct slurm *s, const char *value)
{
	return take_pattern(s, "--error", value);
}

/* "N", "TYPE:N" or "TYPE". */
int slurm_take_gpus(struct slurm *s, const char *value)
{
	const char *colon = strrchr(value, ':'), *count = colon ? colon + 1 : value;
	size_t type = colon ? (size_t)(colon - value) : 0;
	uint64_t n;

	if (!*count || *count < '0' || *count > '9') {
		type = strlen(value);
		count = "1";
	}
	if (parse_uint(count, 0, 100000, &n) < 0 || strchr(value, ','))
		return slurm_wrong(s, "a number of GPUs, or a type and a number");
	if (n == 0)
		return slurm_note(s, "every job has a GPU here");
	if (type > 0 && slurm_add(s, text_format("--type=%.*s", (int)type, value)) < 0)
		return -EINVAL;
	return slurm_add(s, text_format("--gpus=%" PRIu64, n));
}

/* "gpu:2", "gpu:a100:2", "gres/gpu:2", "gpu=2"; what is no GPU is not ours. */
static int put_gres(struct slurm *s, const char *piece, bool *had)
{
	if (strncmp(piece, "gres", 4) == 0 && piece[4] && strchr("/:", piece[4]))
		piece += 5;
	if (strncmp(piece, "gpu", 3) != 0 || (piece[3] && !strchr(":=", piece[3])))
		return slurm_note(s, "'%s' is no GPU, and has no counterpart", piece);
	if (*had)
		return slurm_note(s, "'%s' as well is left out: a job has GPUs of one kind", piece);
	*had = true;
	return slurm_take_gpus(s, piece[3] ? piece + 4 : "1");
}

int slurm_take_gres(struct slurm *s, const char *value)
{
	_cleanup_(freep) char *copy = strdup(value);
	char *cursor = copy, *piece;
	bool had = false;
	int r = copy ? 0 : cli_no_memory(s->err);

	if (strcasecmp(value, "none") == 0)
		return slurm_note(s, "every job has a GPU here");
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
		return slurm_note(
			s, "'%s' has no counterpart: this job does not wait for that", type);
	if (!ids)
		return slurm_wrong(s, "a dependency as afterok:41");
	while (r == 0 && (id = strsep(&ids, ":")))
		r = slurm_add(s, text_format("--after=%s:%s", id, hows[i][1]));
	return r;
}

int slurm_take_dependency(struct slurm *s, const char *value)
{
	_cleanup_(freep) char *copy = strdup(value);
	char *cursor = copy, *piece;
	int r = copy ? 0 : cli_no_memory(s->err);

	if (strchr(value, '?'))
		return slurm_note(
			s, "'?' (any of them) has no counterpart: this job waits for none");
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
		return slurm_wrong(s, "a time as now+2hours");
	if (length > 1 && value[digits + length - 1] == 's')
		length--;
	while (length > 0 && i < ELEMENTSOF(units) &&
		(strncmp(units[i].name, value + digits, length) != 0 || units[i].name[length]))
		i++;
	if (i == ELEMENTSOF(units))
		return slurm_wrong(s, "a time as now+2hours");
	return n == 0 ? 0
		      : slurm_add(
				s, text_format("--begin=+%" PRId64 "s", (int64_t)n * units[i].sec));
}

int slurm_take_begin(struct slurm *s, const char *value)
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
	return slurm_add(s, text_format("--begin=%s", value));
}

/* "[R][B:]SIG[@SECONDS]" */
int slurm_take_signal(struct slurm *s, const char *value)
{
	const char *colon = strchr(value, ':'), *name = colon ? colon + 1 : value, *at;
	bool batch = colon && memchr(value, 'B', (size_t)(colon - value));

	at = strchr(name, '@');
	if (!batch && slurm_note(s, "all processes of the job get it here, its shell, too") < 0)
		return -ENOMEM;
	if (batch && slurm_note(s, "all processes of the job get it here, not only its shell") < 0)
		return -ENOMEM;
	return at ? slurm_add(s, text_format("--signal=%ss", name))
		  : slurm_add(s, text_format("--signal=%s@60s", name));
}

/* Slurm's have no bounds to speak of; without a number it is 100. */
int slurm_take_nice(struct slurm *s, const char *value)
{
	bool negative = value && *value == '-';
	uint64_t n = 100;

	if (value && parse_uint(value + negative, 0, INT32_MAX, &n) < 0)
		return slurm_wrong(s, "a number");
	return slurm_add(s, text_format("--nice=%s%" PRIu64, negative ? "-" : "", MIN(n, 100)));
}

/* "NONE", "ALL", "ALL,A=1,B", "A=1,B" (which means nothing else), "NIL". */
int slurm_take_export(struct slurm *s, const char *value)
{
	_cleanup_(freep) char *copy = strdup(value);
	char *cursor = copy, *piece;
	bool all = strncasecmp(value, "all", 3) == 0 && (!value[3] || value[3] == ',');
	int r = copy ? 0 : cli_no_memory(s->err);

	if (r == 0 && !all)
		r = slurm_add(s, strdup("--no-env"));
	while (r == 0 && (piece = text_next(&cursor)))
		if (strcasecmp(piece, "all") != 0 && strcasecmp(piece, "none") != 0 &&
			strcasecmp(piece, "nil") != 0)
			r = slurm_add(s, text_format("--env=%s", piece));
	return r;
}

int slurm_take_exclusive(struct slurm *s, const char *value)
{
	(void)value;
	if (slurm_note(s, "this means its GPUs here, not the whole machine") < 0)
		return -ENOMEM;
	return slurm_add(s, strdup("--exclusive"));
}

/* One node and one task are what every job has. */
int slurm_take_one(struct slurm *s, const char *value)
{
	if (strcmp(value, "1") == 0 || strcmp(value, "1-1") == 0)
		return 0;
	return slurm_note(s, "a job is one process on this one machine");
}
