/* SPDX-License-Identifier: MIT */
/*
 * Times are added with saturation: TIME_NEVER plus anything stays TIME_NEVER, and a duration that
 * no clock can reach becomes it. A lease that already is in grace ends for the reason that put it
 * there: that its processes then exited is what was wanted, not news.
 */
#include "policy/transition.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

static bool ends_by_clock(const struct lease *lease)
{
	return lease->kind == LEASE_HOLD || lease->kind == LEASE_BOOKING;
}

/* How the attempt before this one ended. */
static void forget_attempt(struct job *job)
{
	job->exit_status = -1;
	job->exit_signal = 0;
	job->reason[0] = '\0';
}

void transition_grant(struct lease *lease, const struct gpu_set *gpus, int64_t now_us)
{
	assert(lease->state == LEASE_WAITING || lease->state == LEASE_BOOKED);
	assert(gpu_set_count(gpus) == lease->request.count);
	assert(!lease->job || !lease->job->is_array);

	lease->state = LEASE_ACTIVE;
	lease->gpus = *gpus;
	lease->since_us = now_us;
	if (lease->started_us == 0)
		lease->started_us = now_us;
	lease->until_us = time_add(now_us, lease->request.duration_us);
	if (lease->job && !lease->job->suspended)
		forget_attempt(lease->job);
}

void transition_warn(struct lease *lease, enum lease_end why, int64_t now_us, int64_t grace_us)
{
	assert(lease->state == LEASE_ACTIVE);

	lease->state = LEASE_GRACE;
	lease->end = why;
	lease->kill_us = time_add(now_us, grace_us);
}

/* Has another lease a share of it? */
static bool has_others(const struct pool *pool, const struct lease *lease, unsigned slot)
{
	if (lease->request.share_mib == 0)
		return false;
	return pool_holder(pool, slot) != lease || pool_next_holder(pool, slot, lease);
}

void transition_let_go(
	struct pool *pool, const struct lease *lease, const struct gpu_set *gpus, int64_t at_us)
{
	gpu_set_foreach (slot, gpus) {
		gpu_note_use(&pool->gpus[slot], lease->uid, at_us);
		if (!has_others(pool, lease, slot))
			pool->gpus[slot].free_since_us = at_us;
	}
}

void transition_end(struct pool *pool, struct lease *lease, enum lease_end why, int64_t at_us)
{
	assert(lease->state != LEASE_ENDED);
	assert(why != LEASE_END_NONE);

	if (lease_holds(lease))
		transition_let_go(pool, lease, &lease->gpus, at_us);
	if (lease->state != LEASE_GRACE)
		lease->end = why;
	lease->state = LEASE_ENDED;
	lease->ended_us = at_us;
}

static struct verdict check_extendable(const struct lease *lease, int64_t add_us, int64_t now_us)
{
	const char *kind = lease_kind_to_string(lease->kind);

	if (add_us <= 0 || add_us > DURATION_MAX_US)
		return verdict_make(VERDICT_INVALID, "lease.bad-time",
			"the time to add to %s #%" PRId64
			" must be more than 0s and at most ten years",
			kind, lease->id);
	if (!lease_holds(lease))
		return verdict_make(VERDICT_REFUSED, "lease.not-active",
			"%s #%" PRId64 " is %s, only one that holds GPUs can be extended", kind,
			lease->id, lease_state_to_string(lease->state));
	if (lease->until_us == TIME_NEVER)
		return verdict_make(VERDICT_REFUSED, "lease.no-limit",
			"%s #%" PRId64 " has no time limit, there is nothing to extend", kind,
			lease->id);
	if (lease->state == LEASE_GRACE || lease->until_us <= now_us)
		return verdict_make(VERDICT_REFUSED, "lease.over",
			"the time of %s #%" PRId64 " is over; ask for GPUs anew", kind, lease->id);
	return verdict_ok();
}

