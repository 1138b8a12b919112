/* SPDX-License-Identifier: MIT */
#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/macro.h"

static const struct {
	char letter;
	int64_t us;
} units[] = {
	{ 'w', 604800 * USEC_PER_SEC },
	{ 'd', 86400 * USEC_PER_SEC },
	{ 'h', 3600 * USEC_PER_SEC },
	{ 'm', 60 * USEC_PER_SEC },
	{ 's', USEC_PER_SEC },
};

/* Reads digits at *s and moves it past them. */
static int take_digits(const char **s, uint64_t *ret)
{
	uint64_t value = 0;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s); (*s)++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
			__builtin_add_overflow(value, (unsigned)(**s - '0'), &value))
			return -ERANGE;
	*ret = value;
	return 0;
}

int parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	int r = take_digits(&s, &value);

	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	if (value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_duration(const char *s, int64_t *ret_us)
{
	int64_t total = 0;
	size_t next = 0;

	if (strcmp(s, "0") == 0) {
		*ret_us = 0;
		return 0;
	}
	do {
		uint64_t n;
		int64_t part;
		int r = take_digits(&s, &n);

		if (r < 0)
			return r;
		while (next < ELEMENTSOF(units) && units[next].letter != *s)
			next++;
		if (next == ELEMENTSOF(units))
			return -EINVAL;
		if (n > INT64_MAX || __builtin_mul_overflow((int64_t)n, units[next].us, &part) ||
			__builtin_add_overflow(total, part, &total) || total > DURATION_MAX_US)
			return -ERANGE;
		next++;
		s++;
	} while (*s);
	*ret_us = total;
	return 0;
}

int parse_size(const char *s, uint64_t *ret_mib)
{
	static const char letters[] = "MGT";
	uint64_t value;
	const char *letter;
	int r = take_digits(&s, &value);

	if (r < 0)
		return r;
	letter = *s ? strchr(letters, toupper((unsigned char)*s)) : NULL;
	if (!letter)
		return -EINVAL;
	s++;
	if (*s && strcasecmp(s, "B") != 0 && strcasecmp(s, "iB") != 0)
		return -EINVAL;
	for (; letter > letters; letter--)
		if (__builtin_mul_overflow(value, 1024u, &value))
			return -ERANGE;
	if (value == 0 || value > UINT64_C(1) << 40)
		return -ERANGE;
	*ret_mib = value;
	return 0;
}

void format_duration(char dst[DURATION_TEXT_SIZE], int64_t us)
{
	size_t n = 0, written = 0;

	for (size_t i = 0; i < ELEMENTSOF(units) && written < 2; i++) {
		int64_t count = us / units[i].us;

		if (count <= 0) {
			written += written > 0; /* "1d" and some seconds is "1d", not "1d5s" */
			continue;
		}
		n += (size_t)snprintf(
			dst + n, DURATION_TEXT_SIZE - n, "%" PRId64 "%c", count, units[i].letter);
		us -= count * units[i].us;
		written++;
	}
	if (n == 0)
		snprintf(dst, DURATION_TEXT_SIZE, "0s");
}

void format_time(char dst[TIME_TEXT_SIZE], int64_t real_us)
{
	time_t seconds = (time_t)(real_us / USEC_PER_SEC);
	struct tm tm;
	size_t n;

	if (!localtime_r(&seconds, &tm) ||
		(n = strftime(dst, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S%z", &tm)) < 5 ||
		n + 2 > TIME_TEXT_SIZE) {
		snprintf(dst, TIME_TEXT_SIZE, "1970-01-01T00:00:00+00:00");
		return;
	}
	memmove(dst + n - 1, dst + n - 2, 3); /* +0100 -> +01:00 */
	dst[n - 2] = ':';
}

void format_moment(char dst[MOMENT_TEXT_SIZE], int64_t real_us, int64_t today_us)
{
	time_t at = (time_t)(real_us / USEC_PER_SEC), today = (time_t)(today_us / USEC_PER_SEC);
	struct tm tm = { 0 }, tm_today = { 0 };
	bool same_day;

	localtime_r(&at, &tm);
	localtime_r(&today, &tm_today);
	same_day = tm.tm_year == tm_today.tm_year && tm.tm_yday == tm_today.tm_yday;
	if (strftime(dst, MOMENT_TEXT_SIZE, same_day ? "%H:%M" : "%Y-%m-%d %H:%M", &tm) == 0)
		*dst = '\0';
}
