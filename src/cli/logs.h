/* SPDX-License-Identifier: MIT */
/* Following the output of a job to its end. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"
#include "cli/log_file.h"

/*
 * Waits for the job to start, prints what it prints, and returns EXIT_OK when it has ended and all
 * is printed; *ret is its lease then, owned by the caller. A job that never ran has no output, and
 * that is none of the failures: those are said already, but that nobody reads the output any more
 * (EXIT_FAULT). A dibsd that is restarted meanwhile is waited for. out is borrowed.
 */
enum client_exit logs_follow(struct cli *cli, int64_t id, const struct log_sink *out, json_t **ret);
