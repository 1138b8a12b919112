/* SPDX-License-Identifier: MIT */
/* Starts the command of a job: the one place where a user's program comes out of a process of
 * root's. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "exec/environment.h"
#include "exec/order.h"
#include "exec/report.h"
#include "exec/watchdog.h"

#define LAUNCH_LOGS REPORT_LOGS

struct launch {
	const struct order *order;
	const struct account *account;
	const char *const *environment;
	const struct rlimits *limits;  /* to begin with; what the order wants comes on top */
	const char *directory;         /* where it starts */
	const char *logs[LAUNCH_LOGS]; /* absolute; the second NULL: the same as the first */
	mode_t umask;
	int cgroup;          /* directory; -1: none */
	const char *oom_adj; /* for its oom_score_adj; NULL: as ours */
	bool change_user;    /* its groups are ours already */
	bool dies_with_us;
	int record; /* is told of the log */
	int tell;   /* not for the child, as the record: they show that we live */
};

struct launched {
	pid_t pid;
	int logs[LAUNCH_LOGS];        /* owned; to read; -1: is no file, or cannot be read */
	int64_t offsets[LAUNCH_LOGS]; /* where its output begins in there */
};

/* Waits until the command was executed, or says why not (one sentence, for its user). The watchdog
 * knows of the child from its first moment. */
int launch(const struct launch *what, struct watchdog *watchdog, struct launched *ret,
	struct error *err);
