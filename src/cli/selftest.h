/* SPDX-License-Identifier: MIT */
/*
 * "dibs selftest" tries claims about the gate, with processes of two users that nobody is. What is
 * tried runs in a process of its own, the worker, which writes its results into memory that it
 * shares with the one that prints and cleans up.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "cli/selftest_report.h"

struct selftest {
	struct report *report; /* shared with the worker */
	const char *socket;    /* of the dibsd of this machine; borrowed */
	const char
		*sessions;  /* the cgroup that it guards, absolute; "" = there is none; borrowed */
	uid_t uids[2];      /* of nobody */
	char directory[64]; /* root's own, and empty */
	char cgroup[256];   /* of ours; "" = no cgroup v2 */
	char own_sessions[320]; /* a cgroup of ours below sessions, or "" */
};

/* What workers do. */
void selftest_simulated(const struct selftest *test);
void selftest_gpu(const struct selftest *test);

/* Makes a cgroup below another; the path is put to ret. Negative errno. */
int selftest_cgroup(const char *parent, const char *name, char *ret, size_t size);

/* Kills what is in a cgroup of ours, and removes it with all below it. Negative errno. */
int selftest_remove_cgroup(const char *path);
