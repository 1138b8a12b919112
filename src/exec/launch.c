/* SPDX-License-Identifier: MIT */
/*
 * Parent and child talk over a socket that exec closes. The child tells what it is about to do, so
 * that the watchdog can say where it hangs; it hands over its logs, which it opens as the user; and
 * if it fails, it says why. The end of the file without such a sentence is success.
 *
 * The order of steps: the cgroup first, so that nothing runs outside of it (the child is born in it
 * where the kernel can do that: to be moved may wait for a grace period of RCU, which is longer
 * than all the rest); limits that only root may raise; the user; and from there on everything that
 * touches a name the user has given, so that root opens nothing for anybody. The limits of the
 * order come last, since some would keep us from getting there. The process cannot be traced by its
 * user before exec (prctl(2), PR_SET_DUMPABLE).
 */
#include "exec/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "exec/command.h"
#include "exec/report.h"
#include "priv/become.h"
#include "priv/record.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546 /* in linux/magic.h of newer kernels alone */
#endif

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* since Linux 6.3 */
#endif

#define REPORT_FD  (COMMAND_SCRIPT_FD + 1)
#define SCRATCH_FD 16 /* above all that have their place */

static const char *const step_text[STEP_MAX] = {
	[STEP_CONFINE] = "setting up its process",
	[STEP_USER] = "becoming its user",
	[STEP_DIRECTORY] = "going to its directory",
	[STEP_LOG] = "opening its log",
	[STEP_COMMAND] = "looking for its virtual environment",
	[STEP_EXEC] = "executing it",
};

/* --- the child --- */

struct child {
	const struct launch *what;
	bool inside; /* of its cgroup, from its birth */
	int report, logs[LAUNCH_LOGS], script;
	struct error err;
};

static void step(struct child *c, enum step step)
{
	report_send(c->report, &(struct report){ .kind = REPORT_STEP, .step = step }, -1);
}

/* As root where we are root. */
static int confine(struct child *c)
{
	const struct launch *what = c->what;
	int r;

	step(c, STEP_CONFINE);
	if (what->cgroup >= 0 && !c->inside) {
		r = write_file_at(what->cgroup, "cgroup.procs", "0");
		if (r < 0)
			return error_errno(
				&c->err, r, "launch.cgroup", "cannot enter the cgroup of the job");
	}
	if (setsid() < 0)
		return error_errno(&c->err, -errno, "launch.session", "cannot start a session");
	r = what->oom_adj ? write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", what->oom_adj) : 0;
	if (r < 0)
		return error_errno(&c->err, r, "launch.oom", "cannot set its oom_score_adj");
	r = rlimits_set(what->limits);
	if (r < 0)
		return error_errno(&c->err, r, "launch.limits", "cannot set its limits");
	prctl(PR_SET_DUMPABLE, 0);
	return 0;
}

static int change_user(struct child *c)
{
	uid_t uid = (uid_t)c->what->order->uid;
	gid_t gid = c->what->account->gid;
	int r;

	step(c, STEP_USER);
	if (!c->what->change_user)
		return 0;
	r = become_user(uid, gid);
	if (r < 0)
		return error_errno(&c->err, r, "launch.user", "cannot become uid %u", uid);
	/* Security: asked of the kernel; a job of root's is root's. */
	if (uid != 0 && become_check(uid, gid) < 0)
		return error_set(
			&c->err, -EPERM, "launch.regain", "could become root again; not started");
	return 0;
}

static int go_to_directory(struct child *c)
{
	step(c, STEP_DIRECTORY);
	umask(c->what->umask);
	if (chdir(c->what->directory) < 0)
		return error_errno(&c->err, -errno, "launch.directory", "cannot change to %s",
			c->what->directory);
	return 0;
}

/* Security: a file system that its user serves (FUSE) can keep whoever reads or closes its files,
 * and not even KILL ends that. */
static bool is_served_by_users(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 || fs.f_type == FUSE_SUPER_MAGIC;
}

