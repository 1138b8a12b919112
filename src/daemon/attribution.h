/* SPDX-License-Identifier: MIT */
/* Whose a process is that has to do with a GPU, and by what right it is there. */
#pragma once

#include "daemon/manager.h"

/* Fills what /proc knows of p->pid: start time, owner, container, whether the site ignores it.
 * -ESRCH: it is gone. The owner of a process of a rootless container is the user who runs it. */
int attribution_fill(struct manager *m, struct gpu_process *p);

/* Of one that was filled before: what it may have changed since, by becoming another program. */
void attribution_refresh(const struct manager *m, struct gpu_process *p);

/* Sets standing and lease of a filled p on that GPU. */
void attribution_judge(const struct manager *m, unsigned slot, struct gpu_process *p);
