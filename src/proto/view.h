/* SPDX-License-Identifier: MIT */
/* How the records of the model look on the wire (the types of org.dibs.varlink). NULL without
 * memory. */
#pragma once

#include <jansson.h>

#include "model/event.h"
#include "model/pool.h"

/* Times are shown as wall clock: ledger time + wall_offset_us. */
json_t *view_gpu(const struct pool *pool, unsigned slot, int64_t wall_offset_us);

/* Those of set, in the order of their indices. */
json_t *view_gpus(const struct pool *pool, const struct gpu_set *set, int64_t wall_offset_us);

/* position: place in the queue, 0 = does not wait. */
json_t *view_lease(const struct pool *pool, const struct lease *lease, size_t position,
	int64_t wall_offset_us);

json_t *view_event(const struct event *event);
