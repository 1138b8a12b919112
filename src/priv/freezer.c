/* SPDX-License-Identifier: MIT */
#include "priv/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define MARK_SIZE   8192 /* a pid takes 8 bytes at most */
#define EVENTS_SIZE 256

int freezer_set(int dir, bool frozen, int64_t deadline_ms)
{
	const char *wanted = frozen ? "frozen 1" : "frozen 0";
	_cleanup_(closep) int events = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct pollfd changed = { .fd = events, .events = POLLPRI };
	int r;

	if (events < 0)
		return -errno;
	r = write_file_at(dir, "cgroup.freeze", frozen ? "1" : "0");
	while (r >= 0) {
		char text[EVENTS_SIZE];
		int64_t left_ms = deadline_ms - clock_monotonic_ms();
		ssize_t n = pread(events, text, sizeof(text) - 1, 0); /* arms poll */

		if (n < 0)
			return -errno;
		text[n] = '\0';
		if (strstr(text, wanted))
			return 0;
		if (left_ms <= 0)
			return -ETIMEDOUT;
		poll(&changed, 1, (int)MIN(left_ms, INT32_MAX));
	}
	return r;
}

int freezer_mark(int dir, const pid_t *pids, size_t n)
{
	char text[MARK_SIZE] = "begun";
	size_t used = strlen(text);

	for (size_t i = 0; i < n; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, " %d", (int)pids[i]);
		if (used >= sizeof(text))
			return -E2BIG;
	}
	return fsetxattr(dir, FREEZER_MARK, text, used, 0) < 0 ? -errno : 0;
}

int freezer_unmark(int dir)
{
	return fremovexattr(dir, FREEZER_MARK) < 0 && errno != ENODATA ? -errno : 0;
}

int freezer_read_mark(int dir, pid_t *ret_pids, size_t max)
{
	char text[MARK_SIZE + 1], *cursor = text, *word;
	ssize_t size = fgetxattr(dir, FREEZER_MARK, text, sizeof(text) - 1);
	size_t n = 0;

	if (size < 0)
		return -errno;
	text[size] = '\0';
	strsep(&cursor, " ");
	while (n < max && (word = strsep(&cursor, " ")))
		ret_pids[n++] = (pid_t)strtol(word, NULL, 10);
	return (int)n;
}