struct verdict transition_extend(
	struct lease *lease, int64_t add_us, int64_t now_us, int64_t max_us)
{
	struct verdict v = check_extendable(lease, add_us, now_us);
	bool late = lease->state == LEASE_ACTIVE && lease->kill_us != TIME_NEVER;
	int64_t until_us = time_add(late ? now_us : lease->until_us, add_us);
	bool job = lease->kind == LEASE_JOB;
	int64_t from_us = job ? lease->since_us : now_us;

	if (v.kind != VERDICT_OK)
		return v;
	if ((job || ends_by_clock(lease)) && until_us > time_add(from_us, max_us)) {
		char most[DURATION_TEXT_SIZE], wanted[DURATION_TEXT_SIZE];

		format_duration(most, max_us);
		format_duration(wanted, until_us - from_us);
		return verdict_make(VERDICT_REFUSED, "lease.too-long",
			"%s #%" PRId64 " would end %s%s; at most %s from %s is allowed here",
			lease_kind_to_string(lease->kind), lease->id, job ? "after " : "in ",
			wanted, most, job ? "its start" : "now");
	}
	lease->until_us = until_us;
	if (late)
		lease->kill_us = TIME_NEVER;
	return v;
}

bool transition_overrun(struct lease *lease, int64_t grace_us)
{
	if (grace_us == 0 || lease->kill_us != TIME_NEVER || lease->request.bound != BOUND_NOT)
		return false;
	lease->kill_us = lease->until_us;
	lease->until_us = time_add(lease->until_us, grace_us);
	return true;
}

static const char *state_in_words(const struct lease *lease)
{
	return lease->state == LEASE_GRACE ? "about to end" : lease_state_to_string(lease->state);
}

static struct verdict check_givable(const struct lease *lease, uid_t uid, int64_t now_us)
{
	const char *kind = lease_kind_to_string(lease->kind);

	if (lease->kind != LEASE_HOLD)
		return verdict_make(VERDICT_REFUSED, "lease.not-a-hold",
			"%s #%" PRId64 " belongs to the processes of its owner, only holds can be "
			"given to others",
			kind, lease->id);
	if (lease->request.bound != BOUND_NOT)
		return verdict_make(VERDICT_REFUSED, "lease.bound",
			"%s #%" PRId64 " ends with process %d of its owner; it cannot be given to "
			"others",
			kind, lease->id, (int)lease->pid);
	if (lease->state != LEASE_ACTIVE)
		return verdict_make(VERDICT_REFUSED, "lease.not-active",
			"%s #%" PRId64 " is %s, only an active one can be given to others", kind,
			lease->id, state_in_words(lease));
	if (lease->until_us <= now_us)
		return verdict_make(VERDICT_REFUSED, "lease.over",
			"the time of %s #%" PRId64 " is over", kind, lease->id);
	if (uid == (uid_t)-1)
		return verdict_make(VERDICT_INVALID, "lease.no-user",
			"%s #%" PRId64 " cannot be given to uid %u, which nobody has", kind,
			lease->id, (unsigned)uid);
	if (uid == lease->uid)
		return verdict_make(VERDICT_INVALID, "lease.same-user",
			"%s #%" PRId64 " is uid %u's already", kind, lease->id, (unsigned)uid);
	return verdict_ok();
}

struct verdict transition_give(struct lease *lease, uid_t uid, int64_t now_us)
{
	struct verdict v = check_givable(lease, uid, now_us);

	if (v.kind != VERDICT_OK)
		return v;
	lease->uid = uid;
	lease->pid = 0; /* the process that asked is not of its owner any more */
	lease->start_ticks = 0;
	lease->request.force = false; /* whom the giver let be on it is no guest of the receiver */
	lease->active_us = now_us;
	lease->idle_release_us = 0;
	return v;
}

