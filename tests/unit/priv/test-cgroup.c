/* SPDX-License-Identifier: MIT */
/*
 * Against the kernel, in a cgroup of our own that is removed at the end. Children die with this
 * program, so that nothing stays behind when it fails.
 */
#include "priv/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#define DEADLINE_MS 20000
#define CHILDREN    5
#define STORM       3000
#define RELAYS      16
#define PATH_ROOM   512
#define LEASE       "lease-4"

DEFINE_CLEANUP(FILE *, endmntent)

static char top[PATH_ROOM / 4], root[PATH_ROOM / 2]; /* the mount; what we make below it */
static char lease[PATH_ROOM], inner[PATH_ROOM + 8];

/* Until nobody lives in path any more: woken by the kernel, as the daemon is. */
static bool await_empty(const char *path)
{
	_cleanup_(freep) char *name = text_format("%s/cgroup.events", path);
	struct pollfd events = { .fd = open(name, O_RDONLY | O_CLOEXEC), .events = POLLPRI };
	int64_t end = clock_monotonic_ms() + DEADLINE_MS;
	bool empty = false;
	char text[256];

	while (events.fd >= 0 && !empty && clock_monotonic_ms() < end) {
		(void)!pread(events.fd, text, sizeof(text), 0); /* arms poll */
		empty = cgroup_populated(path) == 0;
		if (!empty)
			poll(&events, 1, (int)MAX(0, end - clock_monotonic_ms()));
	}
	closep(&events.fd);
	return empty;
}

static pid_t child_of(pid_t parent)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

static pid_t sleeper(void)
{
	pid_t pid = child_of(getpid());

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* A child that runs fn in path from its first instruction on. */
static pid_t start_in(const char *path, void (*fn)(int done))
{
	int go[2], done[2];
	char byte = 0;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0)
		return -1;
	pid = child_of(getpid());
	if (pid == 0) {
		close(done[0]);
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		fn(done[1]);
		_exit(0);
	}
	close(go[0]);
	close(done[1]);
	CHECK_INT(cgroup_attach(path, pid), 0);
	CHECK_INT(write(go[1], &byte, 1), 1);
	(void)!read(done[0], &byte, 1); /* fn closed it, or wrote that it is ready */
	close(go[1]);
	close(done[0]);
	return pid;
}

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
}

static void roots_are_made_below_a_mount_alone(void)
{
	_cleanup_(freep) char *deep = text_format("%s/a/b", root);
	_cleanup_(freep) char *dots = text_format("%s/./a/../a/b/", root);
	_cleanup_(freep) char *found = NULL;
	_cleanup_(freep) char *again = NULL;
	struct error err = { 0 };
	char *untouched = NULL;

	CHECK_INT(cgroup_root_open(deep, &found, &err), 0);
	CHECK_STR(found, deep);
	CHECK_INT(cgroup_root_open(dots, &again, &err), 0);
	CHECK_STR(again, deep);
	CHECK_INT(cgroup_remove(deep), 0);

	CHECK_INT(cgroup_root_open("relative", &untouched, &err), -EINVAL);
	CHECK_INT(cgroup_root_open("/tmp", &untouched, &err), -EOPNOTSUPP);
	CHECK_INT(cgroup_root_open("/dibs-nowhere/a", &untouched, &err), -EOPNOTSUPP);
	CHECK_STR(err.text, "/dibs-nowhere/a is not on a cgroup2 file system");
	CHECK(access("/dibs-nowhere", F_OK) < 0);
	CHECK(!untouched);
}

static void finds_a_root_by_itself(void)
{
	_cleanup_(freep) char *usual = text_format("%s/dibs", top);
	_cleanup_(freep) char *found = NULL;
	struct error err = { 0 };
	bool was_there = access(usual, F_OK) == 0;

	CHECK_INT(cgroup_root_open(NULL, &found, &err), 0);
	CHECK(found && strncmp(found, top, strlen(top)) == 0);
	if (!was_there)
		cgroup_remove(usual);
}

static void idle(int done)
{
	close(done);
	for (;;)
		pause();
}