/* What the supervisor looks into afterwards. */
static void hand_over_log(struct child *c, unsigned i)
{
	struct report report = { .kind = REPORT_LOG, .step = STEP_LOG, .log = i };
	_cleanup_(closep) int reader = -1;
	char self[32];
	struct stat st;

	if (fstat(c->logs[i], &st) == 0 && S_ISREG(st.st_mode)) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", c->logs[i]);
		if (!is_served_by_users(c->logs[i]))
			reader = open(self, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		report.offset = st.st_size;
	}
	report_send(c->report, &report, reader);
}

/* A FIFO that nobody reads must not hold us up; once it is open, its writer may wait. */
static int open_log(struct child *c, unsigned i)
{
	const char *path = c->what->logs[i];
	int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC | O_NONBLOCK, 0666);

	if (fd < 0)
		return error_errno(&c->err, -errno, "launch.log", "cannot write the log %s", path);
	c->logs[i] = fd;
	if (fcntl(fd, F_SETFL, O_APPEND) < 0)
		return error_errno(&c->err, -errno, "launch.log", "cannot write the log %s", path);
	hand_over_log(c, i);
	return 0;
}

static int open_logs(struct child *c)
{
	int r;

	step(c, STEP_LOG);
	r = open_log(c, 0);
	if (r < 0)
		return r;
	if (c->what->logs[1])
		return open_log(c, 1);
	c->logs[1] = c->logs[0];
	return 0;
}

/* A file without a name, executed by its descriptor: it is what was submitted, whatever became of
 * the file that it came from. */
static int write_script(struct child *c)
{
	const char *script = c->what->order->script;
	int r = 0;

	if (!script)
		return 0;
	c->script = memfd_create("dibs-script", MFD_CLOEXEC | MFD_EXEC);
	if (c->script < 0 && errno == EINVAL)
		c->script = memfd_create("dibs-script", MFD_CLOEXEC);
	if (c->script < 0)
		r = -errno;
	else
		r = write_all(c->script, script, strlen(script));
	return r < 0 ? error_errno(&c->err, r, "launch.script", "cannot write its script") : 0;
}

static int move_up(int *fd)
{
	*fd = fcntl(*fd, F_DUPFD_CLOEXEC, SCRATCH_FD);
	return *fd < 0 ? -errno : 0;
}

/* Each may lie where another belongs: all go out of the way first. */
static int place_fds(struct child *c)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int *const fds[] = { &c->report, &c->logs[0], &c->logs[1], &null, &c->script };

	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		if (*fds[i] >= 0 && move_up(fds[i]) < 0)
			return -errno;
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(c->logs[0], STDOUT_FILENO) < 0 ||
		dup2(c->logs[1], STDERR_FILENO) < 0)
		return -errno;
	if (c->script >= 0 ? dup2(c->script, COMMAND_SCRIPT_FD) < 0
			   : close_range(COMMAND_SCRIPT_FD, COMMAND_SCRIPT_FD, 0) < 0)
		return -errno;
	if (dup3(c->report, REPORT_FD, O_CLOEXEC) < 0)
		return -errno;
	c->report = REPORT_FD;
	return close_range(REPORT_FD + 1, ~0u, 0) < 0 ? -errno : 0;
}

static int lower_limits(struct child *c)
{
	int r = rlimits_lower(&c->what->order->limits);

	if (r >= 0 && c->what->order->processes_max)
		r = rlimits_cap(RLIMIT_NPROC, (rlim_t)c->what->order->processes_max, true);
	return r < 0 ? error_errno(&c->err, r, "launch.limits", "cannot set its limits") : 0;
}

