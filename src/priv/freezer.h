/* SPDX-License-Identifier: MIT */
/*
 * The freezer of a cgroup, with all that is below it, and what is remembered with the cgroup
 * itself. Facts: Documentation/admin-guide/cgroup-v2.rst (cgroup.freeze since Linux 5.2; what is
 * frozen can be killed; cgroup.events "frozen" says that all of it stands still). dir is the
 * directory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Freezes or thaws, and waits until that is so. -ETIMEDOUT: not until the deadline
 * (CLOCK_MONOTONIC); then it is still asked for. */
int freezer_set(int dir, bool frozen, int64_t deadline_ms);

/* Which processes were to be suspended: an extended attribute of the directory, which goes with it.
 * It is there from before the first is touched until all of them run again. user.*: since
 * Linux 5.7.
 */
#define FREEZER_MARK "user.dibs.suspend"
int freezer_mark(int dir, const pid_t *pids, size_t n);
int freezer_unmark(int dir);

/* Fills at most max pids; how many, or -ENODATA: there is no mark. */
int freezer_read_mark(int dir, pid_t *ret_pids, size_t max);
