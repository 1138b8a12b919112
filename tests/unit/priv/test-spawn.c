/* SPDX-License-Identifier: MIT */
/*
 * The program that is spawned is this one: with an argument it reports what it finds about itself.
 * /proc/self/exe finds it even where its user cannot enter the build directory.
 */
#include "priv/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/fd.h"

#define SELF        "/proc/self/exe"
#define NOBODY      65534
#define DEADLINE_MS 10000
#define STRAY_FD    50
#define REPORT_SIZE 4096

extern char **environ;

/* --- the child --- */

static void report_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	char link[64] = "";

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strtol(entry->d_name, NULL, 10) != dirfd(dir))
			printf("fd %s\n", entry->d_name);
	closedir(dir);
	if (readlink("/proc/self/fd/0", link, sizeof(link) - 1) > 0)
		printf("stdin %s\n", link);
}

static void report_status(void)
{
	static const char *const wanted[] = { "Uid:", "Gid:", "Groups:", "NoNewPrivs:", "SigBlk:",
		"SigIgn:", "CapEff:", "CapPrm:", "CapInh:", "CapAmb:" };
	FILE *file = fopen("/proc/self/status", "re");
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
				fputs(line, stdout);
	fclose(file);
}

static int child(const char *mode)
{
	int death = 0;

	if (strcmp(mode, "wait") == 0) {
		alarm(2 * DEADLINE_MS / 1000);
		(void)!write(STDOUT_FILENO, "x", 1);
		for (;;)
			pause();
	}
	if (strcmp(mode, "echo") == 0) {
		char text[16];
		ssize_t n = read(STDIN_FILENO, text, sizeof(text));

		return n >= 0 && write_all(STDOUT_FILENO, text, (size_t)n) == 0 ? 0 : 1;
	}
	report_status();
	report_descriptors();
	for (char **e = environ; *e; e++)
		printf("env %s\n", *e);
	prctl(PR_GET_PDEATHSIG, &death);
	printf("death signal %d\n", death);
	printf("own session %d\n", getsid(0) == getpid());
	printf("regained %d\n", setuid(0) == 0 || seteuid(0) == 0 || setresuid(-1, -1, 0) == 0 ||
					setgid(0) == 0 || setegid(0) == 0 ||
					setgroups(0, NULL) == 0);
	return 7;
}

/* --- the parent --- */

