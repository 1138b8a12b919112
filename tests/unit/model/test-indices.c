/* SPDX-License-Identifier: MIT */
#include "model/indices.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macro.h"
#include "tests/unit/tap.h"

/* Parses, and gives back what it means; "-EINVAL" and the like if it is refused. */
static const char *canonical(const char *s)
{
	static char text[256];
	struct indices indices = { (void *)1, 77 };
	int r = indices_parse(s, &indices);
	char *formatted;

	if (r < 0) {
		CHECK(indices.ranges == (void *)1 && indices.n_ranges == 77);
		return r == -EINVAL ? "-EINVAL" : r == -ERANGE ? "-ERANGE" : "-EEXIST";
	}
	formatted = indices_format(&indices);
	snprintf(text, sizeof(text), "%s", formatted);
	free(formatted);
	indices_clear(&indices);
	return text;
}

static void what_is_typed_is_a_set(void)
{
	CHECK_STR(canonical("7"), "7");
	CHECK_STR(canonical("0-9"), "0-9");
	CHECK_STR(canonical("12,0-9"), "0-9,12");
	CHECK_STR(canonical("10,0-9"), "0-10");
	CHECK_STR(canonical("2,0,1"), "0-2");
	CHECK_STR(canonical("0,2,1,4,3"), "0-4");
	CHECK_STR(canonical("20-40:5"), "20,25,30,35,40");
	CHECK_STR(canonical("0-9:4"), "0,4,8");
	CHECK_STR(canonical("0-8:2,1-9:2"), "0-9");
	CHECK_STR(canonical("5-5"), "5");
	CHECK_STR(canonical("1000000"), "1000000");
	CHECK_STR(canonical("999999-1000000"), "999999-1000000");
}

static void nonsense_is_refused(void)
{
	static const char *const nonsense[] = { "", ",", "1,", ",1", "1,,2", "-", "1-", "-1", "2-1",
		"1-2-3", "a", "1-b", "0x1", " 1", "1 ", "1-9:0", "1-9:", "1:2", "1-9:2:3", "+1",
		"0-9%2" };

	for (size_t i = 0; i < ELEMENTSOF(nonsense); i++)
		CHECK_STR(canonical(nonsense[i]), "-EINVAL");
	CHECK_STR(canonical("1,1"), "-EEXIST");
	CHECK_STR(canonical("0-9,5"), "-EEXIST");
	CHECK_STR(canonical("0-9,9-12"), "-EEXIST");
	CHECK_STR(canonical("1000001"), "-ERANGE");
	CHECK_STR(canonical("99999999999999999999"), "-ERANGE");
	CHECK_STR(canonical("0-99999999999999999999"), "-ERANGE");
}

static void there_are_limits(void)
{
	CHECK_STR(canonical("0-99999"), "0-99999"); /* INDICES_MAX */
	CHECK_STR(canonical("0-100000"), "-ERANGE");
	CHECK_STR(canonical("0-99999,200000"), "-ERANGE");
	CHECK_STR(canonical("0-1000000:10"), "-ERANGE");
	CHECK_STR(canonical("0-1998:2,5000"), "-ERANGE"); /* INDICES_RANGES_MAX, and one */
}

static void as_many_ranges_as_allowed(void)
{
	struct indices indices;

	CHECK_INT(indices_parse("0-1998:2", &indices), 0);
	CHECK_INT(indices.n_ranges, INDICES_RANGES_MAX);
	CHECK_INT(indices_count(&indices), 1000);
	CHECK_INT(indices_remove(&indices, 1998), 0);
	CHECK_INT(indices_count(&indices), 999);
	indices_clear(&indices);
}

static void one_after_the_other(void)
{
	struct indices indices;
	unsigned n = 0;

	CHECK_INT(indices_parse("3-5,0,9", &indices), 0);
	CHECK_INT(indices_count(&indices), 5);
	for (int64_t last = -1; indices_first(&indices) >= 0; n++) {
		CHECK(indices_first(&indices) > last);
		last = indices_first(&indices);
		CHECK_INT(indices_remove(&indices, last), 0);
		CHECK(!indices_has(&indices, last));
	}
	CHECK_INT(n, 5);
	CHECK_INT(indices.n_ranges, 0);
	CHECK_INT(indices_first(&indices), -1);
	CHECK_INT(indices_remove(&indices, 0), -ENOENT);
	indices_clear(&indices);
}

static void a_range_may_become_two(void)
{
	struct indices indices, copy;
	char *text;

	CHECK_INT(indices_parse("0-9", &indices), 0);
	CHECK_INT(indices_copy(&indices, &copy), 0);
	CHECK_INT(indices_remove(&indices, 4), 0);
	CHECK_INT(indices_remove(&indices, 4), -ENOENT);
	CHECK_INT(indices_remove(&indices, 9), 0);
	CHECK_INT(indices_remove(&indices, 10), -ENOENT);
	text = indices_format(&indices);
	CHECK_STR(text, "0-3,5-8");
	free(text);
	CHECK(indices_has(&indices, 0) && indices_has(&indices, 8));
	CHECK(!indices_has(&indices, 4) && !indices_has(&indices, 9) && !indices_has(&indices, -1));
	CHECK_INT(indices_count(&copy), 10); /* is one of its own */
	indices_clear(&indices);
	indices_clear(&copy);
}

static void none_at_all(void)
{
	struct indices none = { 0 }, copy;
	char *text = indices_format(&none);

	CHECK_STR(text, "");
	free(text);
	CHECK_INT(indices_count(&none), 0);
	CHECK(!indices_has(&none, 0));
	CHECK_INT(indices_copy(&none, &copy), 0);
	CHECK_INT(copy.n_ranges, 0);
	indices_clear(&copy);
	indices_clear(&none);
}

int main(void)
{
	TEST(what_is_typed_is_a_set);
	TEST(nonsense_is_refused);
	TEST(there_are_limits);
	TEST(as_many_ranges_as_allowed);
	TEST(one_after_the_other);
	TEST(a_range_may_become_two);
	TEST(none_at_all);
	return tap_done();
}
