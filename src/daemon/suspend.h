/* SPDX-License-Identifier: MIT */
/*
 * Suspending a job so that its GPUs become free, and letting it go on later: exec/checkpoint.h does
 * it, asynchronously, in a program of its own that finishes also when the daemon dies meanwhile.
 * What happens to the lease is the caller's.
 *
 * The job holds its GPUs all the time: a suspend is over before they are given back, and restoring
 * opens the devices of the very same GPUs, so they are granted and the gate is open before a resume
 * is started.
 */
#pragma once

#include "daemon/manager.h"
#include "model/verdict.h"

enum suspend_outcome {
	SUSPEND_DONE,   /* as asked: nothing of it runs or has a GPU open; or all of it runs */
	SUSPEND_FAILED, /* (of a suspend alone) it runs on as before */
	SUSPEND_BROKEN, /* neither: its processes are to be killed */
};

/* Called once, from the loop, never from within the start. The lease may have ended meanwhile;
 * one that is no longer active was let run again, so that it can end, and is SUSPEND_FAILED.
 * sentence: why; empty when done. */
typedef void suspend_fn(struct manager *m, int64_t id, enum suspend_outcome outcome,
	const char *sentence, void *userdata);

/* May it be suspended now? By what is known; the driver may still refuse. */
struct verdict suspend_check(const struct manager *m, const struct lease *lease);

/* Both fail (negative errno) where nothing was begun, as with -EBUSY when one is going on for that
 * lease already; done is not called then. A resume of what runs is done at once. userdata, NULL or
 * of malloc(3), is ours until done, which takes it over; suspends_free() frees it. */
int suspend_start(struct manager *m, struct lease *lease, suspend_fn *done, void *userdata);
int suspend_resume(struct manager *m, struct lease *lease, suspend_fn *done, void *userdata);

/* Is either going on for it? */
bool suspend_is_busy(const struct manager *m, int64_t id);

/* At start, of a job that is active and not job->suspended: was it being suspended or resumed when
 * a daemon died? Then it is to be resumed. */
bool suspend_was_begun(const struct lease *lease);

/* Are there processes in a cgroup that a suspend has stopped, or is about to? */
bool suspend_is_marked(const char *cgroup);

/* Forgets all that goes on; it goes on. */
struct suspend *suspends_free(struct suspend *list);
