/* SPDX-License-Identifier: MIT */
/* Starts a helper program that must not have root. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

struct spawn {
	const char *const *argv; /* argv[0] is an absolute path */
	const char *const *env;  /* the whole environment, NULL-terminated */
	uid_t uid;               /* (uid_t)-1: stay who we are (a daemon without root) */
	gid_t gid;
	int stdout_fd; /* becomes its standard output; -1: /dev/null. stdin is /dev/null, stderr is
			  ours */
};

/*
 * Fork, drop groups, gid, uid for good (verified), no_new_privs, die with the parent, exec. Errors
 * of the child before exec come back here. On success *ret_pid is the child and the return value a
 * pidfd.
 */
int spawn(const struct spawn *what, pid_t *ret_pid, struct error *err);
