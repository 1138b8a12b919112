/* SPDX-License-Identifier: MIT */
/* What a job executes: its program, or a shell that prepares it. */
#pragma once

#include "exec/environment.h"
#include "exec/order.h"

#define COMMAND_SCRIPT_FD   3
#define COMMAND_SCRIPT_PATH "/dev/fd/3"

struct command {
	const char *file;  /* for execvp(3) */
	const char **argv; /* owned; NULL-terminated; texts borrowed from the order, but for ... */
	char *venv;        /* owned: what is in argv; NULL = none */
};

/* Called as the user, in the directory of the job. A script is expected at COMMAND_SCRIPT_FD. An
 * environment that is asked for must be there. */
int command_build(const struct order *order, const struct account *account, struct command *ret,
	struct error *err);
void command_clear(struct command *command);
