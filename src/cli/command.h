/* SPDX-License-Identifier: MIT */
/* Becoming somebody else's command, which then has the terminal and its exit status. */
#pragma once

#include "cli/cli.h"

/* Is visible "uuid", "index" or NULL? Can the command be run? EXIT_OK; or the sentence is said, and
 * it is the exit status of a shell: 126 or 127. */
enum client_exit command_check(struct cli *cli, const char *name);

/* Becomes it, with the environment for the GPUs of a reply to Request or Enter. Comes back only if
 * that fails. */
enum client_exit command_become(struct cli *cli, json_t *reply, char **argv);
