/* SPDX-License-Identifier: MIT */
/* Reads the whole state of canhazgpu out of a Redis, of both generations. */
#pragma once

#include "import/plan.h"
#include "import/redis.h"

/* plan->now_us is set, the rest empty; it is to be cleared in any case. Negative errno with a
 * sentence. */
int collect(struct redis *redis, struct plan *plan, struct error *err);
