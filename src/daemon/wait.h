/* SPDX-License-Identifier: MIT */
/* Clients that wait for what happens to leases that are not bound to them. */
#pragma once

#include "daemon/connection.h"

/* A connection waits for these; see connection->waits. */
struct waits;
struct waits *waits_free(struct waits *waits);

/* A lease has ended, and that is on disk: tells who waits for it. */
void wait_tell(struct manager *m, const struct lease *lease);

/* The call of c is answered when the suspend of that lease is over. -ENOMEM. */
int wait_for_suspend(struct connection *c, int64_t id);

/* It is; v says why it failed. If it did not, the lease is in the pool. */
void wait_tell_suspended(struct manager *m, int64_t id, const struct verdict *v);
