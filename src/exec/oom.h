/* SPDX-License-Identifier: MIT */
/* Did a job run out of memory? */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* How many processes of a cgroup the kernel has killed for want of memory, in its life
 * (memory.events of cgroup v2). cgroup: descriptor of its directory, or -1. 0 also if it cannot be
 * told. */
uint64_t oom_kills(int cgroup);

/* Does the end of a log, of what follows offset, say that a GPU ran out of memory? fd: a regular
 * file, to be read. */
bool oom_log_tells(int fd, int64_t offset);

/* The same in a process of its own, that is given up after a few seconds: file servers hang. */
bool oom_log_tells_in_time(int fd, int64_t offset);
