/* SPDX-License-Identifier: MIT */
/*
 * dibs exec enters a lease and becomes the command, as dibs run does: whatever kind of lease it is,
 * the daemon puts this very process where those of the lease are.
 */
#include <string.h>

#include "cli/command.h"

enum client_exit verb_exec(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	char **argv = cli->args.words + 1;
	const char *id = cli->args.words[0];
	enum client_exit exit;

	argv += strcmp(*argv, "--") == 0;
	if (!*argv)
		return complain(EXIT_INVALID, "something is missing: dibs exec ID [--] COMMAND...");
	exit = command_check(cli, argv[0]);
	if (exit != EXIT_OK)
		return exit;
	parameters = json_pack("{ss}", "id", id + (*id == '#'));
	if (!parameters)
		return complain(EXIT_INVALID, "'%s' is not the number of a lease", id);
	exit = cli_call(cli, "org.dibs.Enter", parameters, &reply);
	return exit == EXIT_OK ? command_become(cli, reply, argv) : exit;
}
