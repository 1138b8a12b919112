/* SPDX-License-Identifier: MIT */
/* Starts programs of ours; but for the supervisor of jobs, they must not have root. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct spawn {
	const char *const *argv; /* argv[0] is an absolute path */
	const char *const *env;  /* the whole environment, NULL-terminated */
	uid_t uid;               /* (uid_t)-1: stay who we are (a daemon without root) */
	gid_t gid;               /* not read then */
	int stdout_fd;           /* becomes its standard output; -1: /dev/null. stderr is ours */
	int stdin_fd;            /* becomes its standard input, above 2; 0: /dev/null */
	const char *cgroup;      /* directory of a cgroup that it is started in; NULL: ours */
	bool outlives;           /* goes on when we end, and may gain privileges */
};

/*
 * Fork, enter the cgroup, drop groups, gid, uid for good (verified), no_new_privs, a session of its
 * own, die with the parent, exec. Only the three standard descriptors stay open; signals are as
 * after a fresh start. Errors of the child before exec come back here. On success *ret_pid is the
 * child, to be waited for, and the return value a pidfd. uid or gid 0 is -EINVAL. Our own standard
 * descriptors must be open. Unless it outlives us, the child dies with the thread that called.
 */
int spawn(const struct spawn *what, pid_t *ret_pid, struct error *err);
