/* SPDX-License-Identifier: MIT */
/*
 * After a right has ended while the guard denies: finds who still has the GPU open, asks those
 * processes to end (terminal, TERM), kills them after the grace, and lets the GPU go when a whole
 * scan finds nobody. What does not die drains the GPU, with the reason.
 */
#pragma once

#include "daemon/manager.h"

struct revoke;

int revoke_new(struct manager *m, struct revoke **ret);
struct revoke *revoke_free(struct revoke *revoke);

/* lease gives these GPUs back now: marks them, if the guard denies. Before the commit. */
void revoke_mark(struct manager *m, const struct lease *lease, const struct gpu_set *gpus);

/* Nothing is denied any more: takes all marks away. */
void revoke_forget(struct manager *m);

/* Looks for holders of all that is marked. Idempotent; after a commit, and at start. */
void revoke_run(struct manager *m);
