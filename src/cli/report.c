/* SPDX-License-Identifier: MIT */
/* What was held and used. */
#include "cli/cli.h"

enum client_exit verb_report(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs report' is not there yet");
}
