/* SPDX-License-Identifier: MIT */
/* What becomes of the lease when a job is suspended, and when it goes on. */
#pragma once

#include "daemon/manager.h"

struct connection;

/* Begins to suspend an active job, for its owner (who is answered when it is done, and has to
 * resume it; why is not read) or, with c NULL, because of why: then it goes on at its next turn,
 * and is requeued if it cannot be suspended. False: that is so, and nothing was begun; c was
 * answered. */
bool job_suspend(struct manager *m, struct lease *lease, struct connection *c, enum lease_end why);

/* After batch_touch(): it may have any GPUs again that it asked for. */
void job_unpin(const struct manager *m, struct lease *lease);

/* A suspended job was granted its GPUs again: lets it go on. Idempotent. */
void job_thaw(struct manager *m, struct lease *lease);
