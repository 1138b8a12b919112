/* SPDX-License-Identifier: MIT */
/* Waits for jobs to end. */
#include "cli/cli.h"

enum client_exit verb_wait(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs wait' is not there yet");
}
