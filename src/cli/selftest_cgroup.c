/* SPDX-License-Identifier: MIT */
/* Cgroups of ours. Nobody else can write in there, but what is removed is never followed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "cli/selftest.h"

#define END_MS 5000

int selftest_cgroup(const char *parent, const char *name, char *ret, size_t size)
{
	int n = snprintf(ret, size, "%s/%s", parent, name);

	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	return mkdir(ret, 0755) < 0 ? -errno : 0;
}

/* Waits until what was killed is gone. */
static int await_empty(int dir)
{
	_cleanup_(closep) int fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct pollfd change = { .fd = fd, .events = POLLPRI };
	char text[128];

	do {
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

		if (n < 0)
			return -errno;
		text[n] = '\0';
		if (!strstr(text, "populated 1"))
			return 0;
	} while (poll(&change, 1, END_MS) > 0);
	return -EBUSY;
}

static int remove_below(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		int r = 0;

		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			r = remove_below(dirfd(dir), entry->d_name);
		if (r < 0)
			return r;
	}
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int selftest_remove_cgroup(const char *path)
{
	_cleanup_(closep) int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (dir < 0)
		return -errno;
	write_file_at(dir, "cgroup.kill", "1"); /* since 5.14; before, they end with their worker */
	r = await_empty(dir);
	return r < 0 ? r : remove_below(AT_FDCWD, path);
}
