/* SPDX-License-Identifier: MIT */
/*
 * Orders and answers are packets of a fixed size over a pair of sockets; nothing else is open in
 * the process. It goes on without exec: no program of this machine has to be reachable for the
 * user.
 *
 * It becomes root of its own namespace by writing its uid map, which belongs to root while a
 * process that was privileged cannot be dumped; so it is made dumpable.
 */
#include "cli/selftest_user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/public.h"
#include "proto/client.h"

#define PATIENCE_SEC (CALL_PATIENCE_SEC + 5) /* for an answer */
#define HOLD_US      (60 * USEC_PER_SEC)
#define NVIDIA_SMI   "/usr/bin/nvidia-smi"

enum what {
	WHAT_OPEN,
	WHAT_KEEP,
	WHAT_UNSHARE,
	WHAT_RESERVE,
	WHAT_RELEASE,
	WHAT_COUNT_GPUS,
};

struct order {
	enum what what;
	int64_t lease;
	char path[320]; /* of a device, or of the socket */
	char gpu[128];
};

struct answer {
	int64_t value;
	char text[ERROR_TEXT_SIZE];
};

/* --- in the process of the user --- */

static int do_open(const char *path, bool keep)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENXIO ? 0 : -errno; /* nobody drives it, which is asked for last */
	if (keep)
		signal(SIGTERM, SIG_IGN);
	else
		close(fd);
	return 0;
}

static int do_unshare(void)
{
	uid_t uid = getuid();
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
	if (prctl(PR_SET_DUMPABLE, 1) < 0 || unshare(CLONE_NEWUSER) < 0)
		return -errno;
	return write_file_at(AT_FDCWD, "/proc/self/uid_map", map);
}

static int64_t do_call(
	const struct order *order, const char *method, json_t *parameters, struct error *err)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;

	if (!parameters)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	if (client_call(order->path, method, parameters, &reply, err) != EXIT_OK)
		return -EREMOTEIO;
	return wire_int(json_object_get(reply, "lease"), "id", 0);
}

static int64_t do_reserve(const struct order *order, struct error *err)
{
	_cleanup_(json_decrefp) json_t *parameters =
		json_pack("{ss s[s] sI sI ss}", "kind", "hold", "gpus", order->gpu, "duration_us",
			(json_int_t)HOLD_US, "wait_us", (json_int_t)0, "note", "dibs selftest");

	return do_call(order, "org.dibs.Request", parameters, err);
}

static int64_t do_release(const struct order *order, struct error *err)
{
	_cleanup_(json_decrefp) json_t *parameters =
		json_pack("{s[I]}", "ids", (json_int_t)order->lease);

	return do_call(order, "org.dibs.Release", parameters, err);
}

static void __attribute__((noreturn)) become_nvidia_smi(int output)
{
	char *argv[] = { (char[]){ NVIDIA_SMI }, (char[]){ "-L" }, NULL };
	char *env[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (dup2(null, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
		dup2(null, STDERR_FILENO) >= 0)
		execve(argv[0], argv, env);
	_exit(127);
}

/* It may well fail where it finds no GPU; what it lists counts. */
static int do_count_gpus(void)
{
	_cleanup_(fclosep) FILE *output = NULL;
	char line[512];
	int fds[2], n = 0, status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		become_nvidia_smi(fds[1]);
	close(fds[1]);
	output = fdopen(fds[0], "r");
	if (pid < 0 || !output)
		return -ENOMEM;
	while (fgets(line, sizeof(line), output))
		n += strncmp(line, "GPU ", 4) == 0;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) != 127 ? n : -ENOEXEC;
}

static int64_t obey(const struct order *order, struct error *err)
{
	switch (order->what) {
	case WHAT_OPEN:
	case WHAT_KEEP:
		return do_open(order->path, order->what == WHAT_KEEP);
	case WHAT_UNSHARE:
		return do_unshare();
	case WHAT_RESERVE:
		return do_reserve(order, err);
	case WHAT_RELEASE:
		return do_release(order, err);
	case WHAT_COUNT_GPUS:
		return do_count_gpus();
	}
	return -EINVAL;
}

/* Security: asks the kernel instead of believing that what was asked for has happened. */
static bool is_only(uid_t uid)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	return getresuid(&r, &e, &s) == 0 && getresgid(&rg, &eg, &sg) == 0 && r == uid &&
	       e == uid && s == uid && rg == uid && eg == uid && sg == uid &&
	       getgroups(0, NULL) == 0 && setresuid(0, 0, 0) < 0;
}

