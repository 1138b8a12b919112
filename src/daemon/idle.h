/* SPDX-License-Identifier: MIT */
/* Warns the owners of leases that are held for nothing, and gives those back; policy/idle.h says
 * which they are. */
#pragma once

#include "daemon/manager.h"

/* After a sample was taken. told: it told something; else there is no evidence of anything. */
void idle_look(struct manager *m, bool told);

/* Samples that are further apart prove nothing of the time between them. */
int64_t idle_gap_us(const struct manager *m);
