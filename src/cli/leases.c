/* SPDX-License-Identifier: MIT */
/* What is done to a lease that exists: extend, give, shrink, release. */

#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/request.h"

/* What became of it. */
static enum client_exit print_lease(json_t *reply, const char *more)
{
	_cleanup_(freep) char *text = lease_sentence(json_object_get(reply, "lease"), clock_wall());

	if (!text)
		return complain(EXIT_FAULT, "out of memory");
	printf("%s%s\n", text, more);
	return EXIT_OK;
}

enum client_exit verb_extend(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *duration = cli->args.words[1];
	int64_t id, us;
	enum client_exit exit;

	exit = job_find(cli, cli->args.words[0], &id);
	if (exit != EXIT_OK)
		return exit;
	if (parse_duration(duration, &us) < 0 || us == 0)
		return complain(EXIT_INVALID,
			"'%s' is not a duration as 90s, 30m, 4h, 2d, 1w or 1h30m", duration);
	parameters = json_pack("{sI sI}", "id", (json_int_t)id, "duration_us", (json_int_t)us);
	exit = cli_call(cli, "org.dibs.Extend", parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	return print_lease(reply, "");
}

enum client_exit verb_give(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	_cleanup_(freep) char *owner = NULL;
	enum client_exit exit;
	uint32_t uid;
	int64_t id;

	exit = job_find(cli, cli->args.words[0], &id);
	if (exit != EXIT_OK)
		return exit;
	if (!people_find(cli->args.words[1], &uid))
		return complain(EXIT_INVALID, "there is no user '%s'", cli->args.words[1]);
	parameters = json_pack("{sI sI}", "id", (json_int_t)id, "uid", (json_int_t)uid);
	exit = cli_call(cli, "org.dibs.Give", parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	owner = text_format(", now of %s",
		people_name(&cli->people, wire_int(json_object_get(reply, "lease"), "uid", uid)));
	return print_lease(reply, owner ? owner : "");
}

enum client_exit verb_shrink(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *gpus = cli_value(cli, OPT_SHRINK_GPU);
	struct error err = { 0 };
	enum client_exit exit;
	int64_t id;

	if (!gpus)
		return complain(EXIT_INVALID, "--gpu LIST is missing: which GPUs to give back");
	exit = job_find(cli, cli->args.words[0], &id);
	if (exit != EXIT_OK)
		return exit;
	parameters = json_pack("{sI}", "id", (json_int_t)id);
	if (request_put_list(parameters, "gpus", OPT_SHRINK_GPU, gpus, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	exit = cli_call(cli, "org.dibs.Shrink", parameters, &reply);
	return exit == EXIT_OK ? print_lease(reply, "") : exit;
}

/* What fails is said already. */
static enum client_exit release_ids(struct cli *cli, json_t *parameters)
{
	json_t *ids = json_array();
	enum client_exit exit;
	int64_t id;

	if (cli->args.n_words > 0)
		json_object_set(parameters, "ids", ids);
	json_decref(ids);
	for (int i = 0; i < cli->args.n_words; i++) {
		exit = job_find(cli, cli->args.words[i], &id);
		if (exit != EXIT_OK)
			return exit;
		json_array_append_new(json_object_get(parameters, "ids"), json_integer(id));
	}
	return EXIT_OK;
}

static enum client_exit release_parameters(struct cli *cli, json_t *parameters)
{
	struct error err = { 0 };
	enum client_exit exit = release_ids(cli, parameters);

	if (exit != EXIT_OK)
		return exit;
	if (cli_value(cli, OPT_ALL))
		json_object_set_new(parameters, "all", json_true());
	if (request_put_list(
		    parameters, "gpus", OPT_RELEASE_GPU, cli_value(cli, OPT_RELEASE_GPU), &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	if (json_object_size(parameters) > 1)
		return complain(EXIT_INVALID, "give either IDs, or --gpu, or --all");
	return EXIT_OK;
}

enum client_exit verb_release(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = json_object(), *reply = NULL;
	enum client_exit exit = release_parameters(cli, parameters);
	json_t *leases, *lease;
	size_t i;

	if (exit != EXIT_OK)
		return exit;
	exit = cli_call(cli, "org.dibs.Release", parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	leases = json_object_get(reply, "leases");
	json_array_foreach (leases, i, lease)
		lease_print_released(lease);
	if (json_array_size(leases) == 0)
		puts("nothing to release");
	return EXIT_OK;
}
