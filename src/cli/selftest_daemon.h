/* SPDX-License-Identifier: MIT */
/* A dibsd of our own, with a directory and a cgroup of its own. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct own_daemon {
	char directory[96]; /* where its configuration, state, socket and log are */
	char sessions[320]; /* the cgroup that it guards; "" = none */
	char runs[320];     /* the cgroup for its runs; "" = none */
	const char *method; /* of the guard: "filter" or "acl" */
	const char *sensor; /* a program, or NULL: simulated GPUs */
	pid_t pid;          /* 0 = does not run */
	int pidfd, notify;
	char socket[128], gpu[128]; /* gpu: uuid of the first; known once it was started */
	unsigned minor;             /* of its node */
};

#define OWN_DAEMON_NONE ((struct own_daemon){ .pidfd = -1, .notify = -1 })

/* Starts it (again, on the same state), and returns when it is ready. */
int own_daemon_start(struct own_daemon *daemon, struct error *err);

/* By KILL. */
void own_daemon_kill(struct own_daemon *daemon);

/* Kills it, closes all. */
void own_daemon_release(struct own_daemon *daemon);

/* Its reply to org.dibs.GetStatus, owned by the caller. */
int own_daemon_status(const struct own_daemon *daemon, json_t **ret, struct error *err);
