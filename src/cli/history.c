/* SPDX-License-Identifier: MIT */
/* Leases that have ended. */
#include "cli/cli.h"

enum client_exit verb_history(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs history' is not there yet");
}
