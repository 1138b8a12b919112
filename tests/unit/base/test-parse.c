/* SPDX-License-Identifier: MIT */
#include "base/parse.h"

#include <errno.h>

#include "../tap.h"
#include "base/macro.h"

static void durations_of_every_form(void)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} good[] = {
		{ "0", 0 },
		{ "0s", 0 },
		{ "90s", 90 },
		{ "30m", 1800 },
		{ "4h", 14400 },
		{ "2d", 172800 },
		{ "1w", 604800 },
		{ "1h30m", 5400 },
		{ "1w2d3h4m5s", 788645 },
	};
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "", -EINVAL },
		{ " 1h", -EINVAL },
		{ "1h ", -EINVAL },
		{ "-1h", -EINVAL },
		{ "+1h", -EINVAL },
		{ "1", -EINVAL },
		{ "h", -EINVAL },
		{ "1.5h", -EINVAL },
		{ "1x", -EINVAL },
		{ "1m1h", -EINVAL },
		{ "1h1h", -EINVAL },
		{ "1H", -EINVAL },
		{ "1e9s", -EINVAL },
		{ "0x1h", -EINVAL },
		{ "1h\n", -EINVAL },
		{ "4000d", -ERANGE },
		{ "99999999999999999999s", -ERANGE },
		{ "9223372036854775807w", -ERANGE },
		{ "18446744073709551615s", -ERANGE },
	};
	int64_t us;

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		CHECK_INT(parse_duration(good[i].text, &us), 0);
		CHECK_INT(us, good[i].seconds * USEC_PER_SEC);
	}
	us = 42;
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		CHECK_INT(parse_duration(bad[i].text, &us), bad[i].error);
	CHECK_INT(us, 42);
}

static void sizes_of_every_form(void)
{
	static const char *const bad[] = { "", "8", "G", "-8G", "8K", "8GG", "8Gi", "8 G", "1.5G",
		"0M", "99999999999999999T", "8G\n", "8GBs" };
	uint64_t mib = 42;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		CHECK(parse_size(bad[i], &mib) < 0);
	CHECK_INT(mib, 42);
	CHECK_INT(parse_size("8192M", &mib), 0);
	CHECK_INT(mib, 8192);
	CHECK_INT(parse_size("8G", &mib), 0);
	CHECK_INT(mib, 8192);
	CHECK_INT(parse_size("80gib", &mib), 0);
	CHECK_INT(mib, 81920);
	CHECK_INT(parse_size("1TB", &mib), 0);
	CHECK_INT(mib, 1048576);
}

static void numbers_are_digits_only(void)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "0x1", "1e9", "1.0", "one",
		"18446744073709551616" };
	uint64_t value = 42;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		CHECK(parse_uint(bad[i], 0, UINT64_MAX, &value) < 0);
	CHECK_INT(parse_uint("0", 1, 9, &value), -ERANGE);
	CHECK_INT(parse_uint("10", 1, 9, &value), -ERANGE);
	CHECK_INT(value, 42);
	CHECK_INT(parse_uint("9", 1, 9, &value), 0);
	CHECK_INT(value, 9);
	CHECK_INT(parse_uint("18446744073709551615", 0, UINT64_MAX, &value), 0);
	CHECK(value == UINT64_MAX);
}

static void durations_are_shown_in_two_units(void)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
		{ -5, "0s" },
		{ 0, "0s" },
		{ 59, "59s" },
		{ 60, "1m" },
		{ 5400, "1h30m" },
		{ 86400, "1d" },
		{ 86405, "1d" },
		{ 93600, "1d2h" },
		{ 694861, "1w1d" },
	};
	char text[DURATION_TEXT_SIZE];

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		format_duration(text, cases[i].seconds * USEC_PER_SEC);
		CHECK_STR(text, cases[i].text);
	}
}

static void times_are_rfc3339(void)
{
	char text[TIME_TEXT_SIZE];

	setenv("TZ", "UTC0", 1);
	tzset();
	format_time(text, INT64_C(1700000000) * USEC_PER_SEC);
	CHECK_STR(text, "2023-11-14T22:13:20+00:00");
	setenv("TZ", "IST-5:30", 1);
	tzset();
	format_time(text, INT64_C(1700000000) * USEC_PER_SEC);
	CHECK_STR(text, "2023-11-15T03:43:20+05:30");
}

int main(void)
{
	TEST(durations_of_every_form);
	TEST(sizes_of_every_form);
	TEST(numbers_are_digits_only);
	TEST(durations_are_shown_in_two_units);
	TEST(times_are_rfc3339);
	return tap_done();
}
