/* SPDX-License-Identifier: MIT */
/*
 * Options to parameters. What is not given is not sent: defaults are the daemon's. The numbers are
 * checked here for the sake of a good sentence, and because strings that are not UTF-8 cannot be
 * sent at all.
 */
#include "cli/request.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "model/gpuset.h"
#include "model/request.h"

#define ID "usage.value"

static int put_count(json_t *object, const char *text, struct error *err)
{
	uint64_t n;

	if (!text)
		return 0;
	if (parse_uint(text, 1, GPU_MAX, &n) < 0)
		return error_set(err, -EINVAL, ID,
			"-g/--gpus takes a whole number from 1 to %d, not '%s'", GPU_MAX, text);
	return cli_put(object, "count", json_integer((json_int_t)n), err);
}

int request_put_list(
	json_t *object, const char *name, enum opt opt, const char *text, struct error *err)
{
	_cleanup_(freep) char *copy = NULL;
	_cleanup_(json_decrefp) json_t *array = json_array();
	char *cursor, *piece;

	if (!text)
		return 0;
	cursor = copy = strdup(text);
	if (!copy || !array)
		return cli_no_memory(err);
	while ((piece = text_next(&cursor)))
		if (!*piece || json_array_append_new(array, json_string(piece)) < 0)
			return error_set(err, -EINVAL, ID,
				"--%s takes names separated by single commas, not '%s'",
				options[opt].name, text);
	return cli_put(object, name, json_incref(array), err);
}

int request_put_duration(json_t *object, const char *name, enum opt opt, const char *text,
	int64_t min, struct error *err)
{
	int64_t us;
	int r;

	if (!text)
		return 0;
	r = parse_duration(text, &us);
	if (r == -ERANGE)
		return error_set(err, -EINVAL, ID,
			"--%s: '%s' is too long; ten years are the limit", options[opt].name, text);
	if (r < 0)
		return error_set(err, -EINVAL, ID,
			"--%s takes a duration as 90s, 30m, 4h, 2d, 1w or 1h30m, not '%s'",
			options[opt].name, text);
	if (us < min)
		return error_set(err, -EINVAL, ID, "--%s must be longer than nothing, not '%s'",
			options[opt].name, text);
	return cli_put(object, name, json_integer(us), err);
}

int request_put_size(
	json_t *object, const char *name, enum opt opt, const char *text, struct error *err)
{
	uint64_t mib;
	int r;

	if (!text)
		return 0;
	r = parse_size(text, &mib);
	if (r == -ERANGE || (r == 0 && mib > INT64_MAX))
		return error_set(
			err, -EINVAL, ID, "--%s: '%s' is out of range", options[opt].name, text);
	if (r < 0)
		return error_set(err, -EINVAL, ID,
			"--%s takes a size with its unit as 24G or 8192M, not '%s'",
			options[opt].name, text);
	return cli_put(object, name, json_integer((json_int_t)mib), err);
}

static int put_note(json_t *object, const char *text, struct error *err)
{
	if (!text)
		return 0;
	if (strlen(text) > REQUEST_NOTE_MAX)
		return error_set(err, -EINVAL, ID, "the note has %zu bytes; at most %d are kept",
			strlen(text), REQUEST_NOTE_MAX);
	if (!text_is_utf8(text))
		return error_set(err, -EINVAL, ID, "the note is not valid UTF-8");
	return cli_put(object, "note", json_string(text), err);
}

/* Each text has one PID, or several with commas. */
static int put_adopt(json_t *object, char *const *texts, int n, struct error *err)
{
	json_t *array = json_array();

	if (cli_put(object, "adopt", array, err) < 0)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		_cleanup_(freep) char *copy = strdup(texts[i]);
		char *cursor = copy, *piece;
		uint64_t pid;

		while (copy && (piece = text_next(&cursor)))
			if (parse_uint(piece, 1, INT32_MAX, &pid) < 0 ||
				json_array_append_new(array, json_integer((json_int_t)pid)) < 0)
				return error_set(err, -EINVAL, ID,
					"--adopt takes the numbers of processes, not '%s'",
					texts[i]);
	}
	return 0;
}

static int put_wait(json_t *object, const struct arguments *args, struct error *err)
{
	const char *wait = args->values[OPT_WAIT], *no_wait = args->values[OPT_NO_WAIT];

	if (wait && no_wait)
		return error_set(
			err, -EINVAL, ID, "--wait and --no-wait contradict each other; give one");
	if (no_wait)
		return cli_put(object, "wait_us", json_integer(0), err);
	return request_put_duration(object, "wait_us", OPT_WAIT, wait, 0, err);
}

int request_put_gpus(json_t *object, const struct arguments *args, struct error *err)
{
	const char *const *values = args->values;
	int r = put_count(object, values[OPT_GPUS], err);

	if (r == 0)
		r = request_put_list(object, "gpus", OPT_GPU, values[OPT_GPU], err);
	if (r == 0)
		r = request_put_list(object, "types", OPT_TYPE, values[OPT_TYPE], err);
	if (r == 0)
		r = request_put_size(
			object, "min_memory_mib", OPT_MIN_MEMORY, values[OPT_MIN_MEMORY], err);
	if (r == 0)
		r = request_put_duration(object, "duration_us", OPT_TIME, values[OPT_TIME], 1, err);
	if (r == 0)
		r = put_note(object, values[OPT_NOTE], err);
	return r;
}

int request_parameters(
	const struct arguments *args, const char *kind, json_t **ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *object = json_object();
	const char *const *values = args->values;
	int r;

	r = cli_put(object, "kind", json_string(kind), err);
	if (r == 0)
		r = request_put_gpus(object, args, err);
	if (r == 0)
		r = request_put_duration(
			object, "duration_us", OPT_DURATION, values[OPT_DURATION], 1, err);
	if (r == 0)
		r = put_wait(object, args, err);
	if (r == 0 && values[OPT_ADOPT])
		r = put_adopt(object, args->words, args->n_words, err);
	if (r == 0 && values[OPT_FORCE])
		r = cli_put(object, "force", json_true(), err);
	if (r == 0)
		*ret = TAKE_PTR(object);
	return r;
}
