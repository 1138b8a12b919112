/* SPDX-License-Identifier: MIT */
/*
 * Who uses more of a shared GPU than it asked for. What counts is what the processes of a lease
 * have of the memory of one GPU, as the driver tells it: with the context, code and buffers that
 * CUDA adds to what a program allocates, since its neighbours cannot have that either. So a share
 * has to be asked for with some hundred MiB of room; the tolerance is only for what grows unasked
 * (code that is loaded late, the rounding of allocations).
 *
 * Nobody is found guilty without evidence: memory that is not told counts as none. Pure.
 */
#pragma once

#include "model/pool.h"

enum overuse_verdict {
	OVERUSE_NOTHING,
	OVERUSE_WARN, /* its owner is to be warned; lease->share_end_us was set */
	OVERUSE_END,  /* end it */
};

struct overuse {
	unsigned slot;     /* of the GPU where it is furthest above ... */
	uint64_t used_mib; /* ... and what it has of that */
};

/* Above a share by so much is let be: a sixteenth, within 64 and 512 MiB. */
uint64_t overuse_tolerance_mib(uint64_t share_mib);

/* What the processes of the lease have of the memory of that GPU. */
uint64_t overuse_used_mib(const struct gpu *gpu, int64_t lease);

/* Looks at a lease after a sample; updates its share_end_us. When the grace is over, it counts what
 * is used then: who is within its share is forgiven, and warned anew the next time; who went below
 * and above again in the meantime was warned. *ret is set unless there is nothing. */
enum overuse_verdict overuse_judge(const struct pool *pool, struct lease *lease, int64_t grace_us,
	int64_t now_us, struct overuse *ret);
