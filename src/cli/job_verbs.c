/* SPDX-License-Identifier: MIT */
/* What is done to jobs. */
#include "cli/cli.h"

enum client_exit verb_cancel(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs cancel' is not there yet");
}

enum client_exit verb_hold(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs hold' is not there yet");
}

enum client_exit verb_resume(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs resume' is not there yet");
}

enum client_exit verb_requeue(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs requeue' is not there yet");
}

enum client_exit verb_suspend(struct cli *cli)
{
	(void)cli;
	return complain(EXIT_FAULT, "'dibs suspend' is not there yet");
}
