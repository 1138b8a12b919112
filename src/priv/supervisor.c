/* SPDX-License-Identifier: MIT */
#include "priv/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "priv/spawn.h"

static int seal_order(const char *order, size_t size, struct error *err)
{
	_cleanup_(closep) int fd = memfd_create("dibs-order", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (size > SUPERVISOR_ORDER_MAX)
		return error_set(err, -E2BIG, "supervisor.size",
			"the command and its environment are larger than %d KiB",
			SUPERVISOR_ORDER_MAX / 1024);
	if (fd < 0)
		return error_errno(err, -errno, "supervisor.order", "cannot write the order");
	r = write_all(fd, order, size);
	if (r >= 0 && fcntl(fd, F_ADD_SEALS,
			      F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	if (r < 0)
		return error_errno(err, r, "supervisor.order", "cannot write the order");
	return TAKE_FD(fd);
}

static int send_fd(int socket, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec byte = { .iov_base = (char[]){ 'o' }, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Security: whoever listens becomes root for what we say, so it must be root, or what we are. */
static int check_listener(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

static int hand_over(const char *path, int order)
{
	_cleanup_(closep) int fd =
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	r = check_listener(fd);
	if (r >= 0)
		r = send_fd(fd, order);
	return r < 0 ? r : TAKE_FD(fd);
}

static int start_child(const char *program, int order, pid_t *ret_pid, struct error *err)
{
	static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	const char *const argv[] = { program, NULL };
	struct spawn what = {
		.argv = argv, .env = env, .uid = (uid_t)-1, .stdin_fd = order, .outlives = true
	};
	_cleanup_(closep) int reader = -1, writer = -1, pidfd = -1;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, -errno, "supervisor.pipe", "cannot make a pipe");
	reader = fds[0];
	what.stdout_fd = writer = fds[1];
	if (fcntl(reader, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, -errno, "supervisor.pipe", "cannot make a pipe");
	if (lseek(order, 0, SEEK_SET) < 0)
		return error_errno(err, -errno, "supervisor.order", "cannot rewind the order");
	pidfd = spawn(&what, ret_pid, err);
	return pidfd < 0 ? pidfd : TAKE_FD(reader);
}

int supervisor_start(const char *socket, const char *program, const char *order, size_t size,
	pid_t *ret_pid, struct error *err)
{
	_cleanup_(closep) int fd = seal_order(order, size, err);
	int r;

	if (fd < 0)
		return fd;
	r = socket ? hand_over(socket, fd) : -ENOENT;
	if (r >= 0) {
		*ret_pid = 0;
		return r;
	}
	if (program && (r == -ENOENT || r == -ECONNREFUSED))
		return start_child(program, fd, ret_pid, err);
	return error_errno(err, r, "supervisor.socket", "cannot hand the job over to %s",
		socket ? socket : "a supervisor");
}
