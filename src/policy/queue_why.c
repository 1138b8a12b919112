/* SPDX-License-Identifier: MIT */
/*
 * What people ask of a queue: who is in the way? The answer is about the GPUs that the request
 * could use, in one look at the pool. Each of these GPUs is counted once, under the reason that
 * lasts longest: lost, drained, leased, being revoked, in use without a lease. For who wants a
 * share, a card with room for it is as good as a free one. Who is blocked is in nobody's way, and
 * nobody in theirs.
 *
 * There is no clock here, so "today" is the day of the submission: a time later than that on the
 * same day cannot be of another day, and one on another day is shown in full.
 */
#include "policy/queue.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/parse.h"
#include "base/text.h"

#define HOLDERS_SHOWN 3

struct obstacles {
	struct gpu_set free; /* a share of it, if that is what was asked for */
	struct gpu_set lost, drained, revoking, foreign;
	const struct lease *holders[HOLDERS_SHOWN];
	size_t n_holders; /* may be more than are kept */
	const struct lease *ahead;
	size_t n_ahead;
};

struct sentence {
	char text[512];
	size_t n;
	int64_t wall_offset_us, today_us;
};

static _printf_(2, 3) void add(struct sentence *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->n, sizeof(s->text) - s->n, fmt, ap);
	va_end(ap);
	s->n = MIN(s->n + (size_t)MAX(n, 0), sizeof(s->text) - 1);
}

static bool holds_some(const struct lease *lease, const struct gpu_set *gpus)
{
	return lease_holds(lease) && gpu_set_meet(&lease->gpus, gpus);
}

/* There is no clock here, see above. */
static bool is_blocked(const struct pool *pool, const struct lease *lease)
{
	return pool_blocked(pool, lease, lease->submitted_us, 0, NULL);
}

static bool is_ahead(const struct pool *pool, const struct lease *other, const struct lease *lease)
{
	return other != lease && other->state == LEASE_WAITING &&
	       gpu_set_meet(&other->eligible, &lease->eligible) && pool_before(other, lease) &&
	       !is_blocked(pool, other);
}

/* What the sensor and administrators say of the GPUs; the others are free so far. */
static void look_at_gpus(const struct pool *pool, const struct lease *lease, struct obstacles *o)
{
	gpu_set_foreach (slot, &lease->eligible) {
		const struct gpu *gpu = &pool->gpus[slot];

		if (!gpu_works(gpu))
			gpu_set_add(&o->lost, slot);
		else if (gpu->drained)
			gpu_set_add(&o->drained, slot);
		else if (gpu->revoking)
			gpu_set_add(&o->revoking, slot);
		else if (gpu_is_foreign(gpu) && !lease->request.force)
			gpu_set_add(&o->foreign, slot);
	}
	o->free = gpu_set_minus(lease->eligible, &o->lost);
	o->free = gpu_set_minus(o->free, &o->drained);
}

/* The shared cards of gpus on which nothing else is in the way of one more share. */
static struct gpu_set shares_left(
	const struct pool *pool, const struct gpu_set *gpus, uint64_t share_mib)
{
	struct gpu_set left = { 0 }, alone = { 0 };
	uint64_t used_mib[GPU_MAX] = { 0 };

	for (size_t i = 0; i < pool->n_leases; i++) {
		const struct lease *lease = pool->leases[i];

		if (!lease_holds(lease))
			continue;
		if (lease->request.share_mib == 0)
			alone = gpu_set_or(alone, &lease->gpus);
		gpu_set_foreach (slot, &lease->gpus)
			used_mib[slot] += lease->request.share_mib;
	}
	gpu_set_foreach (slot, gpus) {
		const struct gpu *gpu = &pool->gpus[slot];

		if (used_mib[slot] > 0 && gpu->memory_mib > 0 && !gpu->revoking &&
			!gpu_is_foreign(gpu) &&
			used_mib[slot] + share_mib <= (uint64_t)gpu->memory_mib)
			gpu_set_add(&left, slot);
	}
	return gpu_set_minus(left, &alone);
}

