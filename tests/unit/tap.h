/* SPDX-License-Identifier: MIT */
/*
 * Unit tests that speak TAP. A test is a function that checks; one file is one program:
 *
 *	static void adds(void) { CHECK(1 + 1 == 2); }
 *	int main(void) { TEST(adds); return tap_done(); }
 *
 * A failed check is printed with its place and the test goes on, so that one run shows all that is
 *wrong.
 */
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures, tap_failed_now;

#define CHECK(condition)                                                         \
	do {                                                                     \
		if (!(condition)) {                                              \
			tap_failed_now = 1;                                      \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition); \
		}                                                                \
	} while (0)

#define CHECK_INT(actual, expected)                                                         \
	do {                                                                                \
		intmax_t actual_ = (intmax_t)(actual), expected_ = (intmax_t)(expected);    \
		if (actual_ != expected_) {                                                 \
			tap_failed_now = 1;                                                 \
			printf("# %s:%d: %s is %" PRIdMAX ", not %" PRIdMAX "\n", __FILE__, \
				__LINE__, #actual, actual_, expected_);                     \
		}                                                                           \
	} while (0)

#define CHECK_STR(actual, expected)                                                                \
	do {                                                                                       \
		const char *actual_ = (actual), *expected_ = (expected);                           \
		if (!actual_ || strcmp(actual_, expected_) != 0) {                                 \
			tap_failed_now = 1;                                                        \
			printf("# %s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #actual, \
				actual_ ? actual_ : "(null)", expected_);                          \
		}                                                                                  \
	} while (0)

#define TEST(fn)                                                                        \
	do {                                                                            \
		tap_failed_now = 0;                                                     \
		fn();                                                                   \
		tap_count++;                                                            \
		tap_failures += tap_failed_now;                                         \
		printf("%sok %d - %s\n", tap_failed_now ? "not " : "", tap_count, #fn); \
		fflush(stdout);                                                         \
	} while (0)

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures != 0;
}
