/* SPDX-License-Identifier: MIT */
/*
 * Whose limits a uid counts against. A user who has subordinate uids (subuid(5), for rootless
 * containers) can be 65536 others at will, so all uids of such a range are one account. Identity
 * is never told from this.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#define ACCOUNT_FILE "/etc/subuid"

struct account_range {
	uid_t first, last;
};

struct accounts {
	struct account_range *ranges; /* owned */
	size_t n, allocated;
	struct timespec changed; /* the file as it was read */
};

void accounts_clear(struct accounts *accounts);

/* Reads the file at path again if it has changed; one that cannot be read has no ranges. Returns
 * uid, or the first of its range. */
uid_t account_of(struct accounts *accounts, const char *path, uid_t uid);

/* Is uid one of a range of subordinate uids? Read again like that. */
bool account_is_subordinate(struct accounts *accounts, const char *path, uid_t uid);

/* Is it the user of a service, no person? Those of Debian and systemd: below 1000, DynamicUser=,
 * and nobody. */
bool account_is_system(uid_t uid);
