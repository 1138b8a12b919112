/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include "../tap.h"
#include "base/parse.h"

#define SLACK_US (60 * USEC_PER_SEC)

static bool near(int64_t a, int64_t b)
{
	return a > b - SLACK_US && a < b + SLACK_US;
}

static void begins_at_the_wall_clock(void)
{
	struct clock clock;
	struct clock_mark none = { 0 };

	CHECK_INT(clock_init(&clock, &none), 0);
	CHECK(!clock.new_boot);
	CHECK(near(clock_now(&clock), clock_wall()));
	CHECK(near(clock_to_wall_offset(&clock), 0));
}

static void goes_on_within_a_boot_whatever_the_wall_clock_says(void)
{
	struct clock clock, again;
	struct clock_mark mark = { 0 };
	int64_t day_us = 86400 * USEC_PER_SEC;

	clock_init(&clock, &mark);
	clock.offset_us += 7 * day_us; /* as if the wall clock had been set back by a week since */
	clock_mark(&clock, &mark);
	CHECK_INT(clock_init(&again, &mark), 0);
	CHECK(near(clock_now(&again), clock_now(&clock)));
	CHECK(near(clock_to_wall_offset(&again), -7 * day_us));
}

static void counts_the_time_that_the_machine_was_off(void)
{
	struct clock clock;
	int64_t hour_us = 3600 * USEC_PER_SEC;
	struct clock_mark mark = {
		.boot_id = "00000000-0000-0000-0000-000000000000",
		.ledger_us = 1000 * hour_us,
		.wall_us = clock_wall() - 5 * hour_us,
	};

	CHECK_INT(clock_init(&clock, &mark), 0);
	CHECK(clock.new_boot);
	CHECK(near(clock_now(&clock), 1005 * hour_us));

	mark.wall_us =
		clock_wall() +
		5 * hour_us; /* set back while it was off: time still does not run backwards */
	CHECK_INT(clock_init(&clock, &mark), 0);
	CHECK(near(clock_now(&clock), 1000 * hour_us));
}

static void shown_times_do_not_jitter(void)
{
	struct clock clock;
	struct clock_mark none = { 0 };
	int64_t first_us;

	clock_init(&clock, &none);
	first_us = clock_to_wall_offset(&clock);
	for (int i = 0; i < 1000; i++) {
		clock_look(&clock);
		if (clock_to_wall_offset(&clock) != first_us)
			CHECK(false);
	}
	clock.offset_us -= 10 * USEC_PER_SEC; /* as if the wall clock had been set forward */
	clock_look(&clock);
	CHECK(near(clock_to_wall_offset(&clock) - first_us, 10 * USEC_PER_SEC));
	CHECK(clock_to_wall_offset(&clock) != first_us);
}

static void moments_of_the_kernel_are_placed(void)
{
	struct clock clock;
	struct clock_mark none = { 0 };
	struct timespec ts;
	int64_t now_us;

	clock_init(&clock, &none);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now_us = (int64_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
	CHECK(near(clock_from_monotonic(&clock, now_us), clock_now(&clock)));
	CHECK(near(clock_from_monotonic(&clock, now_us - 60 * USEC_PER_SEC),
		clock_now(&clock) - 60 * USEC_PER_SEC));
}

static void never_stays_never(void)
{
	struct clock clock = { .offset_us = 5 };

	CHECK(clock_to_boottime(&clock, TIME_NEVER) == TIME_NEVER);
	CHECK_INT(clock_to_boottime(&clock, 12), 7);
}

int main(void)
{
	TEST(begins_at_the_wall_clock);
	TEST(goes_on_within_a_boot_whatever_the_wall_clock_says);
	TEST(counts_the_time_that_the_machine_was_off);
	TEST(shown_times_do_not_jitter);
	TEST(moments_of_the_kernel_are_placed);
	TEST(never_stays_never);
	return tap_done();
}
