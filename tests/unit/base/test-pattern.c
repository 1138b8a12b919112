/* SPDX-License-Identifier: MIT */
#include "base/pattern.h"

#include <errno.h>

#include "../tap.h"

static const struct pattern_values job = {
	.id = 42, .user = "alice", .name = "a/../b", .host = "here"
};
static const struct pattern_values element = {
	.id = 50, .array = 42, .index = 7, .user = "alice", .name = "n", .host = "here"
};

static void check(const char *pattern, const struct pattern_values *values, const char *expected)
{
	struct error err = { 0 };
	char name[64] = "";

	CHECK_INT(pattern_expand(pattern, values, name, sizeof(name), &err), 0);
	CHECK_STR(name, expected);
}

static void every_letter(void)
{
	check("%j %A %a %u %h %%", &job, "42 42 0 alice here %");
	check("%j %A %a", &element, "50 42 7");
	check(PATTERN_JOB, &job, "dibs-42.log");
	check(PATTERN_ELEMENT, &element, "dibs-42_7.log");
	check("plain", &job, "plain");
	check("/a/b", &job, "/a/b");
}

static void numbers_have_as_many_digits_as_is_said(void)
{
	check("%8j %4A %1a", &job, "00000042 0042 0");
	check("%3a.%10A", &element, "007.0000000042");
	check("%1j %0j", &job, "42 42");
	check("%99999999999999999999j", &job, "0000000042");
	check("%5u%3%%2h", &job, "alice%here");
}

/* Or a job could name its log into another directory than the pattern says. */
static void values_have_no_slashes(void)
{
	check("/logs/%x/", &job, "/logs/a_.._b/");
}

static void refuses_the_rest(void)
{
	static const char *const bad[] = { "", "%", "a%", "%z", "%5", "%5z", "%-5j", "%\n" };
	struct error err = { 0 };
	char name[64] = "untouched";

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_INT(pattern_expand(bad[i], &job, name, sizeof(name), &err), -EINVAL);
	pattern_expand("%z", &job, name, sizeof(name), &err);
	CHECK(strstr(err.text, "%z in the name of a log means nothing"));
}

static void long_names_are_refused(void)
{
	char name[9];

	CHECK_INT(pattern_expand("12345678", &job, name, sizeof(name), NULL), 0);
	CHECK_STR(name, "12345678");
	CHECK_INT(pattern_expand("123456789", &job, name, sizeof(name), NULL), -ENAMETOOLONG);
	CHECK_INT(pattern_expand("1234%u", &job, name, sizeof(name), NULL), -ENAMETOOLONG);
}

int main(void)
{
	TEST(every_letter);
	TEST(numbers_have_as_many_digits_as_is_said);
	TEST(values_have_no_slashes);
	TEST(refuses_the_rest);
	TEST(long_names_are_refused);
	return tap_done();
}
