/* SPDX-License-Identifier: MIT */
/*
 * Exists so that supervisors, and with them the jobs, are no children of dibsd, whose sandbox they
 * would inherit. It keeps nothing: it may be killed, stopped and upgraded at any time.
 *
 * An order comes as the descriptor of a memfd, in the one message of a connection. The connection
 * becomes the standard output of the supervisor, who executes this program anew.
 */
#include "exec/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "priv/become.h"

#define FIRST_FD    3 /* sd_listen_fds(3) */
#define PENDING_MAX 32
#define PATIENCE_MS 5000
#define BACKLOG     512

struct listener {
	int fd;
	struct {
		int fd;
		int64_t deadline_ms;
	} pending[PENDING_MAX]; /* connections whose order has not come yet */
	size_t n;
};

/* --- the supervisor to be --- */

static void __attribute__((noreturn)) become_supervisor(int order, int connection)
{
	static const char *const argv[] = { "dibs-exec", NULL };
	static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	int flags = fcntl(connection, F_GETFL);

	if (setsid() < 0 || fcntl(connection, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
		dup2(order, STDIN_FILENO) < 0 || dup2(connection, STDOUT_FILENO) < 0 ||
		close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
		_exit(EXIT_FAILURE);
	become_default_signals();
	execve("/proc/self/exe", (char *const *)argv, (char *const *)env);
	log_error("cannot execute the supervisor: %m");
	_exit(EXIT_FAILURE);
}

static void start(int order, int connection)
{
	pid_t pid = fork();

	if (pid == 0)
		become_supervisor(order, connection);
	if (pid < 0)
		log_error("cannot start a supervisor: %m");
}

/* --- connections --- */

/* Security: only root orders (or who we are, where we are not root). */
static bool may_order(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/* -EAGAIN: nothing came yet. */
static int receive_order(int connection)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_LEN(sizeof(int)) }; /* for one and no more */
	const struct cmsghdr *header;
	int fd;

	if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	header = CMSG_FIRSTHDR(&message); /* what there is no room for, the kernel has closed */
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
		header->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static void drop(struct listener *l, size_t i)
{
	close(l->pending[i].fd);
	l->pending[i] = l->pending[--l->n];
}

/* Does what can be done with this connection now; it stays while there is nothing. */
static void serve(struct listener *l, size_t i)
{
	_cleanup_(closep) int order = receive_order(l->pending[i].fd);

	if (order == -EAGAIN && clock_monotonic_ms() < l->pending[i].deadline_ms)
		return;
	if (order >= 0)
		start(order, l->pending[i].fd);
	else
		log_warning("no order came: %s", strerrordesc_np(-order));
	drop(l, i);
}

static void accept_one(struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!may_order(fd)) {
		log_warning("somebody else than root tried to start a job");
		close(fd);
		return;
	}
	l->pending[l->n].fd = fd;
	l->pending[l->n].deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
	l->n++;
}

/* --- the socket --- */

static int open_path(const char *path, struct error *err)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t before = umask(0177);
	int r = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		r = -ENAMETOOLONG;
	else
		memcpy(address.sun_path, path, strlen(path));
	if (r >= 0 && (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
			      listen(fd, BACKLOG) < 0))
		r = -errno;
	umask(before);
	if (r < 0)
		return error_errno(err, r, "listen.socket", "cannot listen at %s", path);
	return TAKE_FD(fd);
}

static int take_inherited(struct error *err)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t number;

	if (!pid || parse_uint(pid, (uint64_t)getpid(), (uint64_t)getpid(), &number) < 0 || !fds ||
		parse_uint(fds, 1, 1, &number) < 0)
		return error_set(err, -EINVAL, "listen.inherited",
			"systemd did not hand over a socket; name one for --listen");
	if (fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0)
		return error_errno(err, -errno, "listen.inherited", "cannot use that socket");
	return FIRST_FD;
}

int listen_serve(const char *path, struct error *err)
{
	struct listener l = { .fd = path ? open_path(path, err) : take_inherited(err) };

	if (l.fd < 0)
		return l.fd;
	if (fcntl(l.fd, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, -errno, "listen.socket", "cannot use the socket");
	signal(SIGCHLD, SIG_IGN); /* they are reaped by the kernel */
	for (;;) {
		struct pollfd fds[PENDING_MAX + 1] = { { .events = POLLIN } };
		nfds_t n = l.n;

		fds[0].fd = n < PENDING_MAX ? l.fd : -1;
		for (size_t i = 0; i < n; i++)
			fds[i + 1] = (struct pollfd){ .fd = l.pending[i].fd, .events = POLLIN };
		if (poll(fds, n + 1, n > 0 ? PATIENCE_MS : -1) < 0 && errno != EINTR)
			return error_errno(err, -errno, "listen.poll", "cannot wait");
		for (size_t i = n; i-- > 0;) /* from behind: the last takes a dropped one's place */
			serve(&l, i);
		if (fds[0].revents)
			accept_one(&l);
	}
}
