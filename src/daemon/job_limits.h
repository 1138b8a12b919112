/* SPDX-License-Identifier: MIT */
/* What a job may use of the host: [jobs] memory-max, processes-max, cpu-max. */
#pragma once

#include "daemon/manager.h"

/* At start and when the configuration was read anew: makes the limits that are set possible, and
 * says which are not. (dibs-exec limits the number of processes of the user, then.) */
void job_limits_prepare(struct manager *m);

/* Before anything is in the cgroup of a job. */
void job_limits_set(const struct manager *m, const struct lease *lease);
