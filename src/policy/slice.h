/* SPDX-License-Identifier: MIT */
/*
 * Time slices of batch jobs: who has run for longer than one gives way while others wait. Alone, it
 * runs on. Pure.
 */
#pragma once

#include <stddef.h>

#include "model/pool.h"

/*
 * The active jobs that are to give way now, those that have run for longest first: at most max of
 * them, and no more than it takes for those who wait. Somebody who waits counts if they are
 * attached, not blocked, and would come before the job if it went to the end of the queue; nobody
 * gives way for who could not start even then, nor for those behind them who want the same GPUs.
 * GPUs that are about to be free (their lease is in grace) are not asked for twice. slice_us 0: no
 * slices.
 */
size_t slice_overdue(
	const struct pool *pool, int64_t now_us, int64_t slice_us, struct lease **ret, size_t max);

/* When the slice of the next active job will be over; TIME_NEVER. Those that have run past theirs
 * are looked at again when somebody comes to wait or something ends, not by the clock. */
int64_t slice_next(const struct pool *pool, int64_t now_us, int64_t slice_us);
