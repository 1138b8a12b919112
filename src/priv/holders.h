/* SPDX-License-Identifier: MIT */
/*
 * Who has a character device open: a gate acts at open(), so whoever loses a right is found by
 * this. /proc/PID/fd of every process, and of threads that have a table of descriptors of their
 * own, compared by st_rdev. A scan is done in steps, so that ten thousand processes do not hold up
 * the loop. Processes come and go meanwhile: only a whole scan that found nobody says that nobody
 * is left, and even that one does not see a descriptor on its way through a socket, one registered
 * with an io_uring, one that is moved about faster than we look (to another process, thread or
 * number: scans that go on finding nobody make that unlikely), nor a mapping without one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"

struct holder {
	pid_t pid;
	uint64_t start_ticks;
	uid_t uid; /* the real one */
	uint32_t major, minor;
	pid_t tid; /* where it was seen, a hint: the thread, ... */
	int fd;    /* ... and the number in its table */
};

struct holders;

/* A new scan for these devices (n pairs), of the processes of uid alone or, if it is -1, of all.
 * NULL without memory. */
struct holders *holders_new(const uint32_t (*devices)[2], size_t n, uid_t uid);
struct holders *holders_free(struct holders *scan);
DEFINE_CLEANUP(struct holders *, holders_free)

/* Looks at processes until budget_us is used up, and each time at something. It also stops inside
 * of a process with many descriptors. 1: call again; 0: all were looked at; or a negative errno:
 * all were looked at, but of some it could not be told (want of memory or descriptors; -EACCES:
 * rights that we lack, without CAP_SYS_PTRACE). Processes of root that are kept even from root are
 * passed over. */
int holders_step(struct holders *scan, int64_t budget_us);

/* What was found until now: one entry a process and device, never for kernel threads or ourselves,
 * nor for who only has a descriptor that opened nothing (O_PATH). Borrowed until the next step. */
const struct holder *holders_found(const struct holders *scan, size_t *ret_n);

/* Sends sig to just that process, if it still has the device open. -ESRCH: it ended, or its pid is
 * another's now, or it let go. -EAGAIN: it is no longer there where it was seen, and there is too
 * much to look through; scan again. */
int holder_signal(const struct holder *holder, int sig);
