/* SPDX-License-Identifier: MIT */
/*
 * Takes the GPUs away from the processes of a job, which stay in memory, and gives them back. See
 * docs/decisions/0015-suspend.md for the order and why.
 *
 * Fields of such an order, beside those that priv/supervisor.h names: node=MAJOR:MINOR, any number:
 * devices that no process of the cgroup may have open when it is suspended. Without tool, no
 * process may use a GPU: then all that is done is to freeze.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define CHECKPOINT_PIDS_MAX  512
#define CHECKPOINT_NODES_MAX 512

struct checkpoint {
	bool resume;
	const char *cgroup, *tool; /* borrowed from the order */
	pid_t pids[CHECKPOINT_PIDS_MAX];
	size_t n_pids;
	uint32_t nodes[CHECKPOINT_NODES_MAX][2];
	size_t n_nodes;
	int64_t timeout_us; /* of what is asked for; undoing it may take as long again */
};

/* -EINVAL: it is no such order. */
int checkpoint_parse(const char *order, size_t size, struct checkpoint *ret, struct error *err);

/*
 * Does it, one at a time for each cgroup. Of a suspend, a negative errno means that all run on as
 * before, but for -ENOTRECOVERABLE: some cannot. Of a resume each means that. Resuming what runs,
 * or is only half suspended, is fine.
 */
int checkpoint_do(const struct checkpoint *what, struct error *err);

/* The whole program: does what the order says, and writes the one line "done", "failed SENTENCE" or
 * "broken SENTENCE" (-ENOTRECOVERABLE, or a resume that failed) to tell, which it closes. Returns
 * the exit status. */
int checkpoint_main(const char *order, size_t size, int tell);
