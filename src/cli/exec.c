/* SPDX-License-Identifier: MIT */
/* Runs a command inside of a lease. */
#include "cli/cli.h"

enum client_exit verb_exec(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs exec' is not there yet");
}
