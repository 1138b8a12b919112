/* SPDX-License-Identifier: MIT */
#include "priv/controllers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/text.h"
#include "priv/cgroup.h"

#define LIST_SIZE 512

static int open_dir(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Is the word in a list between blanks? */
static int lists(int dirfd, const char *file, const char *word)
{
	char text[LIST_SIZE], *cursor = text, *piece;
	int r = (int)read_file_at(dirfd, file, text, sizeof(text));

	if (r < 0)
		return r;
	while ((piece = strsep(&cursor, " \n")))
		if (strcmp(piece, word) == 0)
			return 1;
	return 0;
}

static int step_aside(const char *path)
{
	_cleanup_(freep) char *aside = text_format("%s/daemon", path);
	int r;

	if (!aside)
		return -ENOMEM;
	if (!cgroup_has(path, getpid()))
		return -EBUSY;
	r = cgroup_create(aside);
	return r < 0 ? r : cgroup_attach(aside, getpid());
}

/* For the children of one cgroup. */
static int enable_in(const char *path, const char *controller)
{
	_cleanup_(freep) char *text = text_format("+%s", controller);
	_cleanup_(closep) int dirfd = open_dir(path);
	int r;

	if (dirfd < 0)
		return dirfd;
	r = text ? lists(dirfd, "cgroup.subtree_control", controller) : -ENOMEM;
	if (r != 0)
		return r;
	r = lists(dirfd, "cgroup.controllers", controller);
	if (r <= 0)
		return r;
	r = write_file_at(dirfd, "cgroup.subtree_control", text);
	if (r == -EBUSY) {
		r = step_aside(path);
		if (r >= 0)
			r = write_file_at(dirfd, "cgroup.subtree_control", text);
	}
	return r < 0 ? r : 1;
}

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int controller_enable(const char *root, const char *controller)
{
	_cleanup_(freep) char *path = strdup(root);
	int r = 1;

	if (!path)
		return -ENOMEM;
	for (char *slash = path; slash && r > 0;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (is_cgroup2(path))
			r = enable_in(path, controller);
		if (slash)
			*slash = '/';
	}
	return r;
}

int controller_limit(const char *path, const char *file, const char *value)
{
	_cleanup_(closep) int dirfd = open_dir(path);

	return dirfd < 0 ? dirfd : write_file_at(dirfd, file, value);
}