/* Runs it to its end and collects what it wrote. */
static void collect(uid_t uid, gid_t gid, char report[REPORT_SIZE])
{
	static const char *const argv[] = { SELF, "report", NULL };
	static const char *const env[] = { "ONE=1", "TWO=a b", NULL };
	struct error err = { 0 };
	struct spawn what = { .argv = argv, .env = env, .uid = uid, .gid = gid };
	siginfo_t info = { 0 };
	_cleanup_(closep) int pidfd = -1;
	size_t n = 0;
	int out[2];
	ssize_t r;
	pid_t pid = 0;

	CHECK_INT(pipe2(out, O_CLOEXEC), 0);
	what.stdout_fd = out[1];
	pidfd = spawn(&what, &pid, &err);
	CHECK(pidfd >= 0);
	CHECK_STR(err.text, "");
	close(out[1]);
	while (n < REPORT_SIZE - 1 && (r = read(out[0], report + n, REPORT_SIZE - 1 - n)) > 0)
		n += (size_t)r;
	report[n] = '\0';
	close(out[0]);
	CHECK_INT(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	CHECK_INT(info.si_pid, pid);
	CHECK_INT(info.si_status, 7);
}

static void check_line(const char *report, const char *line)
{
	const char *at = strstr(report, line);
	bool found = at && (at == report || at[-1] == '\n');

	CHECK(found);
	if (!found)
		printf("# in the report: %s", line);
}

static size_t count_lines(const char *report, const char *prefix)
{
	size_t n = 0;

	for (const char *at = report; (at = strstr(at, prefix)); at++)
		n += at == report || at[-1] == '\n';
	return n;
}

static void check_descriptors(const char *report)
{
	check_line(report, "fd 0\n");
	check_line(report, "fd 1\n");
	check_line(report, "fd 2\n");
	CHECK_INT(count_lines(report, "fd "), 3);
	check_line(report, "stdin /dev/null\n");
}

static void check_common(const char *report)
{
	check_descriptors(report);
	check_line(report, "NoNewPrivs:\t1\n");
	check_line(report, "SigBlk:\t0000000000000000\n");
	check_line(report, "SigIgn:\t0000000000000000\n");
	check_line(report, "env ONE=1\n");
	check_line(report, "env TWO=a b\n");
	CHECK_INT(count_lines(report, "env "), 2);
	check_line(report, "death signal 9\n");
	check_line(report, "own session 1\n");
}

static void becomes_another_user_for_good(void)
{
	static const gid_t groups[] = { 0, 4, 27 };
	char report[REPORT_SIZE];

	CHECK_INT(setgroups(ELEMENTSOF(groups), groups), 0);
	collect(NOBODY, NOBODY - 1, report);
	setgroups(0, NULL);
	check_common(report);
	check_line(report, "Uid:\t65534\t65534\t65534\t65534\n");
	check_line(report, "Gid:\t65533\t65533\t65533\t65533\n");
	check_line(report, "Groups:\t \n");
	check_line(report, "CapEff:\t0000000000000000\n");
	check_line(report, "CapPrm:\t0000000000000000\n");
	check_line(report, "CapInh:\t0000000000000000\n");
	check_line(report, "CapAmb:\t0000000000000000\n");
	check_line(report, "regained 0\n");
}

static void stays_who_we_are(void)
{
	char report[REPORT_SIZE], line[64];

	collect((uid_t)-1, (gid_t)-1, report);
	check_common(report);
	snprintf(line, sizeof(line), "Uid:\t%d\t%d\t", getuid(), geteuid());
	check_line(report, line);
}

static void standard_output_may_be_anywhere(void)
{
	static const char *const argv[] = { SELF, "report", NULL };
	static const char *const env[] = { NULL };
	struct spawn what = { .argv = argv, .env = env, .uid = (uid_t)-1 };

	/* 3 is where the child's own pipe belongs. */
	for (int fd = 3; fd <= 5; fd++) {
		int out[2], far;
		char report[REPORT_SIZE] = "";
		_cleanup_(closep) int pidfd = -1;
		pid_t pid;

		CHECK_INT(pipe2(out, O_CLOEXEC), 0);
		far = fcntl(out[0], F_DUPFD_CLOEXEC, STRAY_FD + 1);
		close(out[0]);
		CHECK_INT(dup3(out[1], STRAY_FD + 2, O_CLOEXEC), STRAY_FD + 2);
		close(out[1]);
		CHECK_INT(dup3(STRAY_FD + 2, fd, O_CLOEXEC), fd);
		close(STRAY_FD + 2);
		what.stdout_fd = fd;
		pidfd = spawn(&what, &pid, NULL);
		CHECK(pidfd >= 0);
		close(fd);
		CHECK(read(far, report, sizeof(report) - 1) > 0);
		check_descriptors(report);
		close(far);
		if (pidfd >= 0)
			CHECK_INT(waitpid(pid, NULL, 0), pid);
	}
}

static void reports_errors_of_exec(void)
{
	static const char *const missing[] = { "/nonexistent/program", NULL };
	static const char *const not_a_program[] = { "/etc", NULL };
	static const char *const env[] = { NULL };
	struct spawn what = { .argv = missing, .env = env, .uid = (uid_t)-1, .stdout_fd = -1 };
	struct error err = { 0 };
	pid_t pid = -5;

	CHECK_INT(spawn(&what, &pid, &err), -ENOENT);
	CHECK_STR(err.text,
		"cannot start /nonexistent/program: cannot execute it: No such file or directory");
	what.argv = not_a_program;
	CHECK_INT(spawn(&what, &pid, &err), -EACCES);
	CHECK_STR(err.text, "cannot start /etc: cannot execute it: Permission denied");
	CHECK_INT(pid, -5);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); /* nothing left behind */
}

static void root_is_refused(void)
{
	static const char *const argv[] = { SELF, "report", NULL };
	static const char *const env[] = { NULL };
	struct spawn what = { .argv = argv, .env = env, .uid = 0, .gid = NOBODY, .stdout_fd = -1 };
	struct error err = { 0 };
	pid_t pid;

	CHECK_INT(spawn(&what, &pid, &err), -EINVAL);
	what.uid = NOBODY;
	what.gid = 0;
	CHECK_INT(spawn(&what, &pid, &err), -EINVAL);
	CHECK_STR(err.text, SELF " must not run as root; create its user");
}

