/* SPDX-License-Identifier: MIT */
/* Hands a plan to dibsd. */
#pragma once

#include "cli/cli.h"
#include "import/plan.h"

struct sent {
	int64_t holds, history; /* imported */
	int64_t known;          /* had been imported before */
};

/* What dibsd did not take joins plan->skipped. What was sent before a failure, which is said, is
 * imported: it will be known. */
enum client_exit send_plan(struct cli *cli, struct plan *plan, struct sent *ret);

/* Processes of that user on these GPUs, as dibsd knows them now: "4711 4712", or "PID" if it knows
 * none or cannot be asked. */
#define PIDS_SIZE 200
void send_ask_pids(struct cli *cli, const struct plan_record *run, char dst[PIDS_SIZE]);
