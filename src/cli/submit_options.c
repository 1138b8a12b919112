/* SPDX-License-Identifier: MIT */
/*
 * Options to parameters of Submit, one function each. What is not given is not sent: defaults are
 * the daemon's. It checks again; here it is for the sake of a good sentence, which for a script has
 * the line in front.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/pattern.h"
#include "base/text.h"
#include "cli/request.h"
#include "cli/submit.h"
#include "model/job.h"

#define ID          "usage.value"
#define RETRIES_MAX 1000
#define WARN_US     (60 * USEC_PER_SEC) /* where --signal does not say it; as sbatch */

static int put_text(
	json_t *object, const char *name, enum opt opt, const char *text, struct error *err)
{
	if (!*text)
		return error_set(err, -EINVAL, ID, "--%s: there is nothing", options[opt].name);
	if (!text_is_utf8(text))
		return error_set(
			err, -EINVAL, ID, "--%s: '%s' is not UTF-8", options[opt].name, text);
	return cli_put(object, name, json_string(text), err);
}

static int put_name(json_t *object, enum opt opt, const char *text, struct error *err)
{
	if (strlen(text) > JOB_NAME_MAX)
		return error_set(err, -EINVAL, ID, "--name: %zu bytes; at most %d are kept",
			strlen(text), JOB_NAME_MAX);
	return put_text(object, "name", opt, text, err);
}

/* The daemon knows what it is called only when it starts. */
static int put_pattern(json_t *object, enum opt opt, const char *text, struct error *err)
{
	static const struct pattern_values values = { 1, 1, 1, "u", "n", "h" };
	char name[4096];
	int r;

	r = put_text(object, opt == OPT_OUTPUT ? "output" : "error", opt, text, err);
	if (r == 0)
		r = pattern_expand(text, &values, name, sizeof(name), err);
	return r < 0 ? error_prefix(err, -EINVAL, "--%s", options[opt].name) : 0;
}

static int put_setup(json_t *object, enum opt opt, const char *text, struct error *err)
{
	return put_text(object, "setup", opt, text, err);
}

/* "41", "#41", "41:ok" */
static int put_need(json_t *array, const char *text, struct error *err)
{
	_cleanup_(freep) char *id = strdup(text), *need = NULL;
	char *how = id;
	uint64_t n;

	strsep(&how, ":");
	if (!id || parse_uint(id + (*id == '#'), 1, INT64_MAX, &n) < 0 ||
		job_need_on_from_string(how ? how : "ok") < 0)
		return error_set(err, -EINVAL, ID,
			"--after takes the number of a job, and how it has to end: 41, 41:ok, "
			"41:fail or "
			"41:any, not '%s'",
			text);
	need = text_format("%" PRIu64 ":%s", n, how ? how : "ok");
	if (!need || json_array_append_new(array, json_string(need)) < 0)
		return cli_no_memory(err);
	return 0;
}

static int put_after(json_t *object, const struct arguments *args, struct error *err)
{
	json_t *array = json_array();
	const char *text;
	unsigned i = 0;

	if (cli_put(object, "after", array, err) < 0)
		return -ENOMEM;
	while ((text = arguments_next(args, OPT_AFTER, &i))) {
		_cleanup_(freep) char *copy = strdup(text);
		char *cursor = copy, *piece;

		while (copy && (piece = text_next(&cursor)))
			if (put_need(array, piece, err) < 0)
				return -EINVAL;
	}
	if (json_array_size(array) > JOB_NEEDS_MAX)
		return error_set(err, -EINVAL, ID, "--after: %zu jobs; %d are the limit",
			json_array_size(array), JOB_NEEDS_MAX);
	return 0;
}

