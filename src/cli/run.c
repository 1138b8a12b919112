/* SPDX-License-Identifier: MIT */
/*
 * dibs run becomes the command: same process, same terminal, same descriptors, same signals, so
 * that nothing stands between the shell and it, and its exit status needs no translation. The
 * daemon took this very process as the leader of the lease.
 *
 * Whether the command can be run is looked at before anybody is asked for anything, so that a
 * typing error does not wait for hours.
 */
#include <errno.h>

#include "cli/command.h"
#include "cli/quote.h"
#include "cli/request.h"
#include "model/request.h"

static int add_command(json_t *parameters, char **argv, struct error *err)
{
	_cleanup_(freep) char *command =
		quote_command((const char *const *)argv, REQUEST_COMMAND_MAX);

	if (!command || json_object_set_new(parameters, "command", json_string(command)) < 0)
		return cli_no_memory(err);
	return 0;
}

enum client_exit verb_run(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	char **argv = cli->args.words;
	struct error err = { 0 };
	enum client_exit exit;

	if (request_parameters(&cli->args, "run", &parameters, &err) < 0 ||
		add_command(parameters, argv, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	exit = command_check(cli, argv[0]);
	if (exit == EXIT_OK)
		exit = request_wait(cli, parameters, &reply);
	return exit == EXIT_OK ? command_become(cli, reply, argv) : exit;
}
