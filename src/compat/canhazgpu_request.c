/* SPDX-License-Identifier: MIT */
/*
 * run and reserve. What waits and what is granted is said on standard output, as the original does,
 * but for "reserve --short", whose output is made to be substituted.
 *
 * "run" becomes the command, as dibs run does: nothing has to supervise it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/gpu.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/quote.h"
#include "cli/request.h"
#include "compat/canhazgpu.h"
#include "model/request.h"

#define ID "usage.value"

/* One request, and how it is talked about. */
struct asking {
	struct manner manner; /* first: it is handed around as this */
	struct chg *chg;
	FILE *out;
	json_t *ids; /* owned: of --gpu-ids */
	int64_t count;
	int64_t position; /* said last; 0 = none */
	bool waited;
};

static void say_waiting(struct manner *manner, json_t *reply)
{
	struct asking *asking = (struct asking *)manner;
	int64_t position = wire_int(json_object_get(reply, "lease"), "position", 0);

	if (!asking->waited)
		fprintf(asking->out, "Waiting for GPUs... (queue position: %" PRId64 ")\n",
			position);
	else if (position != asking->position)
		fprintf(asking->out, "Queue position updated: %" PRId64 "\n", position);
	fflush(asking->out);
	asking->waited = true;
	asking->position = position;
}

/* The one of this index, or NULL. */
static json_t *find_gpu(json_t *gpus, json_t *id)
{
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		if (json_equal(json_object_get(gpu, "index"), id))
			return gpu;
	return NULL;
}

/* The first of those asked for that is not to be had; false: there is none (any more). */
static bool say_taken(struct asking *asking, json_t *status, const char *text)
{
	const struct view view = { .leases = json_object_get(status, "leases") };
	json_t *id;
	size_t i;

	json_array_foreach (asking->ids, i, id) {
		json_t *gpu = find_gpu(json_object_get(status, "gpus"), id);
		json_t *lease = gpu ? gpu_lease(gpu, &view) : NULL;
		long long index = (long long)json_integer_value(id);

		if (lease)
			return chg_fail("GPU %lld is already reserved by user '%s' (%s)", index,
				people_name(&asking->chg->cli.people, wire_int(lease, "uid", -1)),
				text);
		if (gpu && gpu_has_state(gpu, "foreign"))
			return chg_fail("GPU %lld is in use without reservation (%s)", index, text);
	}
	return false;
}

static bool say_too_few(const struct asking *asking, json_t *status, const char *text)
{
	json_t *gpu;
	size_t i, free = 0, foreign = 0;
	char more[120] = "";

	json_array_foreach (json_object_get(status, "gpus"), i, gpu) {
		free += gpu_has_state(gpu, "free");
		foreign += gpu_has_state(gpu, "foreign");
	}
	if (foreign)
		snprintf(more, sizeof(more),
			" (%zu GPUs in use without reservation - run 'canhazgpu status' for "
			"details)",
			foreign);
	return chg_fail("not enough GPUs available. Requested: %" PRId64 ", Available: %zu%s; %s",
		asking->count, free, more, text);
}

/* Not to be had: in the words of the original, and why, in those of dibs. */
static void say_not_free(struct asking *asking, const char *text)
{
	_cleanup_(json_decrefp) json_t *status = NULL;
	struct error err = { 0 };

	if (!chg_is(asking->chg, CHG_NONBLOCK)) {
		chg_fail("wait timeout exceeded (%s)", text);
		return;
	}
	if (client_call(NULL, "org.dibs.GetStatus", NULL, &status, &err) != EXIT_OK)
		chg_fail("%s", text);
	else if (json_array_size(asking->ids) == 0 || !say_taken(asking, status, text))
		say_too_few(asking, status, text);
}

static void complain_asking(struct manner *manner, enum client_exit exit, const char *text)
{
	if (exit == EXIT_NOT_FREE)
		say_not_free((struct asking *)manner, text);
	else
		chg_fail("%s", text);
}

