/* SPDX-License-Identifier: MIT */
/*
 * The clock that leases live by.
 *
 * A hold of four hours lasts four hours, whoever sets the wall clock meanwhile. So all stored times
 * are "ledger time": microseconds that advance with CLOCK_BOOTTIME (which also counts suspend) from
 * a starting point chosen once a boot. Within a boot a step of the wall clock does not touch it.
 * Across a reboot only the wall clock knows how long the machine was off, so the new starting point
 * is: last recorded ledger time + wall clock elapsed since it was recorded (never negative). Ledger
 * time starts out equal to the wall clock, which makes stored values readable, and is turned into
 * wall-clock time only where it is shown.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TIME_NEVER INT64_MAX

/* us after at_us; TIME_NEVER if no time is that late. */
static inline int64_t time_add(int64_t at_us, int64_t us)
{
	int64_t sum;

	return __builtin_add_overflow(at_us, us, &sum) ? TIME_NEVER : sum;
}

#define BOOT_ID_SIZE 37

/* What is stored of a clock, so that it goes on after a restart. */
struct clock_mark {
	char boot_id[BOOT_ID_SIZE]; /* empty: nothing was ever stored */
	int64_t offset_us;          /* ledger time - CLOCK_BOOTTIME, in that boot */
	int64_t ledger_us;          /* a recent ledger time ... */
	int64_t wall_us;            /* ... and what the wall clock said at that moment */
};

struct clock {
	char boot_id[BOOT_ID_SIZE];
	int64_t offset_us;
	bool new_boot;          /* the machine was booted since mark was stored */
	int64_t wall_offset_us; /* as of the latest look */
};

/* Starts the clock from what was stored (mark.boot_id empty: for the first time). Negative errno if
 * the boot id cannot be read. */
int clock_init(struct clock *clock, const struct clock_mark *mark);

/* Ledger time now. */
int64_t clock_now(const struct clock *clock);

/* The mark to store: this moment. */
void clock_mark(const struct clock *clock, struct clock_mark *ret);

/* Looks at the wall clock. To be called before times are shown: whoever compares two of them must
 * not see the microseconds between two readings of two clocks, so the offset below changes only
 * when the wall clock moved by more than a millisecond. */
void clock_look(struct clock *clock);

/* What to add to a ledger time to show it as CLOCK_REALTIME, as of the latest look. */
int64_t clock_to_wall_offset(const struct clock *clock);

/* The ledger time of a moment of this boot by CLOCK_MONOTONIC, which stands still while the machine
 * sleeps: too late by what it has slept since then. */
int64_t clock_from_monotonic(const struct clock *clock, int64_t monotonic_us);

/* CLOCK_BOOTTIME deadline of a ledger time, for timers. TIME_NEVER stays TIME_NEVER. */
int64_t clock_to_boottime(const struct clock *clock, int64_t ledger_us);

/* CLOCK_MONOTONIC, for deadlines of what is waited for. */
int64_t clock_monotonic_ms(void);

/* CLOCK_PROCESS_CPUTIME_ID: what this process has cost so far, in microseconds. */
int64_t clock_cpu(void);

/* CLOCK_REALTIME in microseconds. */
int64_t clock_wall(void);
