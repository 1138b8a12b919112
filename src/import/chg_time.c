/* SPDX-License-Identifier: MIT */
#include "import/chg_time.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/parse.h"

#define SEC_MIN INT64_C(946684800)  /* 2000-01-01 */
#define SEC_MAX INT64_C(7258118400) /* 2200-01-01 */

#define GO_ZERO "0001-01-01T00:00:00Z"

static bool take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

/* So many digits, of a value between min and max. */
static bool take_digits(const char **s, unsigned digits, int min, int max, int *ret)
{
	int value = 0;

	for (; digits > 0; digits--, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		value = value * 10 + (**s - '0');
	}
	*ret = value;
	return value >= min && value <= max;
}

/* Nothing, or "." and digits, of which those below a microsecond are dropped. */
static bool take_fraction(const char **s, int64_t *ret_us)
{
	int64_t unit = 100000;

	*ret_us = 0;
	if (!take_char(s, '.'))
		return true;
	if (!isdigit((unsigned char)**s))
		return false;
	for (; isdigit((unsigned char)**s); (*s)++, unit /= 10)
		*ret_us += unit * (**s - '0');
	return true;
}

/* "Z" or "+01:00"; east of Greenwich. */
static bool take_zone(const char **s, int *ret_sec)
{
	int sign = **s == '-' ? -1 : 1, hours, minutes;

	*ret_sec = 0;
	if (take_char(s, 'Z'))
		return true;
	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take_digits(s, 2, 0, 23, &hours) || !take_char(s, ':') ||
		!take_digits(s, 2, 0, 59, &minutes))
		return false;
	*ret_sec = sign * (hours * 3600 + minutes * 60);
	return true;
}

static bool take_date(const char **s, struct tm *tm)
{
	if (!take_digits(s, 4, 2000, 2199, &tm->tm_year) || !take_char(s, '-') ||
		!take_digits(s, 2, 1, 12, &tm->tm_mon) || !take_char(s, '-') ||
		!take_digits(s, 2, 1, 31, &tm->tm_mday))
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon--;
	return true;
}

static bool take_clock(const char **s, struct tm *tm)
{
	return take_digits(s, 2, 0, 23, &tm->tm_hour) && take_char(s, ':') &&
	       take_digits(s, 2, 0, 59, &tm->tm_min) && take_char(s, ':') &&
	       take_digits(s, 2, 0, 59, &tm->tm_sec);
}

static bool parse_rfc3339(const char *s, int64_t *ret_us)
{
	struct tm tm = { 0 };
	int64_t fraction;
	int zone, day;

	if (!take_date(&s, &tm) || !take_char(&s, 'T') || !take_clock(&s, &tm) ||
		!take_fraction(&s, &fraction) || !take_zone(&s, &zone) || *s)
		return false;
	day = tm.tm_mday;
	*ret_us = (timegm(&tm) - zone) * USEC_PER_SEC + fraction;
	return tm.tm_mday == day; /* February 30 would be another */
}

static int from_seconds(double seconds, int64_t *ret_us)
{
	/* Written so that what is no number is out of range, too. */
	if (!(seconds >= (double)SEC_MIN && seconds < (double)SEC_MAX))
		return -EINVAL;
	*ret_us = (int64_t)(seconds * (double)USEC_PER_SEC);
	return 0;
}

static int from_text(const char *text, int64_t *ret_us)
{
	int64_t us;
	uint64_t sec;

	if (strcmp(text, GO_ZERO) == 0 || !*text) {
		*ret_us = 0;
		return 0;
	}
	if (parse_uint(text, (uint64_t)SEC_MIN, (uint64_t)SEC_MAX - 1, &sec) == 0)
		us = (int64_t)sec * USEC_PER_SEC;
	else if (!parse_rfc3339(text, &us))
		return -EINVAL;
	*ret_us = us;
	return 0;
}

int chg_time(json_t *value, int64_t *ret_us)
{
	if (json_is_string(value))
		return from_text(json_string_value(value), ret_us);
	if (json_is_number(value))
		return from_seconds(json_number_value(value), ret_us);
	if (value && !json_is_null(value))
		return -EINVAL;
	*ret_us = 0;
	return 0;
}
