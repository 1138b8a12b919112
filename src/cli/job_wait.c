/* SPDX-License-Identifier: MIT */
/*
 * One call with "more" for all that are waited for; each that has ended is answered once. Jobs need
 * neither us nor dibsd to go on, so a dibsd that went away is waited for, however long that takes,
 * and then asked again for what is left.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/comeback.h"
#include "cli/job.h"
#include "cli/public.h"

#define IDS_AT_ONCE 1000 /* as many as dibsd takes */

struct waiting {
	struct cli *cli;
	struct client client;
	json_t *ids;   /* borrowed: all */
	size_t first;  /* of this round */
	json_t *ended; /* owned: leases that have ended, by what people call them */
	struct comeback comeback;
	bool lost; /* dibsd went away */
};

/* Those of this round that have not ended: a new array. NULL without memory. */
static json_t *ids_left(const struct waiting *w)
{
	_cleanup_(json_decrefp) json_t *left = json_array();
	json_t *id;
	size_t i;

	json_array_foreach (w->ids, i, id)
		if (i >= w->first && i < w->first + IDS_AT_ONCE &&
			!json_object_get(w->ended, json_string_value(id)) &&
			json_array_append(left, id) < 0)
			return NULL;
	return TAKE_PTR(left);
}

static int ask(struct waiting *w, struct error *err)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack("{so}", "ids", ids_left(w));
	int r = client_connect(&w->client, cli_value(w->cli, OPT_SOCKET), err);

	if (r < 0)
		return r;
	if (!parameters)
		return cli_no_memory(err);
	return client_send(&w->client, "org.dibs.WaitJobs", parameters, true, err);
}

/* Nothing is to be lost by patience: there is no deadline. */
static int ask_again(struct waiting *w, struct error *err)
{
	int r;

	client_close(&w->client);
	if (!w->lost) {
		comeback_end(&w->comeback);
		comeback_begin(&w->comeback, cli_value(w->cli, OPT_SOCKET));
		complain(EXIT_OK, "dibsd went away; the jobs go on, and are waited for when it is "
				  "back");
	}
	w->lost = true;
	/* It is not there, does not listen yet, or its socket has not got its mode yet. */
	do {
		comeback_pause(&w->comeback);
		r = ask(w, err);
	} while (r < 0 && r != -ENOMEM && r != -EMSGSIZE);
	return r;
}

static void complain_about(struct waiting *w, json_t *lease)
{
	struct cell cell = { 0 };
	char number[JOB_NUMBER_SIZE];

	if (job_exit_code(lease) == 0)
		return;
	job_number(number, lease);
	job_put_end(&cell, &w->cli->people, lease);
	if (job_is_array(lease) && wire_int(job_of(lease), "failed", 0))
		cell_printf(&cell, "%s%" PRId64 " of its elements failed", *cell.text ? "; " : "",
			wire_int(job_of(lease), "failed", 0));
	complain(EXIT_OK, "#%s %s: %s", number, wire_text(job_of(lease), "name"),
		*cell.text ? cell.text : wire_text(lease, "end"));
}

/* An element is asked for by its array and index; or by its own number. */
static int note_end(struct waiting *w, json_t *lease)
{
	char number[JOB_NUMBER_SIZE], id[JOB_NUMBER_SIZE];

	job_number(number, lease);
	snprintf(id, sizeof(id), "%" PRId64, wire_int(lease, "id", 0));
	complain_about(w, lease);
	if (json_object_set(w->ended, number, lease) < 0)
		return -ENOMEM;
	return json_object_set(w->ended, id, lease);
}

/* Reads replies until nothing is left. */
static enum client_exit follow(struct waiting *w, struct error *err)
{
	for (bool more = true; more;) {
		_cleanup_(json_decrefp) json_t *reply = NULL;
		enum client_exit exit;
		int r = client_receive(&w->client, &reply, &more, &exit, err);

		if (r == -ECONNRESET) {
			r = ask_again(w, err);
			if (r < 0)
				return complain_error(w->cli, EXIT_UNREACHABLE, err);
			more = true;
			continue;
		}
		if (r < 0)
			return complain_error(w->cli, exit, err);
		w->lost = false;
		if (note_end(w, json_object_get(reply, "lease")) < 0)
			return complain(EXIT_FAULT, "out of memory");
	}
	return EXIT_OK;
}

static int sum_up(const struct waiting *w, json_t **ret)
{
	json_t *id, *leases = json_array();
	int code = 0;
	size_t i;

	json_array_foreach (w->ids, i, id) {
		json_t *lease = json_object_get(w->ended, json_string_value(id));

		/* An element that never started has no lease of its own. */
		if (lease)
			json_array_append(leases, lease);
		if (code == 0)
			code = lease ? job_exit_code(lease) : JOB_EXIT_NONE;
	}
	if (ret)
		*ret = leases;
	else
		json_decref(leases);
	return code;
}

int job_wait(struct cli *cli, json_t *ids, json_t **ret)
{
	_cleanup_(json_decrefp) json_t *ended = json_object();
	struct waiting w = {
		.cli = cli, .ids = ids, .ended = ended, .comeback.inotify = -1, .client.fd = -1
	};
	struct error err = { 0 };
	enum client_exit exit;
	int r;

	do {
		client_close(&w.client);
		r = ask(&w, &err);
		exit = r < 0 ? complain_error(cli, EXIT_UNREACHABLE, &err) : follow(&w, &err);
		w.first += IDS_AT_ONCE;
	} while (exit == EXIT_OK && w.first < json_array_size(ids));
	comeback_end(&w.comeback);
	client_close(&w.client);
	return exit == EXIT_OK ? sum_up(&w, ret) : (int)exit;
}
