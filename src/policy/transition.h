/* SPDX-License-Identifier: MIT */
/*
 * How a lease moves through its states: waiting -> active -> (grace ->) ended. Only these functions
 * move a lease that is stored, so the invariants are kept in one place: who waits holds nothing,
 * who ended has a reason and a time.
 */
#pragma once

#include "model/pool.h"
#include "model/verdict.h"

/* waiting -> active on gpus. A hold gets its expiry, a run or job its limit. Of a job the record of
 * its last attempt is cleared, unless it is suspended: then it goes on with that attempt. Never for
 * an array: its elements start. */
void transition_grant(struct lease *lease, const struct gpu_set *gpus, int64_t now_us);

/* active -> grace: its processes are being asked to end, for that reason; KILL follows after
 * grace_us. */
void transition_warn(struct lease *lease, enum lease_end why, int64_t now_us, int64_t grace_us);

/* anything -> ended. at_us may lie in the past (a hold that expired while nobody looked), never in
 * the future. A lease in grace keeps the reason it got there. Its GPUs remember their user and
 * since when they are free. */
void transition_end(struct pool *pool, struct lease *lease, enum lease_end why, int64_t at_us);

/* active, grace (or suspended: waiting) -> waiting: a job goes to the place turn of the queue, not
 * to start before begin_us (0: at once); its GPUs remember their user. How it ended stays as the
 * record of this attempt; the lease has no end. job->restarts counts the attempt, and pid is that
 * of nobody any more, unless the job is suspended: set job->suspended before. */
void transition_requeue(
	struct pool *pool, struct lease *lease, int64_t turn, int64_t begin_us, int64_t at_us);

/* lease, which still holds these GPUs, gives them back: a part of the transitions above. A GPU that
 * others have a share of is not free yet. */
void transition_let_go(
	struct pool *pool, const struct lease *lease, const struct gpu_set *gpus, int64_t at_us);

/* waiting array -> one element of it, the lowest pending index: a new lease (the caller's; NULL
 * without memory, and nothing is changed) that waits under that id, at the place of its array in
 * the queue. An array without pending indices is active from then on. */
struct lease *transition_split(struct lease *array, int64_t id, int64_t now_us);

/* An element has ended: counts it; true if the array has ended with it (still to be said by
 * transition_end). An array that was ended before its elements counts them, too. */
bool transition_element_ended(struct lease *array, const struct lease *element);

/* A pending index of an array (-1: all of them) will never start: it counts as one that failed.
 * True if the array has ended with it (still to be said by transition_end). */
bool transition_drop(struct lease *array, int64_t index);

/* Moves the expiry (or the limit of a run or job) by add_us; refused if there is none, if the lease
 * is not active, or if it would lie too far ahead: of now for a hold, of its start for a job. A
 * hold that overruns gets it from now on. max_us is the longest time of its kind (TIME_NEVER:
 * none); runs have no such. */
struct verdict transition_extend(
	struct lease *lease, int64_t add_us, int64_t now_us, int64_t max_us);

/* A hold whose time is over goes on for grace_us, once. False: it does not (there is no grace, or
 * it was over; it ends with a process): end it. */
bool transition_overrun(struct lease *lease, int64_t grace_us);

/* Hands an active hold to another user. Refused: other kinds (a job has the processes of its owner)
 * and states, a hold whose time is over, the present owner, a uid that is none. Whether the
 * receiver may have more is admit_receiver's business. The receiver is not idle yet. */
struct verdict transition_give(struct lease *lease, uid_t uid, int64_t now_us);

/* Gives back some GPUs of an active run or hold, which keeps the others; they remember their user
 * as at its end. An explicit list of GPUs is shortened in place. Refused: no GPUs, GPUs that it
 * does not hold, all that it holds. _can_ only asks. */
struct verdict transition_can_shrink(
	const struct pool *pool, const struct lease *lease, const struct gpu_set *gpus);
struct verdict transition_shrink(
	struct pool *pool, struct lease *lease, const struct gpu_set *gpus, int64_t now_us);

/* Did it end as well as a job can: exit status 0 (an array: all its elements)? A lease that is no
 * job did if its processes ended, its time was over or its owner gave it back. */
bool transition_ended_well(const struct lease *lease);

/* lease (a job that waits) needs the end of ended (which has one). */
enum need_result {
	NEED_NOT,       /* it does not */
	NEED_FULFILLED, /* did; it is off the list now */
	NEED_BROKEN,    /* it ended otherwise: lease cannot start any more */
};
enum need_result transition_need(struct lease *lease, const struct lease *ended);

/*
 * What follows when the attempt of a job is over (its outcome is in lease->job, its processes are
 * gone). lease->end says why it was ended, or that it could not be started, was lost, or that the
 * machine was booted. Who was told to end in order to go back into the queue (job->then) does,
 * whatever it made of it; who was told to end for another reason ends. What is left is judged by
 * its outcome: a failure, unless it is 0, uses up a retry.
 */
enum job_next {
	JOB_NEXT_END,     /* for the reason in *ret_why */
	JOB_NEXT_REQUEUE, /* as it was asked for */
	JOB_NEXT_RETRY,   /* a retry was used up; not before *ret_begin_us: retry_delay_us after
			     the first attempt, twice as long after each further, at most a day */
};
enum job_next transition_job_next(struct lease *lease, int64_t now_us, int64_t retry_delay_us,
	enum lease_end *ret_why, int64_t *ret_begin_us);

/* What time alone asks of a lease now. */
enum due {
	DUE_NOTHING,
	DUE_TIMEOUT, /* waiting: it has waited as long as it wished to: end it */
	DUE_EXPIRE,  /* hold: end it, at until_us */
	DUE_WARN,    /* run: limit reached: warn it */
	DUE_KILL,    /* grace is over: kill what is left */
	DUE_SIGNAL,  /* job: its limit is near, as it wished to be told: set job->warned */
	DUE_BEGIN,   /* waiting job: may have its turn from now on: set job->begin_us to 0 */
};

/* *ret_next_us is when to ask again (TIME_NEVER: no need to, but for what the answer changes). What
 * is due stays so until the caller has done what the table says. */
enum due transition_due(const struct lease *lease, int64_t now_us, int64_t *ret_next_us);
