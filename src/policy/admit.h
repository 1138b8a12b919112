/* SPDX-License-Identifier: MIT */
/*
 * May this request enter the queue at all? What this machine can never fulfil is refused at once,
 * with the reason; so is what the site's limits forbid. Pure: no clock, no I/O.
 */
#pragma once

#include "model/pool.h"
#include "model/verdict.h"

struct admit_limits {
	int64_t max_hold_us;
	int64_t max_job_us;         /* TIME_NEVER = no limit; else also that of who sets none */
	bool share;                 /* may jobs share GPUs? */
	unsigned requests_per_user; /* waiting and granted together */
	unsigned requests;          /* of all users */
};

/*
 * Turns what people type after --gpu ("0,3", UUIDs, unique UUID prefixes; case-insensitive, mixed)
 * into UUIDs, comma separated, in *ret_uuids (owned by the caller). Refused: an empty piece, an
 * unknown GPU, a prefix that fits several, the same GPU twice (however written). *ret_uuids is NULL
 * on refusal; a verdict of kind OK with *ret_uuids == NULL means that memory ran out.
 */
struct verdict admit_resolve(const struct pool *pool, const char *typed, char **ret_uuids);

/*
 * Checks a whole request of uid and computes the GPUs that could ever serve it. An explicit list
 * without a count is made to agree: request->count becomes the length of the list if it is 0. A job
 * without a limit gets max_job_us.
 * Refused as INVALID: count 0 without a list, count other than the length of the list, more GPUs
 * than exist (in all, of the type, of the memory, with a card for the share), an unknown type, a
 * hold of no time, force for anything but a hold, a share for anything but a job. Refused as
 * REFUSED: longer than max_hold_us or max_job_us, a share where there are none, limits of number.
 * An array counts as one request, and each of its elements that has started as one more. A GPU that
 * is drained or lost counts as existing.
 */
struct verdict admit_check(const struct pool *pool, const struct admit_limits *limits,
	enum lease_kind kind, uid_t uid, struct request *request, struct gpu_set *ret_eligible);

/* May uid be given one more lease? Refused as above: they may have requests_per_user. */
struct verdict admit_receiver(
	const struct pool *pool, const struct admit_limits *limits, uid_t uid);

/* The GPUs that satisfy the conditions of request (list, types, memory, share), whatever their
 * state. */
struct gpu_set admit_eligible(const struct pool *pool, const struct request *request);
