/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/text.h"

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(void)
{
	return read_clock(CLOCK_MONOTONIC) / USEC_PER_MSEC;
}

int64_t clock_cpu(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t clock_wall(void)
{
	return read_clock(CLOCK_REALTIME);
}

int clock_init(struct clock *clock, const struct clock_mark *mark)
{
	char boot_id[64];
	ssize_t n =
		read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id));

	if (n < 0)
		return (int)n;
	boot_id[strcspn(boot_id, "\n")] = '\0';
	text_copy(clock->boot_id, sizeof(clock->boot_id), boot_id);
	clock->new_boot = mark->boot_id[0] && strcmp(mark->boot_id, clock->boot_id) != 0;

	if (!mark->boot_id[0]) {
		clock->offset_us = clock_wall() - read_clock(CLOCK_BOOTTIME);
	} else if (clock->new_boot) {
		int64_t off_us = clock_wall() - mark->wall_us;

		clock->offset_us = mark->ledger_us + MAX(off_us, 0) - read_clock(CLOCK_BOOTTIME);
	} else {
		clock->offset_us = mark->offset_us;
	}
	clock->wall_offset_us = clock_wall() - clock_now(clock);
	return 0;
}

int64_t clock_now(const struct clock *clock)
{
	return read_clock(CLOCK_BOOTTIME) + clock->offset_us;
}

void clock_mark(const struct clock *clock, struct clock_mark *ret)
{
	memcpy(ret->boot_id, clock->boot_id, sizeof(ret->boot_id));
	ret->offset_us = clock->offset_us;
	ret->ledger_us = clock_now(clock);
	ret->wall_us = clock_wall();
}

void clock_look(struct clock *clock)
{
	int64_t offset_us = clock_wall() - clock_now(clock);

	if (llabs(offset_us - clock->wall_offset_us) > USEC_PER_MSEC)
		clock->wall_offset_us = offset_us;
}

int64_t clock_to_wall_offset(const struct clock *clock)
{
	return clock->wall_offset_us;
}

int64_t clock_from_monotonic(const struct clock *clock, int64_t monotonic_us)
{
	return clock_now(clock) - read_clock(CLOCK_MONOTONIC) + monotonic_us;
}

int64_t clock_to_boottime(const struct clock *clock, int64_t ledger_us)
{
	return ledger_us == TIME_NEVER ? TIME_NEVER : ledger_us - clock->offset_us;
}
