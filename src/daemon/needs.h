/* SPDX-License-Identifier: MIT */
/* Jobs that wait for the end of others: "dibs submit --after". */
#pragma once

#include "daemon/manager.h"

/* After leases have ended: lets go those who waited for that, and ends those who waited for another
 * end. Before the commit that says so. */
void needs_look(struct manager *m);
