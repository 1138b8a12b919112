/* SPDX-License-Identifier: MIT */
/*
 * Spans know their GPU by UUID, since slots move while the daemon starts. There are as many as GPUs
 * are held, by several leases if these share, so they are simply looked through.
 */
#include "policy/usage.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

void usage_book_clear(struct usage_book *book)
{
	free(book->spans);
	*book = (struct usage_book){ 0 };
}

/* How long it waited for its turn; not for a begin time that it asked for. */
static int64_t waited(const struct lease *lease)
{
	int64_t from_us =
		lease->job ? MAX(lease->submitted_us, lease->job->begin_us) : lease->submitted_us;

	return MAX(lease->since_us - from_us, 0);
}

static int open_span(struct usage_book *book, const struct lease *lease, const struct gpu *gpu,
	int64_t from_us, int64_t waited_us, enum usage_mark mark)
{
	struct usage_span *span;

	if (array_make_room(book->spans, book->n, book->allocated) < 0)
		return -ENOMEM;
	span = &book->spans[book->n++];
	*span = (struct usage_span){
		.row = {
			.lease = lease->id,
			.kind = lease->kind,
			.uid = lease->uid,
			.gid = lease->gid,
			.from_us = from_us,
			.to_us = from_us,
			.peak_mib = GPU_UNKNOWN,
			.waited_us = waited_us,
		},
		.since_us = lease->since_us,
		.mark = mark,
	};
	text_copy(span->row.gpu, sizeof(span->row.gpu), gpu->uuid);
	text_copy(span->row.model, sizeof(span->row.model), gpu->model);
	return 0;
}

/* Is it a span of what the lease holds now, held by whom it was opened for? */
static bool agrees(
	const struct usage_span *span, const struct pool *pool, const struct lease *lease)
{
	int slot = pool_slot_by_uuid(pool, span->row.gpu);

	return lease_holds(lease) && slot >= 0 && gpu_set_has(&lease->gpus, (unsigned)slot) &&
	       span->since_us == lease->since_us && span->row.uid == lease->uid;
}

static void mark(struct usage_span *span, enum usage_mark how, int64_t at_us)
{
	span->mark = how;
	span->row.to_us = MAX(at_us, span->row.from_us);
}

/* When a span ended that does not agree any more. */
static int64_t end_of(const struct usage_span *span, const struct lease *lease, int64_t now_us)
{
	if (lease->state == LEASE_ENDED)
		return lease->ended_us;
	/* It was queued anew and got its turn in one go. */
	return lease_holds(lease) && span->since_us != lease->since_us ? lease->since_us : now_us;
}

/* What the spans of a lease have in common with what it holds. */
struct match {
	struct gpu_set has; /* GPUs with spans that agree */
	bool any, all;      /* it has spans; all of them agree */
	bool same;          /* one of them is of the time that it holds GPUs now */
};

static struct match match_spans(
	const struct usage_book *book, const struct pool *pool, const struct lease *lease)
{
	struct match match = { .all = true };

	for (size_t i = 0; i < book->n; i++) {
		const struct usage_span *span = &book->spans[i];

		if (span->row.lease != lease->id)
			continue;
		match.any = true;
		match.same |= span->since_us == lease->since_us;
		if (agrees(span, pool, lease))
			gpu_set_add(&match.has, (unsigned)pool_slot_by_uuid(pool, span->row.gpu));
		else
			match.all = false;
	}
	return match;
}

static void mark_spans(
	struct usage_book *book, const struct pool *pool, const struct lease *lease, int64_t now_us)
{
	for (size_t i = 0; i < book->n; i++) {
		struct usage_span *span = &book->spans[i];

		if (span->row.lease != lease->id)
			continue;
		if (agrees(span, pool, lease))
			mark(span, USAGE_CUT, now_us);
		else
			mark(span, USAGE_CLOSED, end_of(span, lease, now_us));
	}
}

int usage_book_follow(
	struct usage_book *book, const struct pool *pool, const struct lease *lease, int64_t now_us)
{
	struct gpu_set holds = lease_holds(lease) ? lease->gpus : (struct gpu_set){ 0 }, missing;
	struct match match = match_spans(book, pool, lease);
	bool first = !match.any && (lease->started_us == 0 || lease->started_us == lease->since_us);
	int64_t from_us = match.same ? now_us : lease->since_us;

