/* SPDX-License-Identifier: MIT */
/*
 * How many calls that change something each user made in the present hour. Every one of them leaves
 * lines in the journal, so this bounds what one user can write to the disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rate_entry {
	uid_t uid;
	unsigned count;
};

struct rate {
	struct rate_entry *entries; /* owned; users of this hour */
	size_t n, allocated;
	int64_t hour_us; /* when this hour began */
};

void rate_clear(struct rate *rate);

/* Counts one call of uid at now_us (ledger time). False: it is one too many, or there is no memory
 * to count it. */
bool rate_take(struct rate *rate, uid_t uid, int64_t now_us, unsigned limit);
