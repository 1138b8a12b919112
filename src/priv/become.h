/* SPDX-License-Identifier: MIT */
/* Between fork and exec: what a process of ours does to be nobody's but its user's. */
#pragma once

#include <sys/types.h>

/* Sets the real, effective and saved gid, then uid. The groups are the caller's affair. */
int become_user(uid_t uid, gid_t gid);

/* 0 if all ids are these and root cannot be had back; else -EPERM. Not for uid 0. */
int become_check(uid_t uid, gid_t gid);

/* Every signal has its default action, none is blocked. */
void become_default_signals(void);