struct verdict transition_can_shrink(
	const struct pool *pool, const struct lease *lease, const struct gpu_set *gpus)
{
	const char *kind = lease_kind_to_string(lease->kind);
	struct gpu_set others = gpu_set_minus(*gpus, &lease->gpus);
	struct gpu_set kept = gpu_set_minus(lease->gpus, gpus);

	if ((lease->kind != LEASE_RUN && lease->kind != LEASE_HOLD) || lease->state != LEASE_ACTIVE)
		return verdict_make(VERDICT_REFUSED, "lease.not-active",
			"%s #%" PRId64 " is %s, only an active run or hold can give GPUs back",
			kind, lease->id, state_in_words(lease));
	if (gpu_set_empty(gpus))
		return verdict_make(VERDICT_INVALID, "lease.no-gpus",
			"say which GPUs %s #%" PRId64 " gives back", kind, lease->id);
	if (!gpu_set_empty(&others))
		return verdict_make(VERDICT_INVALID, "lease.not-its-gpu",
			"GPU %d is not one of %s #%" PRId64,
			pool->gpus[gpu_set_next(&others, 0)].index, kind, lease->id);
	if (gpu_set_empty(&kept))
		return verdict_make(VERDICT_INVALID, "lease.all-gpus",
			"%s #%" PRId64 " would have no GPU left; give all of it back with 'dibs "
			"release %" PRId64 "'",
			kind, lease->id, lease->id);
	return verdict_ok();
}

/* Makes an explicit list those GPUs that the lease holds: a part of it, so it fits. */
static void shorten_list(const struct pool *pool, const struct lease *lease)
{
	size_t size = strlen(lease->request.gpus) + 1, n = 0;

	gpu_set_foreach (slot, &lease->gpus)
		n += (size_t)snprintf(lease->request.gpus + n, size - n, "%s%s", n ? "," : "",
			pool->gpus[slot].uuid);
}

struct verdict transition_shrink(
	struct pool *pool, struct lease *lease, const struct gpu_set *gpus, int64_t now_us)
{
	struct verdict v = transition_can_shrink(pool, lease, gpus);

	if (v.kind != VERDICT_OK)
		return v;
	transition_let_go(pool, lease, gpus, now_us);
	lease->gpus = gpu_set_minus(lease->gpus, gpus);
	lease->request.count = gpu_set_count(&lease->gpus);
	if (lease->request.gpus) {
		lease->eligible = gpu_set_minus(lease->eligible, gpus);
		shorten_list(pool, lease);
	}
	return v;
}

static enum due due_while_waiting(const struct lease *lease, int64_t *ret_at_us)
{
	int64_t begin_us = lease->job && lease->job->begin_us ? lease->job->begin_us : TIME_NEVER;

	*ret_at_us = MIN(lease->wait_until_us, begin_us);
	return begin_us < lease->wait_until_us ? DUE_BEGIN : DUE_TIMEOUT;
}

static enum due due_while_active(const struct lease *lease, int64_t now_us, int64_t *ret_at_us)
{
	const struct job *job = lease->job;

	*ret_at_us = lease->until_us;
	if (!job || job->warn_signal == 0 || job->warned || lease->until_us == TIME_NEVER ||
		lease->until_us <= now_us)
		return ends_by_clock(lease) ? DUE_EXPIRE : DUE_WARN;
	*ret_at_us = lease->until_us - job->warn_us;
	return DUE_SIGNAL;
}

enum due transition_due(const struct lease *lease, int64_t now_us, int64_t *ret_next_us)
{
	int64_t at_us = TIME_NEVER;
	enum due due = DUE_NOTHING;

	switch (lease->state) {
	case LEASE_WAITING:
		due = due_while_waiting(lease, &at_us);
		break;
	case LEASE_ACTIVE:
		due = due_while_active(lease, now_us, &at_us);
		break;
	case LEASE_GRACE:
		at_us = lease->kill_us;
		due = DUE_KILL;
		break;
	case LEASE_BOOKED:
	case LEASE_ENDED:
	case LEASE_STATE_MAX:
	case LEASE_STATE_INVALID:
		break;
	}
	if (at_us <= now_us) {
		*ret_next_us = TIME_NEVER;
		return due;
	}
	*ret_next_us = at_us;
	return DUE_NOTHING;
}
