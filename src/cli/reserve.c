/* SPDX-License-Identifier: MIT */
/*
 * What is printed on standard output is made to be pasted or substituted, so everything about
 * waiting goes to standard error.
 */
#include "base/clock.h"
#include "cli/environment.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/request.h"

static enum client_exit print_short(json_t *lease)
{
	char gpus[LEASE_GPUS_SIZE];

	lease_gpus(gpus, lease);
	puts(gpus);
	return EXIT_OK;
}

static enum client_exit print_json(struct cli *cli, json_t *lease, const struct environment *e)
{
	_cleanup_(json_decrefp) json_t *object = public_lease(lease, &cli->people);
	json_t *variables = json_object();

	json_object_set_new(object, "environment", variables);
	for (unsigned i = 0; i < e->n; i++)
		json_object_set_new(
			variables, e->variables[i].name, json_string(e->variables[i].value));
	return cli_print_json(object);
}

static enum client_exit print_text(json_t *lease, const struct environment *environment)
{
	_cleanup_(freep) char *text = lease_sentence(lease, clock_wall());

	if (!text)
		return complain(EXIT_FAULT, "out of memory");
	puts(text);
	return environment_print(environment, stdout) < 0 ? complain(EXIT_FAULT, "out of memory")
							  : EXIT_OK;
}

enum client_exit verb_reserve(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	_cleanup_(environment_clear) struct environment environment = { 0 };
	struct error err = { 0 };
	enum client_exit exit;
	json_t *lease;

	if (cli_value(cli, OPT_SHORT) && cli_value(cli, OPT_JSON))
		return complain(EXIT_INVALID, "--short and --json contradict each other; give one");
	if (cli->args.n_words > 0 && !cli_value(cli, OPT_ADOPT))
		return complain(EXIT_INVALID, "'%s' is too much; see 'dibs reserve --help'",
			cli->args.words[0]);
	if (request_parameters(&cli->args, "hold", &parameters, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	exit = request_wait(cli, parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	lease = json_object_get(reply, "lease");
	if (cli_value(cli, OPT_SHORT))
		return print_short(lease);
	if (environment_build(reply, NULL, &environment) < 0)
		return complain(EXIT_FAULT, "out of memory");
	if (cli_value(cli, OPT_JSON))
		return print_json(cli, lease, &environment);
	return print_text(lease, &environment);
}