/* "0-9,12%4" */
static int put_array(json_t *object, enum opt opt, const char *text, struct error *err)
{
	_cleanup_(indices_clear) struct indices indices = { 0 };
	_cleanup_(freep) char *list = strdup(text);
	char *parallel = list;
	uint64_t n = 0;
	int r;

	strsep(&parallel, "%");
	r = list ? indices_parse(list, &indices) : -ENOMEM;
	if (r == 0 && parallel)
		r = parse_uint(parallel, 1, INDICES_MAX, &n) < 0 ? -EINVAL : 0;
	switch (-r) {
	case 0:
		break;
	case ERANGE:
		return error_set(err, -EINVAL, ID,
			"--%s: '%s' is too much; an array has at most %d jobs, numbered up to "
			"%" PRId64,
			options[opt].name, text, INDICES_MAX, INDICES_INDEX_MAX);
	case EEXIST:
		return error_set(
			err, -EINVAL, ID, "--%s: '%s' has a number twice", options[opt].name, text);
	default:
		return error_set(err, -EINVAL, ID,
			"--%s takes numbers as 0-9,12 or 0-20:5, with %%4 behind for four at a "
			"time, not "
			"'%s'",
			options[opt].name, text);
	}
	if (n > 0 && cli_put(object, "parallel", json_integer((json_int_t)n), err) < 0)
		return -ENOMEM;
	return cli_put(object, "indices", json_string(list), err);
}

static int put_begin(json_t *object, enum opt opt, const char *text, struct error *err)
{
	int64_t us;

	(void)opt;
	if (submit_parse_begin(text, clock_wall(), &us, err) < 0)
		return -EINVAL;
	return cli_put(object, "begin", json_integer(us), err);
}

static int put_retries(json_t *object, enum opt opt, const char *text, struct error *err)
{
	uint64_t n;

	if (parse_uint(text, 0, RETRIES_MAX, &n) < 0)
		return error_set(err, -EINVAL, ID,
			"--%s takes a whole number from 0 to %d, not '%s'", options[opt].name,
			RETRIES_MAX, text);
	return cli_put(object, "retries", json_integer((json_int_t)n), err);
}

static int put_on_limit(json_t *object, enum opt opt, const char *text, struct error *err)
{
	if (job_limit_from_string(text) < 0)
		return error_set(err, -EINVAL, ID, "--%s takes kill, requeue or suspend, not '%s'",
			options[opt].name, text);
	return cli_put(object, "on_limit", json_string(text), err);
}

static int put_grace(json_t *object, enum opt opt, const char *text, struct error *err)
{
	return request_put_duration(object, "grace_us", opt, text, 0, err);
}

static int put_nice(json_t *object, enum opt opt, const char *text, struct error *err)
{
	bool negative = *text == '-';
	uint64_t n;

	if (parse_uint(text + (negative || *text == '+'), 0, 100, &n) < 0)
		return error_set(err, -EINVAL, ID,
			"--%s takes a whole number from -100 to 100, not '%s'", options[opt].name,
			text);
	return cli_put(
		object, "nice", json_integer(negative ? -(json_int_t)n : (json_int_t)n), err);
}

