/* SPDX-License-Identifier: MIT */
/*
 * The name in /proc/PID/stat is whatever the process likes, blanks and parentheses included, so
 * that line is read from its last ")" on. Files that can be of any length (the supplementary groups
 * in status, v1 hierarchies in cgroup) are read line by line until the one that is wanted.
 *
 * A process that ends while its file is being read makes read(2) say ESRCH, one that ended before
 * makes open(2) say ENOENT: both are -ESRCH here.
 */
#include "priv/process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/text.h"

#define PROC_PATH_SIZE 64
#define STAT_SIZE      1024
#define FIELDS_4_TO_19 \
	"%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s " /* of stat */

static void proc_path(char path[PROC_PATH_SIZE], pid_t pid, const char *file)
{
	snprintf(path, PROC_PATH_SIZE, "/proc/%d/%s", pid, file);
}

static int gone(int error)
{
	return error == -ENOENT ? -ESRCH : error;
}

static ssize_t read_proc(pid_t pid, const char *file, char *dst, size_t size)
{
	char path[PROC_PATH_SIZE];
	ssize_t n;

	proc_path(path, pid, file);
	n = read_file_at(AT_FDCWD, path, dst, size);
	return n < 0 ? gone((int)n) : n;
}

int process_start_ticks(pid_t pid, uint64_t *ret)
{
	char stat[STAT_SIZE];
	ssize_t n = read_proc(pid, "stat", stat, sizeof(stat));
	const char *p;
	char state;
	unsigned threads;
	uint64_t start;

	if (n < 0)
		return (int)n;
	p = strrchr(stat, ')');
	if (!p ||
		sscanf(p, ") %c " FIELDS_4_TO_19 "%u %*s %" SCNu64, &state, &threads, &start) != 3)
		return -EBADMSG;
	/* A leader that exited waits as a zombie for its threads, which may hold anything. */
	if (state == 'X' || (state == 'Z' && threads <= 1))
		return -ESRCH;
	*ret = start;
	return 0;
}

int process_open(pid_t pid, uint64_t start_ticks)
{
	_cleanup_(closep) int fd = pidfd_open(pid, 0);
	uint64_t now;
	int r;

	if (fd < 0)
		return -errno;
	/* Read after the pidfd was opened: if it is the same process now, it was then. */
	r = process_start_ticks(pid, &now);
	if (r < 0)
		return r;
	return now == start_ticks ? TAKE_FD(fd) : -ESRCH;
}

/* The rest of the first line of a file of /proc/PID that starts with prefix; the caller frees
 * *ret. -ENODATA: no such line. */
static int proc_line(pid_t pid, const char *file, const char *prefix, char **ret)
{
	char path[PROC_PATH_SIZE];
	_cleanup_(fclosep) FILE *f = NULL;
	_cleanup_(freep) char *line = NULL;
	size_t size = 0, skip = strlen(prefix);

	proc_path(path, pid, file);
	f = fopen(path, "re");
	if (!f)
		return gone(-errno);
	for (;;) {
		ssize_t n;

		errno = 0;
		n = getline(&line, &size, f);
		if (n < 0)
			return errno ? gone(-errno) : -ENODATA;
		if (strncmp(line, prefix, skip) == 0) {
			if (line[n - 1] == '\n')
				line[n - 1] = '\0';
			memmove(line, line + skip, strlen(line + skip) + 1);
			*ret = TAKE_PTR(line);
			return 0;
		}
	}
}

int process_uid(pid_t pid, uid_t *ret)
{
	_cleanup_(freep) char *line = NULL;
	int r = proc_line(pid, "status", "Uid:", &line);

	if (r < 0)
		return r;
	return sscanf(line, "%" SCNu32, ret) == 1 ? 0 : -EBADMSG;
}

int process_check_owner(pid_t pid, uid_t uid)
{
	_cleanup_(freep) char *line = NULL;
	uid_t real, saved;
	int r = proc_line(pid, "status", "Uid:", &line);

	if (r < 0)
		return r;
	if (sscanf(line, "%" SCNu32 " %*u %" SCNu32, &real, &saved) != 2)
		return -EBADMSG;
	return uid == 0 || uid == real || uid == saved ? 0 : -EPERM;
}

int process_cgroup(pid_t pid, char *dst, size_t size)
{
	_cleanup_(freep) char *line = NULL;
	int r = proc_line(pid, "cgroup", "0::", &line);

	if (r < 0)
		return r == -ENODATA ? -EOPNOTSUPP : r;
	if (strlen(line) >= size)
		return -ENAMETOOLONG;
	text_copy(dst, size, line);
	return 0;
}

int process_name(pid_t pid, char *dst, size_t size)
{
	char name[STAT_SIZE];
	ssize_t n = read_proc(pid, "comm", name, sizeof(name));
	_cleanup_(freep) char *text = NULL;

	if (n < 0)
		return (int)n;
	if (n > 0 && name[n - 1] == '\n')
		name[n - 1] = '\0';
	text = text_format("[%s]", name);
	if (!text)
		return -ENOMEM;
	text_sanitize(text);
	text_copy(dst, size, text);
	return 0;
}

static bool is_system_path(const char *path)
{
	static const char *const places[] = { "/usr/", "/opt/", "/bin/", "/sbin/" };

	for (size_t i = 0; i < ELEMENTSOF(places); i++)
		if (strncmp(path, places[i], strlen(places[i])) == 0)
			return true;
	return false;
}

/* Never asks the server of a network file system, which may not answer. */
static int look(const char *path, struct statx *ret)
{
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		       STATX_TYPE | STATX_MODE | STATX_UID | STATX_INO, ret) < 0
		       ? -errno
		       : 0;
}

int process_program(pid_t pid, char *dst, size_t size)
{
	char link[PROC_PATH_SIZE], path[PATH_MAX];
	struct statx running, installed;
	ssize_t n;

	proc_path(link, pid, "exe");
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return gone(-errno);
	path[n] = '\0';
	/* Security: in a mount namespace of their own, users can give any file any path; so the
	 * path must lead to the same file here, in a place that only root writes. */
	if (!is_system_path(path) || look(path, &installed) < 0 || look(link, &running) < 0 ||
		installed.stx_ino != running.stx_ino ||
		installed.stx_dev_major != running.stx_dev_major ||
		installed.stx_dev_minor != running.stx_dev_minor || running.stx_uid != 0 ||
		(running.stx_mode & 022))
		return -EPERM;
	text_copy(dst, size, strrchr(path, '/') + 1);
	text_sanitize(dst);
	return 0;
}
