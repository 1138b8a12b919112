/* SPDX-License-Identifier: MIT */
/* Times are of the local time zone unless they say otherwise; mktime(3) knows about summer. */
#include "cli/moment.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/parse.h"

#define EPOCH_MIN 1000000000 /* smaller numbers are hours and minutes, or years */

/* Two digits from *s on, up to max. */
static bool take_two(const char **s, int max, int *ret)
{
	const char *p = *s;

	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*ret = (p[0] - '0') * 10 + p[1] - '0';
	*s += 2;
	return *ret <= max;
}

static bool take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

/* "2026-12-01" */
static bool take_date(const char **s, struct tm *tm)
{
	int century, year, month, day;
	const char *p = *s;

	if (!take_two(&p, 99, &century) || !take_two(&p, 99, &year) || !take_char(&p, '-') ||
		!take_two(&p, 12, &month) || !take_char(&p, '-') || !take_two(&p, 31, &day) ||
		century < 19 || month < 1 || day < 1)
		return false;
	*s = p;
	tm->tm_year = century * 100 + year - 1900;
	tm->tm_mon = month - 1;
	tm->tm_mday = day;
	return true;
}

/* "8:00", "08:00" or "08:00:00" */
static bool take_time(const char **s, struct tm *tm)
{
	bool one = (*s)[0] >= '0' && (*s)[0] <= '9' && (*s)[1] == ':';

	if (one)
		tm->tm_hour = *(*s)++ - '0';
	else if (!take_two(s, 23, &tm->tm_hour))
		return false;
	if (!take_char(s, ':') || !take_two(s, 59, &tm->tm_min))
		return false;
	return !take_char(s, ':') || take_two(s, 59, &tm->tm_sec);
}

struct zone {
	bool given;
	int sec; /* east of Greenwich */
};

/* Nothing, "Z" or "+01:00". */
static bool take_zone(const char **s, struct zone *zone)
{
	int hours, minutes, sign = **s == '-' ? -1 : 1;

	zone->given = **s;
	if (!**s || take_char(s, 'Z'))
		return true;
	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take_two(s, 14, &hours) || !take_char(s, ':') || !take_two(s, 59, &minutes))
		return false;
	zone->sec = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* A day that there is not, as February 30, would become another. */
static bool to_sec(struct tm tm, const struct zone *zone, time_t *ret)
{
	int day = tm.tm_mday;

	tm.tm_isdst = -1;
	*ret = zone->given ? timegm(&tm) - zone->sec : mktime(&tm);
	return *ret != (time_t)-1 && tm.tm_mday == day;
}

/* The date so many days later. */
static void add_days(struct tm *tm, int n)
{
	struct tm next = *tm;

	next.tm_mday += n;
	next.tm_hour = 12; /* no change of clocks can make it another day */
	next.tm_isdst = -1;
	mktime(&next);
	tm->tm_year = next.tm_year;
	tm->tm_mon = next.tm_mon;
	tm->tm_mday = next.tm_mday;
}

static bool take_word(const char **s, const char *word)
{
	size_t n = strlen(word);

	if (strncasecmp(*s, word, n) != 0)
		return false;
	*s += n;
	return true;
}

/* Sets the date of tm, which was today's. Returns whether there is one. */
static bool take_day(const char **s, struct tm *tm)
{
	int days = take_word(s, "tomorrow") ? 1 : take_word(s, "yesterday") ? -1 : 0;

	if (days) {
		add_days(tm, days);
		return true;
	}
	return take_word(s, "today") || take_date(s, tm);
}

static bool parse_date(const char *s, time_t now, enum moment direction, time_t *ret)
{
	struct zone zone = { 0 };
	struct tm tm;
	bool day, timed;

	localtime_r(&now, &tm);
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	day = take_day(&s, &tm);
	timed = !day || *s;
	if (day && timed && !take_char(&s, ' ') && !take_char(&s, 'T'))
		return false;
	if (timed && !take_time(&s, &tm))
		return false;
	if (day && !take_zone(&s, &zone))
		return false;
	if (*s || !to_sec(tm, &zone, ret))
		return false;
	if (day || (direction == MOMENT_AHEAD ? *ret > now : *ret <= now))
		return true;
	add_days(&tm, direction == MOMENT_AHEAD ? 1 : -1);
	return to_sec(tm, &zone, ret);
}

/* "+2h" and "-2h", which a bare "2h" is behind us. */
static bool parse_distance(const char *text, int64_t now_us, enum moment direction, int64_t *ret_us)
{
	bool sign = *text == '+' || *text == '-';
	int64_t us;

	if ((!sign && direction == MOMENT_AHEAD) || parse_duration(text + sign, &us) < 0)
		return false;
	*ret_us = *text == '+' ? now_us + us : now_us - us;
	return true;
}

int moment_parse(const char *text, int64_t now_us, enum moment direction, int64_t *ret_us)
{
	time_t sec = 0;
	uint64_t epoch;

	if (parse_distance(text, now_us, direction, ret_us))
		return 0;
	if (parse_uint(text, EPOCH_MIN, (uint64_t)EPOCH_MIN * 100, &epoch) == 0)
		sec = (time_t)epoch;
	else if (!parse_date(text, (time_t)(now_us / USEC_PER_SEC), direction, &sec))
		return -EINVAL;
	*ret_us = sec * USEC_PER_SEC;
	return 0;
}
