/* SPDX-License-Identifier: MIT */
/*
 * Security: the place of this socket is a directory in which everybody may write. Nothing there is
 * followed: lstat(2), unlink(2) and bind(2) act on the name itself, and bind(2) makes it or fails.
 * It has its mode from birth; once it is there it is root's, and the sticky bit keeps it.
 */
#include "mgpu/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/fd.h"

#define BACKLOG 128

static int check_directory(const char *path, struct error *err)
{
	_cleanup_(freep) char *copy = strdup(path);
	const char *directory = copy ? dirname(copy) : NULL;
	struct stat st;

	if (!directory)
		return error_set(err, -ENOMEM, "socket.memory", "out of memory");
	if (stat(directory, &st) < 0)
		return error_errno(err, -errno, "socket.directory", "cannot look at %s", directory);
	if (st.st_uid != 0 || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
		return error_set(err, -EPERM, "socket.permissions",
			"others could replace a socket in %s; it has to belong to root, and be "
			"sticky (chmod +t) or written by nobody else",
			directory);
	return 0;
}

/* Nobody listens at a socket that was left behind. */
static int remove_stale(const struct sockaddr_un *address, struct error *err)
{
	const char *path = address->sun_path;
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_errno(err, -errno, "socket.failed",
						 "cannot look at %s", path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST, "socket.occupied",
			"%s exists and is no socket; it belongs to uid %" PRIu32
			": look at it, and remove it",
			path, st.st_uid);
	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		errno != ECONNREFUSED)
		return error_set(err, -EADDRINUSE, "socket.in-use",
			"somebody listens at %s, which belongs to uid %" PRIu32
			": stop that first, or choose another --socket",
			path, st.st_uid);
	if (unlink(path) < 0)
		return error_errno(err, -errno, "socket.stale", "cannot replace %s", path);
	return 0;
}

static int open_at(struct listener *l, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int r;

	if (*path != '/' || strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -EINVAL, "socket.path",
			"the path of the socket has to be absolute, and shorter than %zu bytes",
			sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	r = check_directory(path, err);
	if (r == 0)
		r = remove_stale(&address, err);
	if (r < 0)
		return r;
	mask = umask(0111);
	r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return error_errno(
			err, r < 0 ? r : -errno, "socket.failed", "cannot listen at %s", path);
	if (lstat(path, &l->st) < 0)
		return error_errno(err, -errno, "socket.failed", "cannot look at %s", path);
	l->path = path;
	l->fd = TAKE_FD(fd);
	return 0;
}

int listener_open(struct listener *listener, const char *path, struct error *err)
{
	int n = sd_listen_fds(1);

	*listener = (struct listener){ .fd = -1 };
	if (n <= 0)
		return open_at(listener, path, err);
	if (n > 1 || sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_STREAM, 1) <= 0)
		return error_set(err, -EINVAL, "socket.systemd",
			"what systemd handed over is not one listening stream socket");
	listener->fd = SD_LISTEN_FDS_START;
	return fcntl(listener->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

void listener_close(struct listener *listener)
{
	struct stat st;

	if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->st.st_dev &&
		st.st_ino == listener->st.st_ino)
		unlink(listener->path);
	closep(&listener->fd);
	listener->fd = -1;
}