static void holds_what_was_attached(void)
{
	pid_t pid;

	CHECK_INT(cgroup_populated(lease), -ENOENT);
	CHECK(!cgroup_has(lease, getpid()));
	CHECK_INT(cgroup_create(lease), 0);
	CHECK_INT(cgroup_create(lease), 0);
	CHECK_INT(cgroup_populated(lease), 0);
	pid = start_in(lease, idle);
	CHECK_INT(cgroup_populated(lease), 1);
	CHECK(cgroup_has(lease, pid));
	CHECK(cgroup_has(root, pid));
	CHECK(cgroup_has(top, pid));
	CHECK(!cgroup_has(lease, getpid()));
	CHECK_INT(cgroup_remove(lease), -EBUSY);
	reap(pid);
	CHECK_INT(cgroup_attach(lease, pid), -ESRCH);
	CHECK(!cgroup_has(lease, pid));
	CHECK(await_empty(lease));
	CHECK_INT(cgroup_remove(lease), 0);
	CHECK_INT(cgroup_remove(lease), 0);
	CHECK_INT(cgroup_attach(lease, getpid()), -ENOENT);
	CHECK_INT(cgroup_signal(lease, SIGTERM), -ENOENT);
	CHECK_INT(cgroup_kill(lease), -ENOENT);
}

static void a_name_is_no_prefix(void)
{
	_cleanup_(freep) char *other = text_format("%s2", lease);
	pid_t pid;

	CHECK_INT(cgroup_create(lease), 0);
	CHECK_INT(cgroup_create(other), 0);
	pid = start_in(other, idle);
	CHECK(cgroup_has(other, pid));
	CHECK(!cgroup_has(lease, pid));
	reap(pid);
	CHECK(await_empty(other));
	CHECK_INT(cgroup_remove(other), 0);
	CHECK_INT(cgroup_remove(lease), 0);
}

static void nested_ones_count(void)
{
	int status = 0;
	pid_t pid;

	CHECK_INT(cgroup_create(lease), 0);
	CHECK_INT(cgroup_create(inner), 0);
	pid = start_in(inner, idle);
	CHECK_INT(cgroup_populated(lease), 1);
	CHECK(cgroup_has(lease, pid));
	CHECK_INT(cgroup_remove(lease), -EBUSY);
	CHECK_INT(cgroup_signal(lease, SIGTERM), 1);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	CHECK(await_empty(lease));
	CHECK_INT(cgroup_remove(lease), 0);
	CHECK(access(lease, F_OK) < 0);
}

static void end(int done)
{
}

static void a_zombie_does_not_hold_it(void)
{
	siginfo_t info;
	pid_t pid;

	CHECK_INT(cgroup_create(lease), 0);
	pid = start_in(lease, end);
	CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	CHECK(await_empty(lease));
	CHECK_INT(cgroup_signal(lease, SIGTERM), 0);
	CHECK_INT(cgroup_remove(lease), 0);
	reap(pid);
}

/* Leaves a grandchild in a session of its own and ends. */
static void daemonize(int done)
{
	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			idle(done);
		_exit(0);
	}
}

static void who_runs_away_is_found(void)
{
	pid_t pid;

	CHECK_INT(cgroup_create(lease), 0);
	pid = start_in(lease, daemonize);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	CHECK_INT(cgroup_populated(lease), 1);
	CHECK_INT(cgroup_kill(lease), 0);
	CHECK(await_empty(lease));
	CHECK_INT(cgroup_remove(lease), 0);
}

static void signals_each_once(void)
{
	pid_t pids[CHILDREN];
	int status;

	CHECK_INT(cgroup_create(lease), 0);
	for (size_t i = 0; i < CHILDREN; i++)
		pids[i] = start_in(lease, idle);
	CHECK_INT(cgroup_signal(lease, 0), CHILDREN);
	CHECK_INT(cgroup_signal(lease, SIGTERM), CHILDREN);
	for (size_t i = 0; i < CHILDREN; i++) {
		CHECK_INT(waitpid(pids[i], &status, 0), pids[i]);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	}
	CHECK(await_empty(lease));
	CHECK_INT(cgroup_remove(lease), 0);
}