static void reads_what_it_is_given(void)
{
	static const char *const argv[] = { SELF, "echo", NULL };
	static const char *const env[] = { NULL };
	_cleanup_(closep) int in = memfd_create("in", MFD_CLOEXEC), pidfd = -1;
	struct spawn what = { .argv = argv, .env = env, .uid = (uid_t)-1, .stdin_fd = in };
	char text[16] = "";
	int out[2];
	pid_t pid;

	CHECK(write_all(in, "hello", 5) == 0 && lseek(in, 0, SEEK_SET) == 0);
	CHECK_INT(pipe2(out, O_CLOEXEC), 0);
	what.stdout_fd = out[1];
	pidfd = spawn(&what, &pid, NULL);
	CHECK(pidfd >= 0);
	close(out[1]);
	CHECK_INT(read(out[0], text, sizeof(text) - 1), 5);
	CHECK_STR(text, "hello");
	close(out[0]);
	if (pidfd >= 0)
		CHECK_INT(waitpid(pid, NULL, 0), pid);
}

/* A cgroup takes pids in its file cgroup.procs; so does a directory with such a file. */
static void enters_its_cgroup_first(void)
{
	static const char *const argv[] = { SELF, "echo", NULL };
	static const char *const env[] = { NULL };
	char dir[] = "/tmp/dibs-spawn-XXXXXX", procs[64], text[8] = "";
	struct spawn what = { .argv = argv, .env = env, .uid = (uid_t)-1, .stdout_fd = -1 };
	struct error err = { 0 };
	int pidfd;
	pid_t pid;

	if (geteuid() == 0) /* who could not write there */
		what.uid = what.gid = NOBODY;
	CHECK(mkdtemp(dir));
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	what.cgroup = dir;
	CHECK_INT(spawn(&what, &pid, &err), -ENOENT);
	CHECK(strstr(err.text, ": cannot enter its cgroup: "));
	close(open(procs, O_CREAT | O_CLOEXEC, 0600));
	pidfd = spawn(&what, &pid, &err);
	CHECK(pidfd >= 0);
	if (pidfd >= 0) {
		CHECK_INT(waitpid(pid, NULL, 0), pid);
		close(pidfd);
	}
	CHECK_INT(read_file_at(AT_FDCWD, procs, text, sizeof(text)), 1);
	CHECK_STR(text, "0");
	unlink(procs);
	rmdir(dir);
}

/* Who may not change its uid must not start the program as itself. */
static void without_privilege_it_does_not_start(void)
{
	static const char *const argv[] = { SELF, "report", NULL };
	static const char *const env[] = { NULL };
	struct spawn what = {
		.argv = argv, .env = env, .uid = NOBODY - 1, .gid = NOBODY - 1, .stdout_fd = -1
	};
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct error err = { 0 };
		bool right = setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			     setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
			     spawn(&what, &pid, &err) == -EPERM &&
			     strstr(err.text, ": cannot change to its user: ");

		_exit(right ? 0 : 1);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
}

static void dies_with_its_parent(void)
{
	static const char *const argv[] = { SELF, "wait", NULL };
	static const char *const env[] = { NULL };
	struct spawn what = { .argv = argv, .env = env, .uid = (uid_t)-1 };
	struct pollfd out_fd = { .events = POLLIN };
	int out[2];
	char byte;
	pid_t parent;

	if (geteuid() == 0)
		what.uid = what.gid = NOBODY;
	CHECK_INT(pipe2(out, O_CLOEXEC), 0);
	what.stdout_fd = out[1];
	parent = fork();
	if (parent == 0) {
		pid_t pid;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (spawn(&what, &pid, NULL) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(out[1]);
	CHECK_INT(read(out[0], &byte, 1), 1); /* it runs */
	kill(parent, SIGKILL);
	CHECK_INT(waitpid(parent, NULL, 0), parent);
	out_fd.fd = out[0];
	CHECK_INT(poll(&out_fd, 1, DEADLINE_MS), 1);
	CHECK_INT(read(out[0], &byte, 1), 0); /* nobody holds the other end any more */
	close(out[0]);
}

#define TEST_ROOT(fn)                                                                           \
	do {                                                                                    \
		if (geteuid() == 0)                                                             \
			TEST(fn);                                                               \
		else                                                                            \
			printf("ok %d - %s # SKIP only root can change its uid\n", ++tap_count, \
				#fn);                                                           \
	} while (0)

int main(int argc, char *argv[])
{
	sigset_t blocked;

	if (argc > 1)
		return child(argv[1]);
	/* What must not reach a child: a stray descriptor, a blocked and an ignored signal. */
	dup2(STDERR_FILENO, STRAY_FD);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);

	TEST(stays_who_we_are);
	TEST(standard_output_may_be_anywhere);
	TEST(reads_what_it_is_given);
	TEST(enters_its_cgroup_first);
	TEST(reports_errors_of_exec);
	TEST(root_is_refused);
	TEST(dies_with_its_parent);
	TEST_ROOT(becomes_another_user_for_good);
	TEST_ROOT(without_privilege_it_does_not_start);
	return tap_done();
}
