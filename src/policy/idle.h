/* SPDX-License-Identifier: MIT */
/*
 * When a lease is held for nothing. A GPU does something while it computes (utilisation above 0),
 * while memory on it moves, or while a process of its lease is on it. Memory moves when its figure
 * was another one than before in three of the latest eight samples: something that comes once, or
 * comes and goes again, is no movement.
 *
 * Nobody is idle without evidence. A GPU that tells neither utilisation nor processes, that is lost
 * or was never looked at, counts as busy; so does one that always claims to compute. A lease is
 * idle only while all its GPUs are. Pure.
 */
#pragma once

#include "model/pool.h"

struct idle_limits {
	int64_t after_us[LEASE_KIND_MAX]; /* 0 = never */
	int64_t grace_us;                 /* between the warning and the release */
};

enum idle_verdict {
	IDLE_NOTHING,
	IDLE_WARN,    /* its owner is to be warned; lease->idle_release_us was set */
	IDLE_RELEASE, /* give it back */
};

/* A GPU was read anew: remembers whether it did something. Call once for each sample, after its
 * metrics and processes were taken. */
void idle_note(struct gpu *gpu, int64_t now_us);

/* Time went by without evidence (no samples): idleness starts anew for all GPUs. */
void idle_forget(struct pool *pool, int64_t now_us);

/* Looks at a lease after a sample; updates its active_us and idle_release_us. Whoever is found to
 * do something was not warned: it takes another warning to release them. What does not hold GPUs
 * (an array, say), or is about to give them back, is let be. */
enum idle_verdict idle_judge(const struct pool *pool, struct lease *lease,
	const struct idle_limits *limits, int64_t now_us);