/* How many, and which. */
static int put_gpus(struct asking *asking, json_t *parameters, struct error *err)
{
	const char *ids = chg_value(asking->chg, CHG_GPU_IDS);
	int64_t count = chg_int(asking->chg, CHG_GPUS), n;
	struct arguments args = { 0 };
	char number[24];

	asking->ids = chg_ids(ids);
	n = (int64_t)json_array_size(asking->ids);
	if (count < 0)
		return error_set(
			err, -EINVAL, ID, "gpu count must be positive, got %" PRId64, count);
	count = MAX(count, 1); /* 0 is what the original takes for "not said" */
	if (n > 0 && count != 1 && count != n)
		return error_set(err, -EINVAL, ID,
			"conflicting gpu count (%" PRId64 ") and gpu ids (count: %" PRId64 ")",
			count, n);
	asking->count = n ? n : count;
	snprintf(number, sizeof(number), "%" PRId64, asking->count);
	args.values[OPT_GPUS] = number;
	args.values[OPT_GPU] = n ? ids : NULL;
	return request_put_gpus(parameters, &args, err);
}

static int put_note(const struct asking *asking, json_t *parameters, struct error *err)
{
	_cleanup_(freep) char *note = NULL;
	struct arguments args = { 0 };
	int r = chg_join_note(
		chg_value(asking->chg, CHG_USER), chg_value(asking->chg, CHG_NOTE), &note, err);

	if (r < 0 || !*note)
		return r;
	args.values[OPT_NOTE] = note;
	return request_put_gpus(parameters, &args, err);
}

static int put_duration(const struct asking *asking, json_t *parameters, const char *name,
	enum chg_flag flag, bool zero, struct error *err)
{
	const char *text = chg_value(asking->chg, flag);
	int64_t us;
	int r;

	if (!*text && flag != CHG_DURATION)
		return 0;
	r = chg_parse_duration(text, &us, err);
	if (r < 0)
		return r;
	if (us == 0 && !zero)
		return error_set(err, -EINVAL, ID, "%s is no time at all", text);
	return cli_put(parameters, name, json_integer(us), err);
}

static int put_all(struct asking *asking, const char *kind, json_t *parameters, struct error *err)
{
	bool run = strcmp(kind, "run") == 0;
	int r = cli_put(parameters, "kind", json_string(kind), err);

	if (r == 0)
		r = put_gpus(asking, parameters, err);
	if (r == 0)
		r = put_note(asking, parameters, err);
	if (r == 0)
		r = put_duration(asking, parameters, "duration_us",
			run ? CHG_TIMEOUT : CHG_DURATION, false, err);
	if (r == 0 && chg_is(asking->chg, CHG_NONBLOCK))
		return cli_put(parameters, "wait_us", json_integer(0), err);
	if (r == 0)
		r = put_duration(asking, parameters, "wait_us", CHG_WAIT, true, err);
	return r;
}

