/* SPDX-License-Identifier: MIT */
/*
 * Changes and answers that share one commit.
 *
 * Handlers change the pool in memory and leave their replies here. When the loop has nothing else
 * to do (or the batch is large or old) it is settled: time is looked at, the queue gets its pass,
 * everything that changed is written in one transaction, and only after the commit effects are
 * applied and replies sent. If the commit fails, the pool is put back to what the store has and
 * every reply becomes a fault: nothing was promised, nothing is half done.
 */
#pragma once

#include "daemon/manager.h"
#include "model/event.h"
#include "model/usage.h"
#include "model/verdict.h"

struct connection;

int batch_new(struct manager *m, struct batch **ret);
struct batch *batch_free(struct batch *batch);

/* A lease is about to be changed (or, new, was just added to the pool): remembers how it was, and
 * that it is to be stored. Must be called before the change. */
void batch_touch(struct manager *m, struct lease *lease);

/* The same for the decisions and the history of a GPU. */
void batch_touch_gpu(struct manager *m, unsigned slot);

/* Adds a line to the journal. lease, gpu and detail may be 0, NULL, NULL. */
void batch_event(struct manager *m, enum event_kind kind, int64_t lease, uid_t uid, const char *gpu,
	const char *detail);

/* The same for what happened in the past, such as an expiry while no daemon ran. */
void batch_event_at(struct manager *m, int64_t at_us, enum event_kind kind, int64_t lease,
	uid_t uid, const char *gpu, const char *detail);

/* The command of a job is not needed any more. */
void batch_forget_spec(struct manager *m, int64_t id);

/* A line of the account of a lease that ended elsewhere; and what its record was called there. */
void batch_usage(struct manager *m, const struct usage *usage);
void batch_import(struct manager *m, const char *origin, int64_t lease);

/* Is a record of that name about to be stored? */
bool batch_has_import(const struct manager *m, const char *origin);

/* Something changed that may let a waiting lease start. */
void batch_want_pass(struct manager *m);

/* An answer, sent after the commit. Takes ownership of text (NULL: no memory; the connection is
 * closed then). final: the call is answered; a commit that fails turns it into a fault. */
void batch_reply(struct manager *m, struct connection *connection, char *text, bool final);

/* Forgets the answers to a connection that is closing. */
void batch_forget(struct manager *m, const struct connection *connection);

/* Is there anything to settle? Then the pool may show what is not on disk. */
bool batch_pending(const struct manager *m);

/* Settles at once what is pending. Not from within a settlement. */
void batch_flush(struct manager *m);

/* A call was handled: settles at once when many share the batch already. */
void batch_call(struct manager *m);
