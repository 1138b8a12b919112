/* SPDX-License-Identifier: MIT */
/* The moves of a lease as the daemon makes them: the transition, its journal line, what it sets in
 * motion. */
#pragma once

#include "daemon/manager.h"

void lifecycle_grant(struct manager *m, struct lease *lease, const struct gpu_set *gpus);

/* Ends a lease now or in the past. actor: who did it, or EVENT_NOBODY. */
void lifecycle_end(struct manager *m, struct lease *lease, enum lease_end why, int64_t at_us,
	uid_t actor, const char *detail);

/* Without root, the processes of others cannot be told anything. */
struct verdict lifecycle_can_release(const struct manager *m, const struct lease *lease);

/* Asks the processes of an active run or job to end, and sees to it that they do. */
void lifecycle_warn(struct manager *m, struct lease *lease, enum lease_end why, uid_t actor,
	const char *detail);

/* A job that holds GPUs gives them back and waits again, at the end of the queue and not before
 * begin_us (0: at once). actor, detail: as for the end. */
void lifecycle_requeue(
	struct manager *m, struct lease *lease, int64_t begin_us, uid_t actor, const char *detail);

/* A job makes room for others: it is suspended if it wishes to and can be, else ended, to start
 * anew. */
void lifecycle_switch(struct manager *m, struct lease *lease, enum lease_end why);

/* Gives a lease back whatever its state: a run or job is warned, all others end at once. */
void lifecycle_release(struct manager *m, struct lease *lease, enum lease_end why, uid_t actor,
	const char *detail);

/* Does what time alone asks of all leases now. */
void lifecycle_due(struct manager *m);

/* When it will next ask for something (ledger time, TIME_NEVER). */
int64_t lifecycle_next(const struct manager *m);

/* After the commit: makes the cgroup of a run, which the gate has to know. Idempotent. */
void lifecycle_prepare(struct manager *m, struct lease *lease);

/* After that: makes the world agree with a lease that was touched. Idempotent. */
void lifecycle_apply(struct manager *m, struct lease *lease);

/* At start: compares the leases that were stored with what still lives. -ENOMEM. */
int lifecycle_reconcile(struct manager *m);
