/* SPDX-License-Identifier: MIT */
/* What a job printed. */
#include "cli/cli.h"

enum client_exit verb_logs(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs logs' is not there yet");
}
