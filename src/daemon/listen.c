/* SPDX-License-Identifier: MIT */
/*
 * Whether a socket that is there is stale is told by connecting to it: nobody listens at one that
 * was left behind. It is bound with no permissions, so that nobody connects before its mode and its
 * group are what the configuration says.
 */
#include "daemon/listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

static int check_stale(const struct sockaddr_un *address, struct error *err)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(address->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST, "socket.occupied",
			"%s exists and is no socket; move it away, or choose another --socket",
			address->sun_path);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return error_set(err, -EADDRINUSE, "socket.in-use",
			"another daemon serves %s; stop it first, or choose another --socket",
			address->sun_path);
	if (errno == ECONNREFUSED && unlink(address->sun_path) < 0)
		return error_errno(
			err, -errno, "socket.stale", "cannot replace %s", address->sun_path);
	return 0;
}

static int make_directory(const char *path, struct error *err)
{
	_cleanup_(freep) char *directory = strdup(path);
	char *slash = directory ? strrchr(directory, '/') : NULL;
	struct stat st;

	if (!slash || slash == directory)
		return 0;
	*slash = '\0';
	if (mkdir(directory, 0755) < 0 && errno != EEXIST)
		return error_errno(err, -errno, "socket.directory", "cannot make %s", directory);
	if (stat(directory, &st) < 0)
		return error_errno(err, -errno, "socket.directory", "cannot look at %s", directory);
	/* Security: who can write there could put another socket, or a link to what we are about to
	 * chmod, in the place of ours. A sticky bit prevents that. */
	if ((st.st_uid != 0 && st.st_uid != geteuid()) ||
		((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
		return error_set(err, -EPERM, "socket.permissions",
			"%s, where the socket is to be, must belong to root or to the user who "
			"runs dibsd, and nobody else may write there: chown it, and chmod go-w",
			directory);
	return 0;
}

int listen_open(const struct config *config, const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_(closep) int fd = -1;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -ENAMETOOLONG, "socket.too-long",
			"the path of the socket is longer than %zu bytes: %s",
			sizeof(address.sun_path) - 1, path);
	memcpy(address.sun_path, path, strlen(path));
	r = make_directory(path, err);
	if (r < 0)
		return r;
	r = check_stale(&address, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(err, -errno, "socket.failed", "cannot make a socket");
	mask = umask(0777); /* nobody connects before mode and group are set */
	r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return error_errno(err, r, "socket.failed", "cannot bind %s", path);
	if (config->socket_group != (gid_t)-1 && chown(path, (uid_t)-1, config->socket_group) < 0)
		return error_errno(
			err, -errno, "socket.failed", "cannot set the group of %s", path);
	if (chmod(path, config->socket_mode) < 0 || listen(fd, SOMAXCONN) < 0)
		return error_errno(err, -errno, "socket.failed", "cannot listen on %s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