/* What a recycled pid looks like: listed, but by now somebody else's process. */
static void strangers_are_not_hit(void)
{
	char dir[] = "/tmp/dibs-cgroup-XXXXXX", text[32];
	pid_t pid = sleeper();
	_cleanup_(freep) char *procs = NULL;
	int fd;

	CHECK(mkdtemp(dir));
	CHECK_INT(mount("dibs-test", dir, "tmpfs", 0, NULL), 0);
	procs = text_format("%s/" LEASE "/cgroup.procs", dir);
	*strrchr(procs, '/') = '\0';
	CHECK_INT(mkdir(procs, 0755), 0);
	procs[strlen(procs)] = '/';
	fd = open(procs, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	snprintf(text, sizeof(text), "%d\n", pid);
	CHECK_INT(write_all(fd, text, strlen(text)), 0);
	close(fd);
	*strrchr(procs, '/') = '\0';
	CHECK_INT(cgroup_signal(procs, SIGKILL), 0);
	CHECK_INT(cgroup_kill(procs), 0); /* no cgroup.kill there: falls back */
	CHECK_INT(waitpid(pid, NULL, WNOHANG), 0);
	CHECK_INT(umount2(dir, MNT_DETACH), 0);
	rmdir(dir);
	reap(pid);
}

/* One process that makes children as fast as it can. */
static void breed(int done)
{
	for (int i = 0; i < STORM; i++) {
		if (fork() == 0)
			for (;;)
				pause();
		if (i == 10)
			(void)!write(done, "x", 1); /* its children hold the other end, too */
	}
	idle(done);
}

static void children_born_meanwhile_are_signalled(void)
{
	int64_t end_ms;
	int total = 0;
	pid_t pid;

	CHECK_INT(cgroup_create(lease), 0);
	pid = start_in(lease, breed);
	end_ms = clock_monotonic_ms() + DEADLINE_MS;
	while (cgroup_populated(lease) == 1 && clock_monotonic_ms() < end_ms) {
		int r = cgroup_signal(lease, SIGKILL);

		CHECK(r >= 0);
		total += MAX(r, 0);
	}
	CHECK(total > 10);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	CHECK(await_empty(lease));
	CHECK_INT(cgroup_remove(lease), 0);
}

/* A runner that is always somebody else: fork and leave, for ever. */
static void relay(int done)
{
	close(done);
	for (;;)
		if (fork() > 0)
			_exit(0);
}

/* So many of them that every round meets somebody new. */
static void a_storm_does_not_hold_us_up(void)
{
	pid_t pids[RELAYS];
	int64_t begin_ms;

	CHECK_INT(cgroup_create(lease), 0);
	for (size_t i = 0; i < RELAYS; i++)
		pids[i] = start_in(lease, relay);
	begin_ms = clock_monotonic_ms();
	CHECK(cgroup_signal(lease, 0) >= 0);
	CHECK(clock_monotonic_ms() - begin_ms < DEADLINE_MS / 4);
	CHECK_INT(cgroup_kill(lease), 0);
	CHECK(await_empty(lease));
	for (size_t i = 0; i < RELAYS; i++)
		CHECK_INT(waitpid(pids[i], NULL, 0), pids[i]);
	CHECK_INT(cgroup_remove(lease), 0);
}

/* Deeper than any lease has reason to be: given up, not followed to the last descriptor. */
static void depth_is_limited(void)
{
	char path[PATH_ROOM];
	size_t n;
	int depth = 0;

	snprintf(path, sizeof(path), "%s", lease);
	CHECK_INT(cgroup_create(path), 0);
	for (n = strlen(path); depth < 40 && n + 2 < sizeof(path); depth++, n += 2) {
		memcpy(path + n, "/d", 3);
		CHECK_INT(cgroup_create(path), 0);
	}
	CHECK_INT(cgroup_remove(lease), -ELOOP);
	for (; depth > 0; depth--, n -= 2) {
		path[n] = '\0';
		rmdir(path);
	}
	CHECK_INT(cgroup_remove(lease), 0);
}

static void all_is_removed(void)
{
	CHECK_INT(cgroup_remove(root), 0);
	CHECK(access(root, F_OK) < 0);
}

static bool find_top(void)
{
	_cleanup_(endmntentp) FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;

	while (mounts && (entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0) {
			text_copy(top, sizeof(top), entry->mnt_dir);
			return true;
		}
	return false;
}

int main(void)
{
	struct error err;
	_cleanup_(freep) char *opened = NULL;

	if (geteuid() != 0 || !find_top()) {
		printf("1..0 # SKIP needs root and a cgroup2 mount\n");
		return 0;
	}
	snprintf(root, sizeof(root), "%s/dibs-test-%d", top, getpid());
	snprintf(lease, sizeof(lease), "%s/" LEASE, root);
	if (cgroup_root_open(root, &opened, &err) < 0 || unshare(CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("1..0 # SKIP cgroups or mounts cannot be made here\n");
		rmdir(root);
		return 0;
	}
	snprintf(inner, sizeof(inner), "%s/inner", lease);
	TEST(roots_are_made_below_a_mount_alone);
	TEST(finds_a_root_by_itself);
	TEST(holds_what_was_attached);
	TEST(a_name_is_no_prefix);
	TEST(nested_ones_count);
	TEST(a_zombie_does_not_hold_it);
	TEST(who_runs_away_is_found);
	TEST(signals_each_once);
	TEST(strangers_are_not_hit);
	TEST(children_born_meanwhile_are_signalled);
	TEST(a_storm_does_not_hold_us_up);
	TEST(depth_is_limited);
	TEST(all_is_removed);
	return tap_done();
}
