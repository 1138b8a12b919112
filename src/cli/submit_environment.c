/* SPDX-License-Identifier: MIT */
/*
 * The environment that a job is given: as with sbatch that of the shell, but for what would be
 * wrong later. What the job's own shell, its session or its supervisor set anew is no loss.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/submit.h"

#define ID           "submit.environment"
#define VARIABLE_MAX (64 * 1024) /* bytes */
#define LARGEST      3           /* variables that are named if all are too much */

/* Patterns of fnmatch(3), and why. */
static const char *const left_out[] = {
	/* GPUs of this shell, not of the job; it gets its own. */
	"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
	"ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK",
	/* The lease of this shell, likewise. DIBS_SOCKET stays: so the job can ask, too. */
	"DIBS_LEASE", "DIBS_GPUS", "DIBS_JOB", "DIBS_ARRAY_*", "DIBS_RESTART_COUNT",
	/* A login session that may be over by then, and its directory with it. */
	"XDG_RUNTIME_DIR", "XDG_SESSION_*", "XDG_SEAT", "XDG_VTNR", "DBUS_SESSION_BUS_ADDRESS",
	/* What a service manager said to this very process. */
	"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC",
	"WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM", "MANAGERPID", "SYSTEMD_EXEC_PID",
	/* What the shell says to each program: its path, where it is and was, how deep. */
	"_", "PWD", "OLDPWD", "SHLVL"
};

static bool is_left_out(const char *variable)
{
	_cleanup_(freep) char *name = strndup(variable, strcspn(variable, "="));

	for (size_t i = 0; name && i < ELEMENTSOF(left_out); i++)
		if (fnmatch(left_out[i], name, 0) == 0)
			return true;
	return false;
}

/* Sets name=value in the object; a value that is none is a lack of memory. */
static int set(json_t *object, const char *variable, struct error *err)
{
	size_t length = strcspn(variable, "=");
	_cleanup_(freep) char *name = strndup(variable, length);

	if (!name || json_object_set_new(object, name, json_string(variable)) < 0)
		return cli_no_memory(err);
	return 0;
}

static int add_note(struct strings *notes, const char *variable, const char *reason)
{
	return strings_take(
		notes, text_format("%.*s is left out of the environment: %s",
			       (int)MIN(strcspn(variable, "="), 100), variable, reason));
}

/* One variable of the process. */
static int take(json_t *object, const char *variable, struct strings *notes, struct error *err)
{
	const char *reason = NULL;

	if (!strchr(variable, '=') || *variable == '=' || is_left_out(variable))
		return 0;
	if (!text_is_utf8(variable))
		reason = "it is not UTF-8";
	else if (strlen(variable) > VARIABLE_MAX)
		reason = "it has more than 64 KiB";
	if (!reason)
		return set(object, variable, err);
	return add_note(notes, variable, reason) < 0 ? cli_no_memory(err) : 0;
}

/* --env NAME=V, or NAME: as it is here. */
static int take_option(json_t *object, char *const *variables, const char *text, struct error *err)
{
	size_t length = strcspn(text, "=");

	if (length == 0 || !text_is_utf8(text))
		return error_set(err, -EINVAL, ID,
			"--env takes NAME or NAME=VALUE in UTF-8, not '%s'", text);
	if (text[length])
		return set(object, text, err);
	for (; *variables; variables++) {
		if (strncmp(*variables, text, length) != 0 || (*variables)[length] != '=')
			continue;
		if (!text_is_utf8(*variables))
			return error_set(
				err, -EINVAL, ID, "--env: the value of '%s' is not UTF-8", text);
		return set(object, *variables, err);
	}
	return 0;
}

static size_t size_of(json_t *object)
{
	const char *name;
	json_t *value;
	size_t size = 0;

	json_object_foreach (object, name, value)
		size += sizeof("env=") + json_string_length(value);
	return size;
}

/* The largest one, which is taken out of the object; it is in *name. 0 if there is none. */
static size_t take_largest(json_t *object, char name[64])
{
	const char *key, *largest = NULL;
	json_t *value;
	size_t size = 0;

	json_object_foreach (object, key, value) {
		if (json_string_length(value) <= size)
			continue;
		size = json_string_length(value);
		largest = key;
	}
	if (largest) {
		text_copy(name, 64, largest);
		json_object_del(object, largest);
	}
	return size;
}

static int too_large(json_t *object, size_t room, struct error *err)
{
	char largest[LARGEST * 100] = "", name[64];
	size_t size = size_of(object), n = 0, one;

	for (int i = 0; i < LARGEST && (one = take_largest(object, name)) > 0; i++)
		n += (size_t)snprintf(largest + n, sizeof(largest) - n, "%s%s (%zu)",
			i == 0 ? "" : ", ", name, one);
	return error_set(err, -EINVAL, ID,
		"the environment has %zu bytes, and there is room for %zu; the largest are %s. "
		"Submit with --no-env, and with --env NAME for what the job needs",
		size, room, largest);
}

int submit_environment(char *const *variables, const struct arguments *args, size_t room,
	json_t **ret, struct strings *notes, struct error *err)
{
	_cleanup_(json_decrefp) json_t *object = json_object(), *array = json_array();
	const char *text, *name;
	json_t *value;
	unsigned i = 0;
	int r = 0;

	for (char *const *v = variables; r == 0 && *v && !args->values[OPT_NO_ENV]; v++)
		r = take(object, *v, notes, err);
	while (r == 0 && (text = arguments_next(args, OPT_ENV, &i)))
		r = take_option(object, variables, text, err);
	if (r < 0)
		return r;
	if (size_of(object) > room)
		return too_large(object, room, err);
	json_object_foreach (object, name, value)
		if (json_array_append(array, value) < 0)
			return cli_no_memory(err);
	*ret = TAKE_PTR(array);
	return *ret ? 0 : cli_no_memory(err);
}
