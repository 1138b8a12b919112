/* SPDX-License-Identifier: MIT */
/*
 * A wall clock that somebody sets: preloaded, it adds the seconds that are in the file
 * DIBS_CLOCK_OFFSET (eight bytes, mapped, so that a change counts at once) to CLOCK_REALTIME. All
 * other clocks go on as they are, as they do when a real clock is set.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t offset_sec(void)
{
	static const volatile int64_t *mapped;
	const char *path = getenv("DIBS_CLOCK_OFFSET");

	if (!mapped && path) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		void *memory = mmap(NULL, sizeof(*mapped), PROT_READ, MAP_SHARED, fd, 0);

		close(fd);
		if (memory == MAP_FAILED)
			abort();
		mapped = memory;
	}
	return mapped ? *mapped : 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int (*real)(clockid_t, struct timespec *) =
		(int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(id, ts);

	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += (time_t)offset_sec();
	return r;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*ret = (struct timeval){ now.tv_sec, now.tv_nsec / 1000 };
	return 0;
}