static void look(const struct pool *pool, const struct lease *lease, struct obstacles *ret)
{
	struct obstacles o = { 0 };
	struct gpu_set usable, shared = { 0 };

	look_at_gpus(pool, lease, &o);
	if (lease->request.share_mib > 0)
		shared = shares_left(pool, &o.free, lease->request.share_mib);
	usable = gpu_set_minus(o.free, &shared);
	for (size_t i = 0; i < pool->n_leases; i++) {
		const struct lease *other = pool->leases[i];

		if (is_ahead(pool, other, lease) && o.n_ahead++ == 0)
			o.ahead = other;
		if (!holds_some(other, &usable))
			continue;
		o.foreign = gpu_set_minus(o.foreign, &other->gpus);
		o.revoking = gpu_set_minus(o.revoking, &other->gpus);
		o.free = gpu_set_minus(o.free, &other->gpus);
		if (o.n_holders < HOLDERS_SHOWN)
			o.holders[o.n_holders] = other;
		o.n_holders++;
	}
	o.free = gpu_set_minus(o.free, &o.foreign);
	o.free = gpu_set_minus(o.free, &o.revoking);
	o.free = gpu_set_or(o.free, &shared);
	*ret = o;
}

static const char *moment(const struct sentence *s, int64_t at_us, char dst[MOMENT_TEXT_SIZE])
{
	format_moment(dst, at_us + s->wall_offset_us, s->today_us + s->wall_offset_us);
	return dst;
}

/* "run #12", "job #42.7" */
static void add_name(struct sentence *s, const struct lease *lease)
{
	char label[LEASE_LABEL_SIZE];

	lease_label(lease, label);
	add(s, "%s #%s", lease_kind_to_string(lease->kind), label);
}

/* "uid 1000 (run #12), uid 1001 (hold #13, until 18:40) and 2 more" */
static void add_holders(struct sentence *s, const struct obstacles *o)
{
	size_t shown = MIN(o->n_holders, (size_t)HOLDERS_SHOWN);
	char until[MOMENT_TEXT_SIZE];

	for (size_t i = 0; i < shown; i++) {
		const struct lease *holder = o->holders[i];

		if (i > 0)
			add(s, i + 1 == o->n_holders ? " and " : ", ");
		add(s, "uid %u (", (unsigned)holder->uid);
		add_name(s, holder);
		if (holder->state == LEASE_GRACE)
			add(s, ", about to end");
		else if (holder->until_us != TIME_NEVER)
			add(s, ", until %s", moment(s, holder->until_us, until));
		add(s, ")");
	}
	if (o->n_holders > shown)
		add(s, " and %zu more", o->n_holders - shown);
}

/* "GPU 2 is drained: fan", "GPUs 2,3 are drained"; the reason only of one, if it says more. */
static void add_gpus(
	struct sentence *s, const struct pool *pool, const struct gpu_set *set, const char *what)
{
	const struct gpu *first;
	char list[GPU_LIST_SIZE], reason[GPU_REASON_SIZE] = "";
	bool one = gpu_set_count(set) == 1;

	if (gpu_set_empty(set))
		return;
	first = &pool->gpus[gpu_set_next(set, 0)];
	pool_format_gpus(pool, set, list, sizeof(list));
	if (one && (!gpu_is_healthy(first) || first->revoking))
		pool_gpu_state(pool, gpu_set_next(set, 0), reason);
	add(s, "%s%s %s %s %s%s%.100s", s->n ? "; " : "", one ? "GPU" : "GPUs", list,
		one ? "is" : "are", what, reason[0] ? ": " : "", reason);
}

static void add_unusable(struct sentence *s, const struct pool *pool, const struct obstacles *o)
{
	add_gpus(s, pool, &o->foreign, "in use without a lease");
	add_gpus(s, pool, &o->revoking, "not yet given back");
	add_gpus(s, pool, &o->drained, "drained");
	add_gpus(s, pool, &o->lost, "lost");
}

/* "GPU 3 is leased by uid 1000 until 18:40 (hold #41)" */
static void add_only_holder(struct sentence *s, int index, const struct lease *holder)
{
	char until[MOMENT_TEXT_SIZE];

	add(s, "GPU %d is leased by uid %u ", index, (unsigned)holder->uid);
	if (holder->state != LEASE_GRACE && holder->until_us != TIME_NEVER)
		add(s, "until %s ", moment(s, holder->until_us, until));
	add(s, "(");
	add_name(s, holder);
	add(s, "%s)", holder->state == LEASE_GRACE ? ", about to end" : "");
}

