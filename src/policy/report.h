/* SPDX-License-Identifier: MIT */
/*
 * Sums up the account between two times: what was held and used, by how many leases, and how long
 * these waited. Lines are cut at the window, what was used in proportion. A wait counts once in
 * each row, if the lease first started in the window. A GPU that several leases share is held by
 * each of them. Pure; lines are added one by one, each in about a microsecond.
 */
#pragma once

#include "model/usage.h"

enum report_by {
	REPORT_USER,
	REPORT_GROUP,
	REPORT_GPU,
	REPORT_TYPE,
	REPORT_KIND,
	REPORT_BY_MAX,
	REPORT_BY_INVALID = -22,
};

/* "user", "group", "gpu", "type", "kind" */
const char *report_by_to_string(enum report_by by);
enum report_by report_by_from_string(const char *s);

struct report;

struct report_row {
	char key[GPU_UUID_SIZE]; /* uid or gid as digits, UUID, model or kind; "" of the total */
	int64_t leases;
	int64_t held_us, used_us;
	int64_t unknown_us; /* of what was held, nobody measured whether it was used */
	int64_t waited_median_us, waited_95_us; /* of those who started; -1 = none did */
};

/* NULL without memory. */
struct report *report_new(enum report_by by, int64_t since_us, int64_t until_us);
struct report *report_free(struct report *report);
DEFINE_CLEANUP(struct report *, report_free)

/* Counts one line; those that are not in the window are left out. -ENOMEM. */
int report_add(struct report *report, const struct usage *usage);

/* When all lines are there: the next row in *ret (borrowed), the total first, then by falling
 * held_us. False: that was all. Takes milliseconds where a million leases waited. */
bool report_next(struct report *report, const struct report_row **ret);
