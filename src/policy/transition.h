/* SPDX-License-Identifier: MIT */
/*
 * How a lease moves through its states: waiting -> active -> (grace ->) ended. Only these functions
 * move a lease that is stored, so the invariants are kept in one place: who waits holds nothing,
 * who ended has a reason and a time.
 */
#pragma once

#include "model/pool.h"
#include "model/verdict.h"

/* waiting -> active on gpus. A hold gets its expiry, a run its limit. */
void transition_grant(struct lease *lease, const struct gpu_set *gpus, int64_t now_us);

/* active -> grace: its processes are being asked to end, for that reason; KILL follows after
 * grace_us. */
void transition_warn(struct lease *lease, enum lease_end why, int64_t now_us, int64_t grace_us);

/* anything -> ended. at_us may lie in the past (a hold that expired while nobody looked), never in
 * the future. A lease in grace keeps the reason it got there. Its GPUs remember their user and
 * since when they are free. */
void transition_end(struct pool *pool, struct lease *lease, enum lease_end why, int64_t at_us);

/* Moves the expiry (or the limit of a run) by add_us; refused if there is none, if the lease is not
 * active, or if it would lie more than max_hold_us ahead of now (holds). */
struct verdict transition_extend(
	struct lease *lease, int64_t add_us, int64_t now_us, int64_t max_hold_us);

/* Hands an active hold to another user. Refused: other kinds and states, a hold whose time is over,
 * the present owner, a uid that is none. Whether the receiver may have more is admit_receiver's
 * business. The receiver is not idle yet. */
struct verdict transition_give(struct lease *lease, uid_t uid, int64_t now_us);

/* Gives back some GPUs of an active run or hold, which keeps the others; they remember their user
 * as at its end. An explicit list of GPUs is shortened in place. Refused: no GPUs, GPUs that it
 * does not hold, all that it holds. _can_ only asks. */
struct verdict transition_can_shrink(
	const struct pool *pool, const struct lease *lease, const struct gpu_set *gpus);
struct verdict transition_shrink(
	struct pool *pool, struct lease *lease, const struct gpu_set *gpus, int64_t now_us);

/* What time alone asks of a lease now. */
enum due {
	DUE_NOTHING,
	DUE_TIMEOUT, /* waiting: it has waited as long as it wished to: end it */
	DUE_EXPIRE,  /* hold: end it, at until_us */
	DUE_WARN,    /* run: limit reached: warn it */
	DUE_KILL,    /* grace is over: kill what is left */
};

/* *ret_next_us is when to ask again (TIME_NEVER: no need to). */
enum due transition_due(const struct lease *lease, int64_t now_us, int64_t *ret_next_us);
