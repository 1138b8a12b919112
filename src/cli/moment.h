/* SPDX-License-Identifier: MIT */
/* Moments as people type them. */
#pragma once

#include <stdint.h>

enum moment {
	MOMENT_AHEAD,  /* "20:00" is the next, "+2h" in two hours */
	MOMENT_BEHIND, /* "20:00" is the latest, "7d" or "-7d" seven days ago */
};

/*
 * *ret_us is CLOCK_REALTIME in microseconds: of "20:00", "today", "yesterday 08:00", "tomorrow",
 * "2026-12-01", "2026-12-01 08:00", "2026-12-01T08:00:00+01:00", seconds since 1970, or as above.
 * What is meant for the other direction is read, too, if it is not only a time of the day. -EINVAL.
 */
int moment_parse(const char *text, int64_t now_us, enum moment direction, int64_t *ret_us);
