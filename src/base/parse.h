/* SPDX-License-Identifier: MIT */
/*
 * Numbers, durations and sizes as people type them. Every function reads the whole string or
 * refuses it with -EINVAL (not of that form) or -ERANGE (of that form, but out of range); nothing
 * is written on failure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define USEC_PER_MSEC INT64_C(1000)
#define USEC_PER_SEC  INT64_C(1000000)
#define DURATION_MAX_US \
	(INT64_C(3650) * 86400 * USEC_PER_SEC) /* ten years: longer is a typing error */

/* Decimal digits only: no sign, blank, base prefix or exponent. */
int parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

/* "90s", "30m", "4h", "2d", "1w" or a sum of them in falling order ("1h30m"); a bare "0" is
 * allowed. Each unit once. At most DURATION_MAX_US. */
int parse_duration(const char *s, int64_t *ret_us);

/* "8G", "8192M", "80GiB", "512MB"; a unit is required: M, G or T (powers of 1024; an "iB" or "B"
 * may follow, any case). The result is in MiB, at least 1. */
int parse_size(const char *s, uint64_t *ret_mib);

/* Writes "1d2h", "4h", "1h30m", "45s" ... (two largest units; rounded down; "0s" for less than a
 * second). */
#define DURATION_TEXT_SIZE 32
void format_duration(char dst[DURATION_TEXT_SIZE], int64_t us);

/* RFC 3339 with the offset of the local time zone and seconds: "2026-02-03T18:40:00+01:00". real_us
 * is CLOCK_REALTIME in microseconds. */
#define TIME_TEXT_SIZE 32
void format_time(char dst[TIME_TEXT_SIZE], int64_t real_us);

/* For sentences, in the local time zone: "18:40", with the date ("2026-02-03 18:40") if it is not
 * that of today_us. Both are CLOCK_REALTIME in microseconds. */
#define MOMENT_TEXT_SIZE 24
void format_moment(char dst[MOMENT_TEXT_SIZE], int64_t real_us, int64_t today_us);
