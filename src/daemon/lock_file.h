/* SPDX-License-Identifier: MIT */
/*
 * One lock file of the Python package gpu_lock, by whom it is respected that exactly one has a GPU.
 *
 * Its clients look whether the file is there, whether process "owner" lives (kill(owner, 0)), and
 * if not, remove it and open it anew for writing. The directory is root's and sticky, so that
 * nobody can remove or overwrite what is not theirs; then the one step that decides is link(2), and
 * who opens a file for writing that is being taken away is seen by a file lease (fcntl(2),
 * F_SETLEASE).
 *
 * Facts: gpu_lock.py of idsc-frazzoli/gpu_lock, first commit and 0.2.1. To them a process of
 * somebody else is dead (EPERM); 0 is not: kill(0, 0) means their own process group. So 0 is our
 * owner.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/parse.h"

#define LOCK_FILE_YOUNG_US (2 * USEC_PER_SEC)

enum lock_state {
	LOCK_NONE,    /* there is no such file */
	LOCK_OURS,    /* placed by dibsd */
	LOCK_LIVE,    /* of a process that lives */
	LOCK_WRITING, /* somebody has it open to write it: may become live, pid is 0 as yet */
	LOCK_STALE,   /* its process has ended, or it is none */
};

struct lock_file {
	enum lock_state state;
	uid_t uid; /* whose the file is */
	gid_t gid;
	pid_t pid;
	uint64_t start_ticks; /* of that process */
	int64_t written_ns;   /* when it was last written: with uid and pid, which one it is */
	bool young;           /* LOCK_WRITING for that alone: look again after LOCK_FILE_YOUNG_US */
};

/* What the file name (below directory dir) is now. Negative errno: that cannot be told. */
int lock_file_look(int dir, const char *name, struct lock_file *ret);

/* Puts a file of ours there: -EEXIST if there is one of others. Another one of ours is replaced,
 * and one that is stale. text as lock_file_text() made it. */
int lock_file_place(int dir, const char *name, const char *text);

/* Removes it, if it is ours, or stale; -EAGAIN: it is not any more. force: whosever it is. */
int lock_file_remove(int dir, const char *name, bool force);

/* The text of a file of ours for GPU index, which uid has from now on by the lease of that number.
 * The caller frees; NULL without memory. */
char *lock_file_text(int index, uid_t uid, int64_t lease);
