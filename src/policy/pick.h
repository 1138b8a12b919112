/* SPDX-License-Identifier: MIT */
/* Which GPUs out of those that would do. */
#pragma once

#include "model/pool.h"

/*
 * Chooses count GPUs of candidates (which has at least count) for uid. In falling importance: GPUs
 * that uid used most recently; the best connected set (sum of the links between its members); the
 * GPUs that were free for the longest. The same pool always gives the same answer. O(n^3) at worst,
 * n = number of candidates.
 */
struct gpu_set pick_gpus(
	const struct pool *pool, const struct gpu_set *candidates, unsigned count, uid_t uid);
