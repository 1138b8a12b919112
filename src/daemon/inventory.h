/* SPDX-License-Identifier: MIT */
/* Takes what the sensor saw into the pool: GPUs that appear, vanish, fail and return; who really
 * runs on them. */
#pragma once

#include "daemon/manager.h"
#include "gpu/sample.h"

void inventory_take(struct manager *m, struct sample *sample);

/* At start, after the first sample: GPUs that were known but are not there are forgotten, unless a
 * lease holds them or an administrator drained them. */
void inventory_forget_absent(struct manager *m);
