/* SPDX-License-Identifier: MIT */
/*
 * The verb: makes a place, has the workers try, prints, and takes everything away again, also when
 * it is interrupted: signals are blocked and waited for together with the end of the worker. What a
 * worker starts ends with it.
 */
#include "cli/selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/text.h"
#include "cli/doctor.h"

#define TEMPLATE    "dibs-selftest-XXXXXX"
#define UID_FIRST   65520 /* systemd gives away all below, 65534 is nobody, 65535 was -1 */
#define UID_LAST    65533
#define DEADLINE_MS (180 * 1000)

static bool nobody_has(uid_t uid)
{
	return !getpwuid(uid) && !getgrgid(uid);
}

static int find_uids(uid_t uids[2], struct error *err)
{
	unsigned n = 0;

	for (uid_t uid = UID_FIRST; uid <= UID_LAST && n < 2; uid++)
		if (nobody_has(uid))
			uids[n++] = uid;
	return n == 2 ? 0
		      : error_set(err, -ENOENT, "selftest.uids",
				"no two numbers from %d to %d are without a user and a group",
				UID_FIRST, UID_LAST);
}

/* The cgroup of sessions, as session-cgroups names it: below the mount, or absolute. */
static int make_own_sessions(
	struct selftest *test, const char *mount, const char *name, struct error *err)
{
	const char *wanted = name ? name : "user.slice";
	struct statfs fs;
	int n = snprintf(test->own_sessions, sizeof(test->own_sessions), "%s%s%s",
		wanted[0] == '/' ? "" : mount, wanted[0] == '/' ? "" : "/", wanted);
	size_t size = sizeof(test->own_sessions) - (size_t)n;

	if ((size_t)n >= sizeof(test->own_sessions) || statfs(test->own_sessions, &fs) < 0 ||
		fs.f_type != CGROUP2_SUPER_MAGIC) {
		*test->own_sessions = '\0';
		return name ? error_set(err, -EINVAL, "selftest.cgroup",
				      "%s is no cgroup (v2); name one of session-cgroups", name)
			    : 0;
	}
	if ((size_t)snprintf(test->own_sessions + n, size, "/" TEMPLATE) < size &&
		mkdtemp(test->own_sessions))
		return 0;
	*test->own_sessions = '\0';
	return error_errno(err, -errno, "selftest.cgroup", "cannot make a cgroup in %s", wanted);
}

static int make_place(struct selftest *test, const char *sessions, struct error *err)
{
	_cleanup_(closep) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct host host = { .root = root };
	char mount[128];

	text_copy(test->directory, sizeof(test->directory), "/run/" TEMPLATE);
	if (!mkdtemp(test->directory)) {
		text_copy(test->directory, sizeof(test->directory), "/tmp/" TEMPLATE);
		if (!mkdtemp(test->directory)) {
			*test->directory = '\0';
			return error_errno(err, -errno, "selftest.directory",
				"cannot make a directory in /tmp");
		}
	}
	if (!host_mount(&host, "cgroup2", NULL, mount, sizeof(mount)))
		return 0;
	snprintf(test->cgroup, sizeof(test->cgroup), "%s/" TEMPLATE, mount);
	if (!mkdtemp(test->cgroup)) {
		*test->cgroup = '\0';
		return error_errno(
			err, -errno, "selftest.cgroup", "cannot make a cgroup in %s", mount);
	}
	return make_own_sessions(test, mount, sessions, err);
}

static void take_back_lease(struct cli *cli, struct selftest *test)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack(
		"{sI ss}", "id", (json_int_t)test->report->lease, "reason", "end of selftest");
	_cleanup_(json_decrefp) json_t *reply = NULL;

	if (test->report->lease > 0)
		cli_call(cli, "org.dibs.AdminRelease", parameters, &reply);
}

static void remove_place(struct cli *cli, struct selftest *test)
{
	const char *cgroups[] = { test->own_sessions, test->cgroup };

	for (size_t i = 0; i < ELEMENTSOF(cgroups); i++) {
		int r = *cgroups[i] ? selftest_remove_cgroup(cgroups[i]) : 0;

		if (r < 0)
			complain(EXIT_FAULT, "cannot remove %s: %s", cgroups[i],
				strerrordesc_np(-r));
	}
	if (*test->directory && rmdir(test->directory) < 0)
		complain(EXIT_FAULT, "cannot remove %s: %m", test->directory);
	take_back_lease(cli, test);
}

/* --- the workers --- */

typedef void worker_fn(const struct selftest *test);

static pid_t start_worker(const struct selftest *test, worker_fn *fn)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
		fn(test);
	_exit(0);
}

/* Returns the signal that came meanwhile, 0, or a negative errno. */
static int await(int pidfd, int signals)
{
	struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN },
		{ .fd = signals, .events = POLLIN } };
	struct signalfd_siginfo info;
	int r = poll(fds, ELEMENTSOF(fds), DEADLINE_MS);

	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	if (fds[1].revents && read(signals, &info, sizeof(info)) == sizeof(info))
		return (int)info.ssi_signo;
	return 0;
}

/* As await; a worker that did not do all of its work fails the gates from first to last. */
static int work(struct selftest *test, worker_fn *fn, int signals, enum gate first, enum gate last)
{
	_cleanup_(closep) int pidfd = -1;
	pid_t pid = start_worker(test, fn);
	int r, status = 0;

	pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	r = pidfd < 0 ? -errno : await(pidfd, signals);
	if (pid > 0) {
		if (r != 0)
			kill(pid, SIGKILL); /* a child that was not waited for */
		waitpid(pid, &status, 0);
	}
	for (enum gate gate = first; gate <= last && (r < 0 || status != 0); gate++)
		gate_failed(test->report, gate, "what was to try it %s",
			r == -ETIMEDOUT ? "took too long"
			: r < 0         ? "could not be started"
					: "ended in the midst of it");
	return r;
}

static int work_all(struct selftest *test, int signals)
{
	int r = work(test, selftest_simulated, signals, GATE_FILTER, GATE_ACL);

	return r > 0 ? r : work(test, selftest_gpu, signals, GATE_GPU, GATE_GPU);
}

static enum client_exit run(struct cli *cli, struct selftest *test, int signals, int *ret_signal)
{
	struct error err = { 0 };
	int r = find_uids(test->uids, &err);

	if (r >= 0)
		r = make_place(test, cli->args.words[0], &err);
	if (r >= 0)
		*ret_signal = work_all(test, signals);
	remove_place(cli, test);
	if (r < 0)
		return complain_error(cli, EXIT_FAULT, &err);
	return *ret_signal > 0 ? EXIT_FAULT : report_print(cli, test->report);
}

enum client_exit verb_selftest(struct cli *cli)
{
	struct selftest test = { .socket = client_path(cli_value(cli, OPT_SOCKET)) };
	_cleanup_(closep) int signals = -1;
	enum client_exit exit;
	sigset_t set, before;
	int signal = 0;

	if (geteuid() != 0)
		return complain(EXIT_REFUSED, "selftest makes device nodes, cgroups and processes "
					      "of other users; run it as root");
	test.report = mmap(NULL, sizeof(*test.report), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (test.report == MAP_FAILED)
		return complain(EXIT_FAULT, "out of memory");
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, &before);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	exit = signals < 0 ? complain(EXIT_FAULT, "cannot wait for signals: %m")
			   : run(cli, &test, signals, &signal);
	sigprocmask(SIG_SETMASK, &before, NULL);
	munmap(test.report, sizeof(*test.report));
	if (signal > 0)
		raise(signal);
	return exit;
}
