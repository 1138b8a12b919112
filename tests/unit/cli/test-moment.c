/* SPDX-License-Identifier: MIT */
#include "cli/moment.h"

#include "base/parse.h"
#include "tests/unit/tap.h"

#define HOUR INT64_C(3600)
#define DAY  (24 * HOUR)
#define NOW  (INT64_C(1767225600) + 10 * HOUR) /* 2026-01-01 10:00 UTC */

/* In seconds; -1 if it is refused. */
static int64_t parse(const char *text, enum moment direction)
{
	int64_t us;

	return moment_parse(text, NOW * USEC_PER_SEC, direction, &us) < 0 ? -1 : us / USEC_PER_SEC;
}

static void behind(void)
{
	const int64_t today = NOW - 10 * HOUR;

	CHECK_INT(parse("7d", MOMENT_BEHIND), NOW - 7 * DAY);
	CHECK_INT(parse("-7d", MOMENT_BEHIND), NOW - 7 * DAY);
	CHECK_INT(parse("+2h", MOMENT_BEHIND), NOW + 2 * HOUR);
	CHECK_INT(parse("yesterday", MOMENT_BEHIND), today - DAY);
	CHECK_INT(parse("yesterday 18:30", MOMENT_BEHIND), today - DAY + 18 * HOUR + HOUR / 2);
	CHECK_INT(parse("today", MOMENT_BEHIND), today);
	CHECK_INT(parse("09:00", MOMENT_BEHIND), today + 9 * HOUR);
	CHECK_INT(parse("10:00", MOMENT_BEHIND), NOW);
	CHECK_INT(parse("11:00", MOMENT_BEHIND), today - DAY + 11 * HOUR);
	CHECK_INT(parse("2025-11-01", MOMENT_BEHIND), 1761955200);
	CHECK_INT(parse("2025-11-01T01:00:00+01:00", MOMENT_BEHIND), 1761955200);
	CHECK_INT(parse("1761955200", MOMENT_BEHIND), 1761955200);
}

static void ahead(void)
{
	const int64_t today = NOW - 10 * HOUR;

	CHECK_INT(parse("+2h", MOMENT_AHEAD), NOW + 2 * HOUR);
	CHECK_INT(parse("2h", MOMENT_AHEAD), -1);
	CHECK_INT(parse("tomorrow 08:00", MOMENT_AHEAD), today + DAY + 8 * HOUR);
	CHECK_INT(parse("10:00", MOMENT_AHEAD), NOW + DAY);
	CHECK_INT(parse("11:00", MOMENT_AHEAD), today + 11 * HOUR);
}

static void nonsense(void)
{
	static const char *const bad[] = { "", "-", "+", "d", "--1d", "yesterday8:00", "2025-02-30",
		"2025-13-01", "25:00", "2025-11-01 ", " 7d", "7", "today+1d", "0x10" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (int direction = 0; direction < 2; direction++) {
			CHECK_INT(parse(bad[i], (enum moment)direction), -1);
			if (parse(bad[i], (enum moment)direction) != -1)
				printf("# '%s'\n", bad[i]);
		}
}

int main(void)
{
	TEST(behind);
	TEST(ahead);
	TEST(nonsense);
	return tap_done();
}
