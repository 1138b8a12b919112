/* SPDX-License-Identifier: MIT */
/*
 * Between fork and exec the child works through steps; the first that fails is written, with its
 * errno, to a pipe that exec closes. So the parent reads either a failure or the end of the file,
 * and no program starts half confined.
 *
 * The order matters: groups need the privilege that the uid gives away; the death signal is
 * forgotten by the kernel when credentials change (prctl(2)), so it comes after them; and the
 * parent may have died before it was set, which only getppid() tells.
 *
 * All signals are blocked around fork so that no handler of the parent runs in the child.
 */
#include "priv/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "priv/become.h"

#define REPORT_FD (STDERR_FILENO + 1)

enum step {
	STEP_FDS,
	STEP_CGROUP,
	STEP_CREDENTIALS,
	STEP_REGAIN,
	STEP_CONFINE,
	STEP_PARENT,
	STEP_EXEC
};

static const char *const step_text[] = {
	[STEP_FDS] = "cannot set up its descriptors",
	[STEP_CGROUP] = "cannot enter its cgroup",
	[STEP_CREDENTIALS] = "cannot change to its user",
	[STEP_REGAIN] = "could become root again; not started",
	[STEP_CONFINE] = "cannot confine it",
	[STEP_PARENT] = "the daemon ended meanwhile",
	[STEP_EXEC] = "cannot execute it",
};

struct report {
	int code; /* negative errno */
	enum step step;
};

/* The report goes out of the way first: any of these may already be where another belongs. */
static int place_fds(const struct spawn *what, int report_fd)
{
	int report = fcntl(report_fd, F_DUPFD_CLOEXEC, REPORT_FD + 1);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (report < 0 || null < 0 ||
		dup2(what->stdin_fd > STDERR_FILENO ? what->stdin_fd : null, STDIN_FILENO) < 0 ||
		dup2(what->stdout_fd >= 0 ? what->stdout_fd : null, STDOUT_FILENO) < 0 ||
		dup3(report, REPORT_FD, O_CLOEXEC) < 0 || close_range(REPORT_FD + 1, ~0u, 0) < 0)
		return -errno;
	return 0;
}

static int enter_cgroup(const char *path)
{
	_cleanup_(closep) int dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return dir < 0 ? -errno : write_file_at(dir, "cgroup.procs", "0");
}

/* Security: its program needs no groups, whatever the caller has. */
static int change_user(uid_t uid, gid_t gid)
{
	return setgroups(0, NULL) < 0 ? -errno : become_user(uid, gid);
}

static int can_regain(uid_t uid, gid_t gid)
{
	return getgroups(0, NULL) != 0 ? -EPERM : become_check(uid, gid);
}

/* Security: the session is new because whoever has a terminal as theirs can type into it (TIOCSTI),
 * and stderr may be that of the shell from which root started us. */
static int confine(bool outlives)
{
	if (setsid() < 0)
		return -errno;
	if (outlives)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return 0;
}

static int prepare(const struct spawn *what, pid_t parent, enum step *step)
{
	int r;

	*step = STEP_CGROUP;
	r = what->cgroup ? enter_cgroup(what->cgroup) : 0;
	if (r < 0)
		return r;
	*step = STEP_CREDENTIALS;
	if (what->uid != (uid_t)-1) {
		r = change_user(what->uid, what->gid);
		if (r < 0)
			return r;
		*step = STEP_REGAIN;
		r = can_regain(what->uid, what->gid);
		if (r < 0)
			return r;
	}
	*step = STEP_CONFINE;
	r = confine(what->outlives);
	if (r < 0)
		return r;
	*step = STEP_PARENT;
	if (!what->outlives && getppid() != parent)
		return -ESRCH;
	become_default_signals();
	*step = STEP_EXEC;
	execve(what->argv[0], (char *const *)what->argv, (char *const *)what->env);
	return -errno;
}

static void __attribute__((noreturn)) child(const struct spawn *what, pid_t parent, int report_fd)
{
	struct report report = { .step = STEP_FDS };

	report.code = place_fds(what, report_fd);
	if (report.code == 0) {
		report_fd = REPORT_FD;
		report.code = prepare(what, parent, &report.step);
	}
	_exit(write_all(report_fd, &report, sizeof(report)) < 0);
}

/* 0 if the child reached exec, else what it reported. */
static int await_exec(int fd, const char *program, struct error *err)
{
	struct report report;
	ssize_t n;

	do {
		n = read(fd, &report, sizeof(report));
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	if (n != sizeof(report))
		return error_set(err, -EIO, "spawn.report", "cannot start %s", program);
	return error_errno(err, report.code, "spawn.failed", "cannot start %s: %s", program,
		step_text[report.step]);
}

static pid_t fork_child(const struct spawn *what, int report_fd)
{
	sigset_t all, before;
	pid_t parent = getpid(), pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		child(what, parent, report_fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

int spawn(const struct spawn *what, pid_t *ret_pid, struct error *err)
{
	_cleanup_(closep) int pidfd = -1;
	int pipe[2], r;
	pid_t pid;

	if (what->uid == 0 || (what->uid != (uid_t)-1 && what->gid == 0))
		return error_set(err, -EINVAL, "spawn.root",
			"%s must not run as root; create its user", what->argv[0]);
	if (pipe2(pipe, O_CLOEXEC) < 0)
		return error_errno(err, -errno, "spawn.pipe", "cannot start %s", what->argv[0]);
	pid = fork_child(what, pipe[1]);
	r = pid < 0 ? -errno : 0;
	close(pipe[1]);
	if (pid < 0) {
		close(pipe[0]);
		return error_errno(err, r, "spawn.fork", "cannot start %s", what->argv[0]);
	}
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		r = error_errno(err, -errno, "spawn.pidfd", "cannot start %s", what->argv[0]);
	else
		r = await_exec(pipe[0], what->argv[0], err);
	close(pipe[0]);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	*ret_pid = pid;
	return TAKE_FD(pidfd);
}
