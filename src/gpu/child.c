/* SPDX-License-Identifier: MIT */
/*
 * fork and exec by hand, since no other way lets the parent's death end the child. It leads a
 * process group, so that what it started itself ends with it, too. Why exec failed comes back
 * through a pipe that exec closes.
 */
#include "gpu/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"

/* In the child. Only what is safe after fork. */
static _Noreturn void become(const char *const argv[], pid_t parent, int output, int failure)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), code = EPIPE;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	if (null >= 0 && getppid() == parent && dup2(null, STDIN_FILENO) >= 0 &&
		dup2(output, STDOUT_FILENO) >= 0) {
		execvp(argv[0], (char *const *)argv);
		code = errno;
	}
	(void)!write(failure, &code, sizeof(code));
	_exit(127);
}

int child_start(struct child *child, const char *const argv[], struct error *err)
{
	_cleanup_(closep) int reader = -1, writer = -1, heard = -1, told = -1;
	pid_t self = getpid();
	int fds[2], code = 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, -errno, "child.pipe", "cannot make a pipe");
	reader = fds[0];
	writer = fds[1];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, -errno, "child.pipe", "cannot make a pipe");
	heard = fds[0];
	told = fds[1];
	child->pid = fork();
	if (child->pid < 0) {
		child->pid = 0;
		return error_errno(err, -errno, "child.fork", "cannot make a process");
	}
	if (child->pid == 0)
		become(argv, self, writer, told);
	closep(&told);
	told = -1;
	child->fd = TAKE_FD(reader);
	if (read(heard, &code, sizeof(code)) <= 0)
		return 0;
	child_stop(child);
	return error_errno(err, -code, "child.exec", "cannot run %s", argv[0]);
}

ssize_t child_read(struct child *child, void *dst, size_t size, int64_t deadline_ms)
{
	struct pollfd readable = { .fd = child->fd, .events = POLLIN };
	ssize_t n;

	for (;;) {
		int64_t left = deadline_ms - clock_monotonic_ms();
		int r = poll(&readable, 1, left > 0 ? (int)left : 0);

		if (r == 0)
			return -ETIMEDOUT;
		n = r < 0 ? -1 : read(child->fd, dst, size);
		if (n >= 0 || errno != EINTR)
			return n < 0 ? -errno : n;
	}
}

int child_stop(struct child *child)
{
	int status = -1;

	if (child->pid <= 0)
		return -1;
	/* One that has already ended keeps its status. The group: what is left of it. */
	kill(-child->pid, SIGKILL);
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(child->fd);
	*child = (struct child){ .fd = -1 };
	return status;
}

int child_wait(struct child *child, int64_t deadline_ms)
{
	_cleanup_(closep) int pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };
	int64_t left;

	while (pidfd >= 0 && (left = deadline_ms - clock_monotonic_ms()) > 0 &&
		poll(&ended, 1, (int)left) < 0 && errno == EINTR)
		;
	return child_stop(child);
}
