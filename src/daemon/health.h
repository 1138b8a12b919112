/* SPDX-License-Identifier: MIT */
/*
 * GPUs that need repair. A defect that the sensor tells, or an XID in the kernel log, drains the
 * GPU with the reason until an administrator says that it is repaired; its lease goes on, and its
 * owner is told.
 */
#pragma once

#include "daemon/manager.h"

struct health;

/* Reads the kernel log of this boot and then follows it. That it cannot be read is no error; the
 * log says so. Call when the GPUs are known. */
int health_start(struct manager *m);
struct health *health_free(struct health *health);

/* A sample came: gpu->defect may be new. */
void health_look(struct manager *m, unsigned slot);

/* An administrator undrains it: what was seen before counts no more, and the sensor starts anew so
 * that it forgets too. Call after batch_touch_gpu(). */
void health_trust(struct manager *m, unsigned slot);