static int become(uid_t uid, const char *cgroup)
{
	_cleanup_(closep) int dir = -1;
	int r;

	if (*cgroup) {
		dir = open(cgroup, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = dir < 0 ? -errno : write_file_at(dir, "cgroup.procs", "0");
		if (r < 0)
			return r;
	}
	if (setsid() < 0 || chdir("/") < 0 || setgroups(0, NULL) < 0 ||
		setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	if (!is_only(uid))
		return -EPERM;
	/* After the change of uid, which makes the kernel forget it. */
	return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
}

static void reset_signals(void)
{
	sigset_t none;

	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_IGN); /* whoever hangs up is told of */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The answer to no order tells how it began. */
static void __attribute__((noreturn)) live(int fd, uid_t uid, const char *cgroup)
{
	struct answer answer = { 0 };
	struct order order;
	int r;

	fd = dup2(fd, STDERR_FILENO + 1);
	if (fd < 0 || close_range((unsigned)fd + 1, ~0u, 0) < 0)
		_exit(1);
	reset_signals();
	r = become(uid, cgroup);
	answer.value = r;
	while (send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer) && r == 0 &&
		recv(fd, &order, sizeof(order), 0) == sizeof(order)) {
		struct error err = { 0 };

		answer.value = obey(&order, &err);
		text_copy(answer.text, sizeof(answer.text), err.text);
	}
	_exit(0);
}

/* --- in ours --- */

static int64_t hear(struct user *user, struct error *err)
{
	struct answer answer;
	ssize_t n = recv(user->socket, &answer, sizeof(answer), 0);

	if (n != sizeof(answer))
		return error_set(err, n < 0 ? -errno : -EPIPE, "selftest.user",
			"the process of uid %u %s", (unsigned)user->uid,
			n < 0 ? "does not answer" : "ended");
	if (answer.value < 0 && *answer.text)
		error_set(err, (int)answer.value, "selftest.user", "%s", answer.text);
	return answer.value;
}

static int64_t ask(struct user *user, const struct order *order, struct error *err)
{
	if (send(user->socket, order, sizeof(*order), MSG_NOSIGNAL) != sizeof(*order))
		return error_errno(
			err, -errno, "selftest.user", "the process of uid %u", (unsigned)user->uid);
	return hear(user, err);
}

static int64_t ask_path(struct user *user, enum what what, const char *path)
{
	struct order order = { .what = what };

	text_copy(order.path, sizeof(order.path), path);
	return ask(user, &order, NULL);
}

int user_start(struct user *ret, uid_t uid, const char *cgroup, struct error *err)
{
	const struct timeval patience = { .tv_sec = PATIENCE_SEC };
	int sockets[2];
	int64_t r;

	*ret = USER_NONE;
	ret->uid = uid;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_errno(err, -errno, "selftest.user", "cannot make a pair of sockets");
	ret->pid = fork();
	if (ret->pid == 0)
		live(sockets[1], uid, cgroup);
	close(sockets[1]);
	ret->socket = sockets[0];
	ret->pidfd = ret->pid > 0 ? pidfd_open(ret->pid, 0) : -1;
	setsockopt(ret->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	r = ret->pidfd < 0 ? -errno : hear(ret, NULL);
	if (r < 0) {
		user_end(ret);
		return error_errno(err, (int)r, "selftest.user", "cannot start a process of uid %u",
			(unsigned)uid);
	}
	return 0;
}

void user_end(struct user *user)
{
	if (user->pid > 0) {
		kill(user->pid, SIGKILL); /* a child that was not waited for */
		waitpid(user->pid, NULL, 0);
	}
	closep(&user->pidfd);
	closep(&user->socket);
	*user = USER_NONE;
}

int user_open(struct user *user, const char *path)
{
	return (int)ask_path(user, WHAT_OPEN, path);
}

int user_keep(struct user *user, const char *path)
{
	return (int)ask_path(user, WHAT_KEEP, path);
}

bool user_killed(struct user *user, int seconds)
{
	struct pollfd ended = { .fd = user->pidfd, .events = POLLIN };
	int status = 0;

	if (poll(&ended, 1, seconds * 1000) <= 0 || waitpid(user->pid, &status, WNOHANG) <= 0)
		return false;
	user->pid = 0;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

int user_unshare(struct user *user)
{
	return (int)ask_path(user, WHAT_UNSHARE, "");
}

int64_t user_reserve(struct user *user, const char *socket, const char *gpu, struct error *err)
{
	struct order order = { .what = WHAT_RESERVE };

	text_copy(order.path, sizeof(order.path), socket);
	text_copy(order.gpu, sizeof(order.gpu), gpu);
	return ask(user, &order, err);
}

int user_release(struct user *user, const char *socket, int64_t lease, struct error *err)
{
	struct order order = { .what = WHAT_RELEASE, .lease = lease };

	text_copy(order.path, sizeof(order.path), socket);
	return MIN((int)ask(user, &order, err), 0);
}

int user_count_gpus(struct user *user)
{
	return (int)ask_path(user, WHAT_COUNT_GPUS, "");
}
