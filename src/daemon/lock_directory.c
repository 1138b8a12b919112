/* SPDX-License-Identifier: MIT */
#include "daemon/lock_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macro.h"

/* Of root, and sticky, whoever made it. Security: a lock is a lease, so it is for those who may use
 * the socket. */
int lock_directory_open(const char *path, const struct config *config)
{
	bool all = config->socket_mode & S_IWOTH;
	gid_t gid = all || config->socket_group == (gid_t)-1 ? 0 : config->socket_group;
	_cleanup_(closep) int fd = -1;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, 0, gid) < 0 || fchmod(fd, all ? 01777 : 01770) < 0)
		return -errno;
	return TAKE_FD(fd);
}

bool lock_directory_is_at(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	       ours.st_ino == there.st_ino;
}

void lock_directory_link(const char *path)
{
	static const char *const names[] = { "gpu_lock", "gpu_locks" };
	const char *slash = strrchr(path, '/') + 1;
	char other[PATH_MAX], target[PATH_MAX];
	ssize_t n = (ssize_t)strlen(slash);
	int i = strcmp(slash, names[0]) == 0 ? 1 : strcmp(slash, names[1]) == 0 ? 0 : -1;

	if (i < 0)
		return;
	snprintf(other, sizeof(other), "%.*s%s", (int)(slash - path), path, names[i]);
	rmdir(other);
	if (symlink(slash, other) < 0 && errno != EEXIST)
		log_warning("cannot make %s: %m", other);
	else if (readlink(other, target, sizeof(target)) != n || memcmp(target, slash, (size_t)n))
		log_warning("%s is no link to %s: whose locks are there is not known", other, path);
}
