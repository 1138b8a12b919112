/* SPDX-License-Identifier: MIT */
/* What will happen, in order of time: a binary heap. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum happening {
	ARRIVE, /* somebody asks for GPUs; then the next one */
	LEAVE,  /* lease: its processes end, or its owner gives it back */
	LOOK,   /* lease: does time ask something of it? */
	VANISH, /* lease: its client goes away */
	ATTACH, /* lease: its client comes back after the daemon was restarted */
	EXTEND, /* lease */
	GIVE,   /* lease: its owner hands it to somebody */
	SHRINK, /* lease: its owner gives some GPUs back */
	LET_GO, /* nobody has a GPU open any more that lease gave back */
	GPU,    /* something happens to some GPU; then the next time */
	CLOSE,  /* nobody asks any more, and everything is repaired */
};

struct happens {
	int64_t at_us;
	uint64_t order; /* those of one moment come in the order in which they were added */
	enum happening what;
	int64_t lease;
};

struct agenda {
	struct happens *heap; /* owned */
	size_t n, allocated;
	uint64_t added;
};

static inline bool happens_before(const struct happens *a, const struct happens *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static inline void agenda_add(
	struct agenda *agenda, int64_t at_us, enum happening what, int64_t lease)
{
	struct happens happens = { at_us, agenda->added++, what, lease };
	size_t at = agenda->n++;

	if (agenda->n > agenda->allocated) {
		agenda->allocated = agenda->n * 2;
		agenda->heap = reallocarray(agenda->heap, agenda->allocated, sizeof(*agenda->heap));
		assert(agenda->heap);
	}
	for (; at > 0 && happens_before(&happens, &agenda->heap[(at - 1) / 2]); at = (at - 1) / 2)
		agenda->heap[at] = agenda->heap[(at - 1) / 2];
	agenda->heap[at] = happens;
}

/* The agenda must not be empty. */
static inline struct happens agenda_take(struct agenda *agenda)
{
	struct happens first = agenda->heap[0], last = agenda->heap[--agenda->n];
	size_t at = 0, child;

	for (; (child = 2 * at + 1) < agenda->n; at = child) {
		if (child + 1 < agenda->n &&
			happens_before(&agenda->heap[child + 1], &agenda->heap[child]))
			child++;
		if (!happens_before(&agenda->heap[child], &last))
			break;
		agenda->heap[at] = agenda->heap[child];
	}
	agenda->heap[at] = last;
	return first;
}