static void interrupted(int signal)
{
	static const char text[] = "Error: interrupted while waiting in queue\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

/* What is ignored stays so, as with nohup. */
static void set_signals(void (*handler)(int))
{
	static const int signals[] = { SIGINT, SIGTERM };
	struct sigaction action = { .sa_handler = handler }, before;

	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
}

static enum client_exit ask(struct asking *asking, json_t *parameters, json_t **ret)
{
	struct manner *before = cli_manner();
	enum client_exit exit;

	asking->manner = (struct manner){ complain_asking, say_waiting };
	cli_set_manner(&asking->manner);
	set_signals(interrupted);
	exit = request_wait(&asking->chg->cli, parameters, ret);
	set_signals(SIG_DFL);
	cli_set_manner(before);
	return exit;
}

/* "Reserved 2 GPU(s): [0 1]" */
static void say_reserved(const struct asking *asking, json_t *reply)
{
	json_t *gpus = json_object_get(json_object_get(reply, "lease"), "gpus");
	_cleanup_(freep) char *ids = chg_format_ids(gpus);

	if (!chg_is(asking->chg, CHG_SHORT))
		printf("Reserved %zu GPU(s): %s", json_array_size(gpus), ids ? ids : "[]");
}

static int print_reserved(const struct asking *asking, json_t *parameters, json_t *reply)
{
	char gpus[LEASE_GPUS_SIZE], duration[CHG_DURATION_SIZE];

	say_reserved(asking, reply);
	lease_gpus(gpus, json_object_get(reply, "lease"));
	chg_format_duration(duration, wire_int(parameters, "duration_us", 0));
	if (chg_is(asking->chg, CHG_SHORT))
		fputs(gpus, stdout);
	else
		printf(" for %s\n\nRun the following command to run only on these GPUs:\n"
		       "export CUDA_VISIBLE_DEVICES=%s\n",
			duration, gpus);
	return 0;
}

static void clear(struct asking *asking)
{
	json_decref(asking->ids);
}

int chg_reserve(struct chg *chg)
{
	_cleanup_(json_decrefp) json_t *parameters = json_object(), *reply = NULL;
	_cleanup_(clear) struct asking asking = { .chg = chg,
		.out = chg_is(chg, CHG_SHORT) ? stderr : stdout };
	struct error err = { 0 };
	int r = put_all(&asking, "hold", parameters, &err);

	if (r == 0 && chg_is(chg, CHG_FORCE))
		r = cli_put(parameters, "force", json_true(), &err);
	if (r < 0)
		return chg_fail_error(chg, &err);
	return ask(&asking, parameters, &reply) == EXIT_OK
		       ? print_reserved(&asking, parameters, reply)
		       : 1;
}

static int check_command(const struct chg *chg, struct error *err)
{
	if (chg->n_words == 0)
		return error_set(err, -EINVAL, ID,
			"no command specified. You must provide a command to run: canhazgpu run "
			"[flags] -- <command>");
	if (!chg->dashes)
		return error_set(err, -EINVAL, ID,
			"missing '--' separator. You must use '--' to separate canhazgpu flags "
			"from your command: canhazgpu run [flags] -- %s ...",
			chg->words[0]);
	return 0;
}

static int put_command(const struct chg *chg, json_t *parameters, struct error *err)
{
	_cleanup_(freep) char *command =
		quote_command((const char *const *)chg->words, REQUEST_COMMAND_MAX);

	return command ? cli_put(parameters, "command", json_string(command), err)
		       : cli_no_memory(err);
}

static void print_running(const struct asking *asking, json_t *parameters, json_t *reply)
{
	int64_t timeout_us = wire_int(parameters, "duration_us", 0);
	char text[CHG_DURATION_SIZE];

	say_reserved(asking, reply);
	chg_format_duration(text, timeout_us);
	printf(timeout_us ? " for command execution (timeout: %s)\n" : " for command execution\n",
		text);
	fflush(stdout); /* before somebody else writes there */
}

/* 126 and 127 are the shell's for what cannot be run; all else that fails is 1. */
static int status_of(enum client_exit exit)
{
	return (int)exit >= 126 ? (int)exit : 1;
}

int chg_run(struct chg *chg)
{
	_cleanup_(json_decrefp) json_t *parameters = json_object(), *reply = NULL;
	_cleanup_(clear) struct asking asking = { .chg = chg, .out = stdout };
	struct error err = { 0 };
	enum client_exit exit;

	chg->cli.args.values[OPT_VISIBLE] = "index"; /* as programs that came here expect */
	if (check_command(chg, &err) < 0 || put_all(&asking, "run", parameters, &err) < 0 ||
		put_command(chg, parameters, &err) < 0)
		return chg_fail_error(chg, &err);
	exit = command_check(&chg->cli, chg->words[0]);
	if (exit == EXIT_OK)
		exit = ask(&asking, parameters, &reply);
	if (exit != EXIT_OK)
		return status_of(exit);
	print_running(&asking, parameters, reply);
	return status_of(command_become(&chg->cli, reply, chg->words));
}