static int execute(struct child *c, pid_t parent)
{
	struct command command;
	int r;

	step(c, STEP_COMMAND);
	r = command_build(c->what->order, c->what->account, &command, &c->err);
	if (r < 0)
		return r;
	step(c, STEP_EXEC);
	r = place_fds(c);
	if (r < 0)
		return error_errno(&c->err, r, "launch.fds", "cannot set up its descriptors");
	r = lower_limits(c);
	if (r < 0)
		return r;
	/* The kernel forgets it when credentials change; and the parent may be gone by now. */
	if (c->what->dies_with_us && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(EXIT_FAILURE);
	become_default_signals();
	environ = (char **)c->what->environment;
	execvp(command.file, (char *const *)command.argv);
	return error_errno(
		&c->err, -errno, "launch.exec", "cannot execute %s", c->what->order->arg.items[0]);
}

static void __attribute__((noreturn))
child(const struct launch *what, bool inside, pid_t parent, int report_fd)
{
	static int (*const steps[])(struct child *) = { confine, change_user, go_to_directory,
		open_logs, write_script };
	struct child c = { .what = what, .inside = inside, .report = report_fd, .script = -1 };
	struct report report = { .kind = REPORT_FAILED };

	for (size_t i = 0; i < ELEMENTSOF(steps) && report.code >= 0; i++)
		report.code = steps[i](&c);
	if (report.code >= 0)
		report.code = execute(&c, parent);
	text_copy(report.text, sizeof(report.text), c.err.text);
	report_send(c.report, &report, -1);
	_exit(EXIT_FAILURE);
}

/* --- the parent --- */

/* fork(), into the cgroup if that can be. Not before Linux 5.7, nor where clone3() is filtered. */
static pid_t fork_into(int cgroup, bool *ret_inside)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup
	};
	pid_t pid = cgroup >= 0 ? (pid_t)syscall(SYS_clone3, &args, sizeof(args)) : -1;

	*ret_inside = pid >= 0;
	return pid >= 0 ? pid : fork();
}

/* The watchdog must not find a child that it does not know. */
static pid_t fork_child(const struct launch *what, struct watchdog *watchdog, int keep, int drop)
{
	sigset_t alarm, before;
	bool inside;
	pid_t parent = getpid(), pid;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &alarm, &before);
	pid = fork_into(what->cgroup, &inside);
	if (pid == 0) {
		/* Security: what tells that a supervisor lives must not outlive it in here. */
		close(drop);
		close(what->record);
		close(what->tell);
		child(what, inside, parent, keep);
	}
	watchdog->child = pid > 0 ? pid : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int take_log(
	const struct launch *what, struct launched *ret, const struct report *report, int fd)
{
	ret->logs[report->log] = fd;
	ret->offsets[report->log] = report->offset;
	return report->log > 0 ? 0
			       : record_write(what->record, "log %" PRId64 " %s", report->offset,
					 what->logs[0]);
}

/* 0 once the command was executed. */
static int await(const struct launch *what, int socket, struct watchdog *watchdog,
	struct launched *ret, struct error *err)
{
	struct report report;
	int fd, r;

	while ((r = report_receive(socket, &report, &fd)) > 0) {
		switch (report.kind) {
		case REPORT_STEP:
			watchdog->doing = step_text[report.step];
			break;
		case REPORT_LOG:
			r = take_log(what, ret, &report, fd);
			if (r < 0)
				return error_errno(err, r, "launch.record", "cannot record it");
			break;
		case REPORT_FAILED:
			return error_set(err, report.code, "launch.failed", "%s", report.text);
		}
	}
	return r < 0 ? error_errno(err, r, "launch.report", "cannot follow its start") : 0;
}

int launch(const struct launch *what, struct watchdog *watchdog, struct launched *ret,
	struct error *err)
{
	int sockets[2], r;

	*ret = (struct launched){ .logs = { -1, -1 } };
	watchdog->doing = step_text[STEP_CONFINE];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_errno(err, -errno, "launch.socket", "cannot make a socket");
	ret->pid = fork_child(what, watchdog, sockets[1], sockets[0]);
	r = ret->pid < 0 ? error_errno(err, -errno, "launch.fork", "cannot start a process") : 0;
	close(sockets[1]);
	if (r >= 0)
		r = await(what, sockets[0], watchdog, ret, err);
	close(sockets[0]);
	if (r < 0 && ret->pid > 0) {
		kill(ret->pid, SIGKILL);
		waitpid(ret->pid, NULL, 0);
		watchdog->child = 0;
	}
	return r;
}
