/* SPDX-License-Identifier: MIT */
/*
 * The gate where there are no device filters: POSIX ACLs on the device nodes, always
 * u::rw g::--- m::rw o::--- and u:UID:rw for each user who has a right. See acl(5) and, for what
 * nvidia-modprobe makes of it, model/nvreg.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* The paths of all character devices below directory (two levels, no links followed, no other file
 * systems entered) that are major:minor: calls fn for each; stops and returns what it returns if
 * nonzero. What is removed meanwhile is skipped. 0 if all were seen; a negative errno if a
 * directory cannot be read: then there may be more. */
int acl_find_nodes(const char *directory, uint32_t major, uint32_t minor,
	int (*fn)(const char *path, void *userdata), void *userdata);

/* Makes the ACL of a device node say just that these users may open it (in any order, doubles and
 * root are fine), makes root its owner, and checks both. Returns 1 if anything had to be changed, 0
 * if it said so already. The path is opened without following links (-ENOENT) and must be a
 * character device major:minor (-ENODEV). -EOPNOTSUPP: a file system without ACLs. -EBUSY: somebody
 * changed it back at once. Never in between opens it to anybody else, or shuts out who stays. */
int acl_set(const char *path, uint32_t major, uint32_t minor, const uid_t *uids, size_t n,
	struct error *err);

/* Takes the ACL away and opens the node to everybody (0666), as drivers make it. Returns the same.
 */
int acl_clear(const char *path, uint32_t major, uint32_t minor, struct error *err);
