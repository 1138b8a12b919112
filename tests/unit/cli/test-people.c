/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "../tap.h"
#include "cli/people.h"

#define NOBODY_HAS INT64_C(3999999999)

static void names(void)
{
	struct people people = { 0 };

	CHECK_STR(people_name(&people, 0), "root");
	CHECK_STR(people_name(&people, NOBODY_HAS), "3999999999");
	CHECK_STR(people_name(&people, -1), "-1");
	CHECK_STR(people_name(&people, 0), "root");
	CHECK_INT(people.n, 3);
}

static void forgets_the_oldest(void)
{
	struct people people = { 0 };

	for (int64_t i = 0; i < 100; i++)
		people_name(&people, NOBODY_HAS + i);
	CHECK_STR(people_name(&people, NOBODY_HAS + 99), "4000000098");
	CHECK_STR(people_name(&people, NOBODY_HAS), "3999999999");
}

static void check_rename(const char *from, const char *to)
{
	struct people people = { 0 };
	char text[128];

	people_rename(&people, text, sizeof(text), from);
	CHECK_STR(text, to);
}

static void renames(void)
{
	check_rename("GPU 3 is leased by uid 0 until 18:40", "GPU 3 is leased by root until 18:40");
	check_rename("uid 0, uid 3999999999", "root, 3999999999");
	check_rename("fluid 0, uid x, uid ", "fluid 0, uid x, uid ");
	check_rename("uid 99999999999999999999", "uid 99999999999999999999");
	check_rename("\033[0m, uid 0", "?[0m, root");
}

static void cuts(void)
{
	struct people people = { 0 };
	char text[6];

	people_rename(&people, text, sizeof(text), "by uid 0");
	CHECK_STR(text, "by ro");
}

int main(void)
{
	TEST(names);
	TEST(forgets_the_oldest);
	TEST(renames);
	TEST(cuts);
	return tap_done();
}
