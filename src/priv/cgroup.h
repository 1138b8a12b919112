/* SPDX-License-Identifier: MIT */
/*
 * cgroup v2 directories, each holding the processes of one lease. Facts:
 * Documentation/admin-guide/cgroup-v2.rst (cgroup.events "populated" does not count zombies;
 * cgroup.kill since 5.14). Paths are absolute, without symbolic links, and made by the daemon from
 * cgroup_root_open() and numbers of its own; nothing that a user wrote is ever part of one.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* Where the first cgroup2 file system is mounted; *ret is owned by the caller. -EOPNOTSUPP:
 * nowhere.
 */
int cgroup_mount(char **ret);

/*
 * The directory below which leases get theirs. configured: an absolute path that may not exist yet
 * below a cgroup2 mount; NULL finds one: "runs" in the daemon's own cgroup when it is a systemd
 * service (it must have Delegate=yes), so that the service itself is not among them; else "dibs" at
 * the top of the first cgroup2 mount. Creates it. *ret is owned by the caller. -EOPNOTSUPP: no
 * cgroup v2, or it cannot be written: leases then live by their leader alone.
 */
int cgroup_root_open(const char *configured, char **ret, struct error *err);

/* mkdir; an existing one is fine. */
int cgroup_create(const char *path);

/* Moves a process with all its threads. -ESRCH: it is gone. */
int cgroup_attach(const char *path, pid_t pid);

/* 1 if a living process is in it or below it, 0 if not, -ENOENT if there is no such cgroup. */
int cgroup_populated(const char *path);

/* Is pid in it or below it? */
bool cgroup_has(const char *path, pid_t pid);

/*
 * Sends sig to every process in it and below, also to those that are forked meanwhile, each once.
 * Identity is checked through a pidfd, so a recycled pid is never hit. Returns how many were
 * signalled, or a negative errno (-ENOENT: no such cgroup). Bounded, so that processes that fork
 * faster than they can be signalled do not hold up the caller: then some are left over, and
 * cgroup_populated() says so.
 */
int cgroup_signal(const char *path, int sig);

/* SIGKILL to all of them, at once; before Linux 5.14 like cgroup_signal(). */
int cgroup_kill(const char *path);

/* Removes it and what is below. -EBUSY while processes are in it; gone already is fine. */
int cgroup_remove(const char *path);
