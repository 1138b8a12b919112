/* SPDX-License-Identifier: MIT */
/*
 * Whose turn is it?
 *
 * First come, first served among those who compete for the same GPUs. A later request may start
 * before an earlier one on GPUs that those ahead cannot use, or if by its own end it gives them
 * back before those ahead could start anyway (backfill). Nobody holds part of what they wait for.
 * Among requests that differ in number, type and duration nobody is delayed by those behind; where
 * lists of GPUs overlap, queue.c says what can happen.
 */
#pragma once

#include <stddef.h>

#include "model/pool.h"
#include "model/verdict.h"

struct queue_start {
	struct lease *lease; /* borrowed from the pool */
	struct gpu_set gpus;
};

/*
 * One scheduling pass: who of the waiting can start now, on which GPUs. Writes at most max starts
 * to ret, in the order of pool_queue, and returns how many. A waiting lease whose client does not
 * listen at the moment (!attached) keeps its place but is not started; who is blocked
 * (pool_blocked) has no place. An array may be among the starts several times: each time for one
 * element. Does not change the pool; without memory nobody starts. Nobody gets a GPU on which
 * something is still being revoked, whatever they force. O(waiting * GPU_SET_WORDS) plus O(GPUs log
 * GPUs) for each request that cannot start and is looked at, plus sorting where niceness or turns
 * differ.
 *
 * The GPUs of two starts are disjoint, unless both have shares. A share is of a card in use if one
 * has room for it: of that with the least room left; only else of a free one. Cards whose memory is
 * not known, or that somebody has alone, are not shared. So there may be more starts than GPUs.
 */
size_t queue_pass(const struct pool *pool, int64_t now_us, struct queue_start *ret, size_t max);

/* How often lease, which waits and is not blocked, may start at once: an array may for each of its
 * elements that may be active. */
size_t queue_starts(const struct lease *lease);

/*
 * Why lease (waiting, in the pool) cannot start now: a NOT_FREE verdict that names one GPU or a
 * number, who is in the way (as "uid 1000") and until when if that is known: "GPU 3 is leased by
 * uid 1000 until 18:40 (hold #41)"; or why it is blocked (pool_blocked). What to do about it
 * depends on who asked how, so the caller adds that. Times are shown as local wall clock (ledger
 * time + wall_offset_us), with the date if it is not the one on which lease was submitted.
 */
struct verdict queue_why(
	const struct pool *pool, const struct lease *lease, int64_t wall_offset_us);

/* The leases that lease waits for: those that hold a GPU it could use, and those ahead of it that
 * compete; if it is blocked, those that it starts after. At most max, in order of id; returns how
 * many. */
size_t queue_blockers(
	const struct pool *pool, const struct lease *lease, struct lease **ret, size_t max);
