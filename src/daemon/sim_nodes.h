/* SPDX-License-Identifier: MIT */
/* Character devices for GPUs that do not exist: STATE/dev/nvidia0 and so on, of a major for local
 * use that no driver answers: opening one says ENXIO to who may, EPERM or EACCES to who may not. So
 * anybody can try the guard without hardware. */
#pragma once

#include "daemon/manager.h"

/* As root, with --sim. Failing is no error; the log says so. */
void sim_nodes_make(struct manager *m);
