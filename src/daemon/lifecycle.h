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

/* Gives a lease back whatever its state: a run is warned, all others end at once. */
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
