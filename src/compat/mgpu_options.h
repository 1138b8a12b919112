/* SPDX-License-Identifier: MIT */
/*
 * The command line of mgpu_srun, with the options of all versions of Multi-GPU Scheduler: those for
 * one machine, and those of its versions for several (mgpu_srun_multinode, mgpu_client), which are
 * taken where one machine can do what they say.
 */
#pragma once

#include "cli/script.h"
#include "compat/mgpu.h"

#define MGPU_USAGE                                                                             \
	"Usage: mgpu_srun {--gpus <N> | --gpu-ids <ID1,ID2,...>} [--mem <MB>] [--time-limit "  \
	"<sec>] [--priority <N>] [--env-setup-cmd <CMD>] [--interactive] [--background] [--] " \
	"<command>"

enum mgpu_option {
	MGPU_GPUS,
	MGPU_GPU_IDS,
	MGPU_MEM,
	MGPU_TIME_LIMIT,
	MGPU_PRIORITY,
	MGPU_ENV_SETUP_CMD,
	MGPU_INTERACTIVE,
	MGPU_BACKGROUND,
	MGPU_NODES,
	MGPU_GPUS_PER_NODE,
	MGPU_NODELIST,
	MGPU_EXCLUDE,
	MGPU_NODE_GPU_IDS,
	MGPU_DISTRIBUTED,
	MGPU_MPI,
	MGPU_HELP,
	MGPU_UNUSED, /* this one and all that follow are taken, and do nothing */
	MGPU_HOST = MGPU_UNUSED,
	MGPU_PORT,
	MGPU_MASTER_HOST,
	MGPU_MASTER_PORT,
	MGPU_SESSION_TIMEOUT,
	MGPU_CONNECTION_TIMEOUT,
	MGPU_MAX_WAIT_TIME,
	MGPU_MAX_CONSECUTIVE_TIMEOUTS,
	MGPU_VERBOSE,
	MGPU_OPTION_MAX,
};

struct mgpu_options {
	const char *values[MGPU_OPTION_MAX]; /* borrowed from argv; "" = given; NULL = not given */
	char **words;                        /* the command: borrowed from argv, NULL at the end */
	int n_words;
};

/* "--" before the command may be left out. -EINVAL with a sentence. */
int mgpu_options_parse(char **argv, struct mgpu_options *ret, struct error *err);

/*
 * What they ask for; *ret borrows from given. host is the name of this machine. notes gets
 * sentences about what has no effect here. -EINVAL with a sentence, which for several machines says
 * what there is instead.
 */
int mgpu_options_read(const struct mgpu_options *given, const char *host, struct mgpu_job *ret,
	struct strings *notes, struct error *err);
