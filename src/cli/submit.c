/* SPDX-License-Identifier: MIT */
/* Queues a batch job. */
#include "cli/cli.h"

enum client_exit verb_submit(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs submit' is not there yet");
}
