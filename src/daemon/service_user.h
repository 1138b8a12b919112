/* SPDX-License-Identifier: MIT */
/* Who programs of ours run as that need no privilege: the user dibs, else nobody. */
#pragma once

#include "daemon/manager.h"

/* A daemon without root cannot change: *ret_uid is (uid_t)-1 then, which spawn() takes as "stay who
 * we are". */
void service_user(const struct manager *m, uid_t *ret_uid, gid_t *ret_gid);