	missing = gpu_set_minus(holds, &match.has);
	if (match.all && gpu_set_empty(&missing))
		return 0;
	if (match.any)
		mark_spans(book, pool, lease, now_us);
	gpu_set_foreach (slot, &missing) {
		int r = open_span(book, lease, &pool->gpus[slot], from_us,
			first ? waited(lease) : -1, USAGE_FRESH);

		if (r < 0)
			return r;
	}
	return 0;
}

int usage_book_take_up(struct usage_book *book, const struct pool *pool, const struct lease *lease,
	int64_t filed_us)
{
	int64_t waited_us = filed_us == 0 ? waited(lease) : -1;

	if (!lease_holds(lease))
		return 0;
	gpu_set_foreach (slot, &lease->gpus) {
		int r = open_span(book, lease, &pool->gpus[slot], MAX(lease->since_us, filed_us),
			waited_us, USAGE_OPEN);

		if (r < 0)
			return r;
	}
	return 0;
}

void usage_book_cut(struct usage_book *book, int64_t before_us, int64_t now_us)
{
	for (size_t i = 0; i < book->n; i++)
		if (book->spans[i].mark == USAGE_OPEN && book->spans[i].row.from_us <= before_us)
			mark(&book->spans[i], USAGE_CUT, now_us);
}

bool usage_book_is_old(const struct usage_book *book, int64_t before_us)
{
	for (size_t i = 0; i < book->n; i++)
		if (book->spans[i].row.from_us <= before_us)
			return true;
	return false;
}

bool usage_span_is_due(const struct usage_span *span)
{
	return span->mark == USAGE_CLOSED ||
	       (span->mark == USAGE_CUT && span->row.to_us > span->row.from_us);
}

static void begin_anew(struct usage_span *span)
{
	span->row.from_us = span->row.to_us;
	span->row.used_us = 0;
	span->row.peak_mib = GPU_UNKNOWN;
	span->row.waited_us = -1;
}

void usage_book_settle(struct usage_book *book, bool stored)
{
	size_t kept = 0;

	for (size_t i = 0; i < book->n; i++) {
		struct usage_span *span = &book->spans[i];

		if (span->mark == (stored ? USAGE_CLOSED : USAGE_FRESH))
			continue;
		if (stored && usage_span_is_due(span))
			begin_anew(span);
		span->mark = USAGE_OPEN;
		book->spans[kept++] = *span;
	}
	book->n = kept;
}

/* Is a process of the lease on the GPU? Notes what memory they have. */
static bool is_on(struct usage_span *span, const struct gpu *gpu)
{
	int64_t mib = GPU_UNKNOWN;
	bool found = false;

	for (size_t i = 0; i < gpu->n_processes; i++) {
		const struct gpu_process *p = &gpu->processes[i];

		if (p->lease != span->row.lease)
			continue;
		found = true;
		if (p->memory_mib != GPU_UNKNOWN)
			mib = MAX(mib, 0) + p->memory_mib;
	}
	span->row.peak_mib = MAX(span->row.peak_mib, mib);
	return found;
}

/* How many leases are on a GPU with a process, and how many hold it. */
struct crowd {
	unsigned users, holders;
};

static int64_t used(const struct gpu *gpu, bool on, const struct crowd *crowd, int64_t us)
{
	unsigned n = on ? crowd->users : crowd->holders == 1 && gpu->n_processes == 0;
	int percent = gpu->utilization != GPU_UNKNOWN ? MIN(gpu->utilization, 100) : on ? 100 : 0;

	return n > 0 && us > 0 ? us * percent / 100 / n : 0;
}

void usage_book_sample(
	struct usage_book *book, const struct pool *pool, int64_t last_us, int64_t now_us)
{
	struct crowd crowds[GPU_MAX] = { 0 };

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < book->n; i++) {
			struct usage_span *span = &book->spans[i];
			int slot = pool_slot_by_uuid(pool, span->row.gpu);
			const struct gpu *gpu = slot < 0 ? NULL : &pool->gpus[slot];
			bool on;

			if (!gpu || !gpu_works(gpu))
				continue;
			on = is_on(span, gpu);
			crowds[slot].users += pass == 0 && on;
			crowds[slot].holders += pass == 0;
			if (pass == 1)
				span->row.used_us += used(gpu, on, &crowds[slot],
					now_us - MAX(last_us, span->row.from_us));
		}
}