int signal_parse(const char *text, int *ret)
{
	uint64_t n;

	if (parse_uint(text, 1, (uint64_t)SIGRTMAX, &n) == 0) {
		*ret = (int)n;
		return 0;
	}
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (int i = 1; i < NSIG; i++) {
		const char *name = sigabbrev_np(i);

		if (name && strcasecmp(name, text) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* "USR1@5m" */
static int put_signal(json_t *object, enum opt opt, const char *text, struct error *err)
{
	_cleanup_(freep) char *name = strdup(text);
	char *time = name;
	int64_t us = WARN_US;
	int signal;

	strsep(&time, "@");
	if (!name || signal_parse(name, &signal) < 0 ||
		(time && (parse_duration(time, &us) < 0 || us == 0)))
		return error_set(err, -EINVAL, ID,
			"--%s takes a signal and how long before the time limit, as USR1@5m, not "
			"'%s'",
			options[opt].name, text);
	if (cli_put(object, "signal", json_integer(signal), err) < 0)
		return -ENOMEM;
	return cli_put(object, "signal_before_us", json_integer(us), err);
}

static int put_mem(json_t *object, enum opt opt, const char *text, struct error *err)
{
	return request_put_size(object, "share_mib", opt, text, err);
}

static const struct {
	enum opt opt;
	int (*put)(json_t *object, enum opt opt, const char *text, struct error *err);
} table[] = {
	{ OPT_NAME, put_name },
	{ OPT_OUTPUT, put_pattern },
	{ OPT_ERROR, put_pattern },
	{ OPT_ENV_SETUP, put_setup },
	{ OPT_ARRAY, put_array },
	{ OPT_BEGIN, put_begin },
	{ OPT_RETRIES, put_retries },
	{ OPT_ON_LIMIT, put_on_limit },
	{ OPT_GRACE, put_grace },
	{ OPT_NICE, put_nice },
	{ OPT_WARN_SIGNAL, put_signal },
	{ OPT_MEM, put_mem },
};

/* Options of which only one can be given. */
static const enum opt rivals[][2] = { { OPT_MEM, OPT_EXCLUSIVE }, { OPT_VENV, OPT_NO_VENV } };

int submit_options(const struct arguments *args, json_t *object, struct error *err)
{
	const char *const *values = args->values;
	int r = 0;

	for (size_t i = 0; i < ELEMENTSOF(rivals); i++)
		if (values[rivals[i][0]] && values[rivals[i][1]])
			return error_set(err, -EINVAL, ID,
				"--%s and --%s contradict each other; give one",
				options[rivals[i][0]].name, options[rivals[i][1]].name);
	r = request_put_gpus(object, args, err);
	for (size_t i = 0; r == 0 && i < ELEMENTSOF(table); i++)
		if (values[table[i].opt])
			r = table[i].put(object, table[i].opt, values[table[i].opt], err);
	if (r == 0 && values[OPT_AFTER])
		r = put_after(object, args, err);
	if (r == 0 && values[OPT_HELD])
		r = cli_put(object, "held", json_true(), err);
	return r;
}

int submit_check(const struct arguments *args, struct error *err)
{
	_cleanup_(json_decrefp) json_t *object = json_object();
	_cleanup_(strings_clear) struct strings notes = { 0 };
	_cleanup_(json_decrefp) json_t *environment = NULL;
	int r = submit_options(args, object, err);

	if (r < 0)
		return r;
	return submit_environment(
		(char *[]){ NULL }, args, JOB_SPEC_MAX, &environment, &notes, err);
}

/* An option of high, or its rival. */
static bool has(const struct arguments *high, enum opt opt)
{
	for (size_t i = 0; i < ELEMENTSOF(rivals); i++)
		if ((rivals[i][0] == opt && high->values[rivals[i][1]]) ||
			(rivals[i][1] == opt && high->values[rivals[i][0]]))
			return true;
	return high->values[opt];
}

int submit_merge(
	struct arguments *high, const struct arguments *low, enum merge how, struct error *err)
{
	struct given given[ARGUMENTS_GIVEN_MAX];
	unsigned n = 0;

	/* Those of low come first, so that the others may stand above them. */
	for (unsigned i = 0; i < low->n_given; i++)
		if (how == MERGE_ALIKE || low->given[i].opt == OPT_ENV || !high->values[OPT_AFTER])
			given[n++] = low->given[i];
	if (n + high->n_given > ARGUMENTS_GIVEN_MAX)
		return error_set(err, -EINVAL, "usage.option",
			"--env and --after: %d of them are the limit", ARGUMENTS_GIVEN_MAX);
	memcpy(given + n, high->given, high->n_given * sizeof(*given));
	n += high->n_given;
	memcpy(high->given, given, n * sizeof(*given));
	high->n_given = n;
	for (enum opt opt = 0; opt < OPT_MAX; opt++)
		if (low->values[opt] && !has(high, opt))
			high->values[opt] = low->values[opt];
	return 0;
}