/* "is free", "has 8192 MiB left" */
static void add_wish(struct sentence *s, const struct lease *lease, bool one)
{
	if (lease->request.share_mib == 0)
		add(s, one ? " is free" : " are free");
	else
		add(s, " %s %" PRIu64 " MiB left", one ? "has" : "have", lease->request.share_mib);
}

static void add_too_few(struct sentence *s, const struct pool *pool, const struct lease *lease,
	const struct obstacles *o)
{
	unsigned n_free = gpu_set_count(&o->free), n = gpu_set_count(&lease->eligible);
	bool all_held = gpu_set_empty(&o->foreign) && gpu_set_empty(&o->revoking) &&
			gpu_set_empty(&o->drained) && gpu_set_empty(&o->lost);
	int index = n > 0 ? pool->gpus[gpu_set_next(&lease->eligible, 0)].index : GPU_UNKNOWN;

	if (n == 1 && o->n_holders == 1) {
		add_only_holder(s, index, o->holders[0]);
	} else if (n == 1 && o->n_holders > 1) {
		add(s, "GPU %d is shared by ", index);
		add_holders(s, o);
	} else if (n > 1 && n_free == 0) {
		add(s, "none of the %u GPUs that would do", n);
		add_wish(s, lease, true);
	} else if (n > 1) {
		add(s, "%u of the %u GPUs asked for", n_free, lease->request.count);
		add_wish(s, lease, n_free == 1);
	}
	if (n > 1 && o->n_holders) {
		add(s, "; %s are leased by ", !all_held ? "some" : n_free ? "the others" : "they");
		add_holders(s, o);
	}
	add_unusable(s, pool, o);
}

/* It is blocked: that is all there is to say. */
static struct verdict why_blocked(
	const struct pool *pool, const struct lease *lease, int64_t wall_offset_us)
{
	char text[POOL_BLOCKED_SIZE];

	pool_blocked(pool, lease, lease->submitted_us, wall_offset_us, text);
	return verdict_make(VERDICT_NOT_FREE, "queue.blocked", "%s", text);
}

struct verdict queue_why(const struct pool *pool, const struct lease *lease, int64_t wall_offset_us)
{
	struct sentence s = { .wall_offset_us = wall_offset_us, .today_us = lease->submitted_us };
	struct obstacles o;
	bool enough;

	if (is_blocked(pool, lease))
		return why_blocked(pool, lease, wall_offset_us);
	look(pool, lease, &o);
	enough = gpu_set_count(&o.free) >= lease->request.count;
	if (enough)
		add(&s, "enough GPUs are free");
	else
		add_too_few(&s, pool, lease, &o);
	if (o.ahead) {
		add(&s, "%s uid %u (", enough ? ", but" : "; besides,", (unsigned)o.ahead->uid);
		add_name(&s, o.ahead);
		add(&s, ")");
		if (o.n_ahead > 1)
			add(&s, " and %zu more", o.n_ahead - 1);
		add(&s, o.n_ahead > 1 ? " are ahead in the queue" : " is ahead in the queue");
	} else if (enough) {
		add(&s, lease->attached ? " now" : ", but the client that asked is not connected");
	}
	text_sanitize(s.text);
	return verdict_make(VERDICT_NOT_FREE, "queue.not-free", "%s", s.text);
}

static bool needs(const struct lease *lease, const struct lease *other)
{
	for (size_t i = 0; lease->job && i < lease->job->n_needs; i++)
		if (lease->job->needs[i].id == other->id)
			return true;
	return false;
}

size_t queue_blockers(
	const struct pool *pool, const struct lease *lease, struct lease **ret, size_t max)
{
	bool blocked = is_blocked(pool, lease);
	size_t n = 0;

	for (size_t i = 0; i < pool->n_leases && n < max; i++) {
		struct lease *other = pool->leases[i];

		if (blocked ? needs(lease, other)
			    : holds_some(other, &lease->eligible) || is_ahead(pool, other, lease))
			ret[n++] = other;
	}
	return n;
}
