/* SPDX-License-Identifier: MIT */
/*
 * What is done to jobs: cancel, hold, resume, requeue, suspend. Each is one method of dibsd, which
 * does it to all that are named, or says why to none. There is no patience to lose: what is
 * suspended may have eighty gigabytes to save.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/submit.h"

#define IDS_AT_ONCE 10000 /* as many as dibsd takes */

/* Appends ", place 3". */
static void put_place(struct cell *cell, json_t *lease)
{
	if (wire_int(lease, "position", 0))
		cell_printf(cell, ", place %" PRId64, wire_int(lease, "position", 0));
}

static bool is_in(json_t *lease, const char *state)
{
	return strcmp(wire_text(lease, "state"), state) == 0;
}

static void put_cancelled(struct cell *cell, json_t *lease, int number)
{
	char gpus[LEASE_GPUS_SIZE];

	lease_gpus(gpus, lease);
	if (!is_in(lease, "ended"))
		cell_printf(cell, "told to end");
	else
		cell_printf(cell, *gpus ? "ended" : "left the queue");
}

static void put_signalled(struct cell *cell, json_t *lease, int number)
{
	char text[SIGNAL_TEXT_SIZE];

	signal_text(text, number);
	cell_printf(cell, "was sent signal %s", text);
}

static void put_held(struct cell *cell, json_t *lease, int number)
{
	cell_printf(cell, "does not start until 'dibs resume'");
}

static void put_resumed(struct cell *cell, json_t *lease, int number)
{
	const char *blocked = wire_text(job_of(lease), "blocked");

	if (json_is_true(json_object_get(job_of(lease), "suspended")))
		cell_printf(cell, "goes on at its next turn");
	else
		cell_printf(cell, is_in(lease, "waiting") ? "waits for its turn" : "runs");
	put_place(cell, lease);
	if (*blocked)
		cell_printf(cell, " (%s)", blocked);
}

static void put_requeued(struct cell *cell, json_t *lease, int number)
{
	cell_printf(cell, is_in(lease, "waiting") ? "is back in the queue"
						  : "told to end; then it goes back to the queue");
	put_place(cell, lease);
}

static void put_suspended(struct cell *cell, json_t *lease, int number)
{
	if (json_is_true(json_object_get(job_of(lease), "suspended")))
		cell_printf(cell, "suspended; its GPUs are free, 'dibs resume' lets it go on");
	else
		put_requeued(cell, lease, number);
}

static const struct action {
	const char *name;
	void (*put)(struct cell *cell, json_t *lease, int number);
} cancel = { "cancel", put_cancelled }, send_signal = { "signal", put_signalled },
  hold = { "hold", put_held }, resume = { "resume", put_resumed },
  requeue = { "requeue", put_requeued }, suspend = { "suspend", put_suspended };

static void print_leases(struct cli *cli, const struct action *action, json_t *leases, int number)
{
	char text[JOB_NUMBER_SIZE];
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease) {
		struct cell cell = { 0 };

		job_number(text, lease);
		action->put(&cell, lease, number);
		term_fit(&cli->term, cell.text);
		printf("%s %s: %s\n", wire_text(lease, "kind"), text, cell.text);
	}
}

static enum client_exit call(struct cli *cli, json_t *parameters, json_t **ret)
{
	_cleanup_(client_close) struct client client;
	struct error err = { 0 };
	enum client_exit exit = EXIT_UNREACHABLE;
	bool more;
	int r = client_connect(&client, cli_value(cli, OPT_SOCKET), &err);

	if (r == 0)
		r = client_send(&client, "org.dibs.ControlJobs", parameters, false, &err);
	if (r == 0)
		r = client_receive(&client, ret, &more, &exit, &err);
	return r < 0 ? complain_error(cli, exit, &err) : EXIT_OK;
}

/* So many that they fit into one message. */
static enum client_exit control_some(struct cli *cli, const struct action *action, json_t *ids,
	size_t first, size_t end, int number)
{
	_cleanup_(json_decrefp) json_t *some = json_array(), *parameters = NULL, *reply = NULL;
	enum client_exit exit;

	for (size_t i = first; i < end; i++)
		json_array_append(some, json_array_get(ids, i));
	parameters = json_pack("{ss sO}", "action", action->name, "ids", some);
	if (number)
		json_object_set_new(parameters, "signal", json_integer(number));
	exit = call(cli, parameters, &reply);
	if (exit == EXIT_OK)
		print_leases(cli, action, json_object_get(reply, "leases"), number);
	return exit;
}

static enum client_exit control(struct cli *cli, const struct action *action, int number)
{
	_cleanup_(json_decrefp) json_t *ids = NULL;
	struct error err = { 0 };
	enum client_exit exit = EXIT_OK;
	size_t n;

	ids = job_parse_all((const char *const *)cli->args.words, &err);
	if (!ids)
		return complain_error(cli, EXIT_INVALID, &err);
	n = json_array_size(ids);
	for (size_t i = 0; i < n && exit == EXIT_OK; i += IDS_AT_ONCE)
		exit = control_some(cli, action, ids, i, MIN(n, i + IDS_AT_ONCE), number);
	return exit;
}

enum client_exit verb_cancel(struct cli *cli)
{
	const char *text = cli_value(cli, OPT_SIGNAL);
	int number = 0;

	if (text && signal_parse(text, &number) < 0)
		return complain(EXIT_INVALID,
			"'%s' is no signal; it takes a name as TERM or USR1, or a number", text);
	return control(cli, number ? &send_signal : &cancel, number);
}

enum client_exit verb_hold(struct cli *cli)
{
	return control(cli, &hold, 0);
}

enum client_exit verb_resume(struct cli *cli)
{
	return control(cli, &resume, 0);
}

enum client_exit verb_requeue(struct cli *cli)
{
	return control(cli, &requeue, 0);
}

enum client_exit verb_suspend(struct cli *cli)
{
	return control(cli, &suspend, 0);
}
