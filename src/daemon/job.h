/* SPDX-License-Identifier: MIT */
/*
 * Batch jobs as the daemon runs them: each attempt has a supervisor (priv/supervisor.h), whose
 * record says what became of it. A job lives while its supervisor does, or, if that one was killed,
 * while its cgroup has a living process.
 */
#pragma once

#include "daemon/manager.h"

/* At start, with all leases loaded: takes up what runs, settles what has ended meanwhile, deletes
 * the records of what is not there any more. */
void job_reconcile_all(struct manager *m);

/* The gate is there: starts what was granted when the daemon died, lets go on what was suspended.
 */
void job_start_all(struct manager *m);

/* After the commit that made it active: starts the command, unless an attempt is on record already.
 * Idempotent. */
void job_apply(struct manager *m, struct lease *lease);

/* Looks what became of its attempt: the supervisor or the cgroup gave a sign. Only for jobs that
 * hold GPUs. */
void job_look(struct manager *m, struct lease *lease);

/* Its place among the cgroups, if there are any. -ENOMEM. */
int job_place(const struct manager *m, struct lease *lease);

/* After the commit that made it wait again: what was known of the attempt is forgotten (not of one
 * that is suspended), and it may have its turn. */
void job_waits_again(struct manager *m, struct lease *lease);

/* The commit failed, and lease->job is as it was before: how it ended is to be read anew. */
void job_undone(struct lease *lease);

/* Not before when (ledger time; 0 = at once) it starts again that leaves its GPUs because of why.
 */
int64_t job_begins_again(const struct manager *m, const struct lease *lease, enum lease_end why);

/* After the commit that ended it. */
void job_bury(struct manager *m, struct lease *lease);

/* Grace is over: kills what there is of it, its supervisor too if the command did not run yet. */
void job_kill(struct manager *m, struct lease *lease);

/* Was its command executed, and has not ended, by its record? */
bool job_runs(const struct manager *m, const struct lease *lease);

/* How it ended, in words: "exit status 1", "signal 9", or its reason. */
void job_describe_end(const struct job *job, char *dst, size_t size);

/* What the daemon keeps of a running attempt (watch->attempt). */
struct attempt;
struct attempt *attempt_free(struct attempt *attempt);
