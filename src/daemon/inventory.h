/* SPDX-License-Identifier: MIT */
/* Takes what the sensor saw into the pool: GPUs that appear, vanish, fail and return; who really
 * runs on them. */
#pragma once

#include "daemon/manager.h"
#include "gpu/sample.h"

void inventory_take(struct manager *m, struct sample *sample);

/* After leases of these GPUs began or ended, for it may not wait until the next sample: whose are
 * the processes now? Those that are gone meanwhile are left out. */
void inventory_judge(struct manager *m, const struct gpu_set *gpus);

/* At start, after the first sample: GPUs that were known but are not there are forgotten, unless a
 * lease holds them or an administrator drained them. */
void inventory_forget_absent(struct manager *m);
