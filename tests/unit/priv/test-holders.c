/* SPDX-License-Identifier: MIT */
/*
 * With real processes that keep a node of /dev/full open: few others have that one. Children report
 * who holds it through a pipe; those that lose their parent come to us, and all end by an alarm if
 * we do not end them.
 */
#include "priv/holders.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/macro.h"
#include "priv/process.h"

#define MAJOR         1
#define MINOR         7
#define ZERO_MINOR    5
#define OTHER_UID     54017
#define ALARM_SEC     120
#define BUDGET_US     1000
#define STORM_SCANS   5
#define MANY          2000
#define REUSE_TRIES   1000
#define IOCTL_ONLY    3 /* the access mode, see open(2) */
#define NODE_OF_ROOT  "node"
#define NODE_OF_USERS "/dev/full"

static char directory[] = "/tmp/test-holders-XXXXXX";
static const char *node = NODE_OF_USERS;
static int report_fd;

/* --- children --- */

static void report(void)
{
	pid_t pid = getpid();

	alarm(ALARM_SEC);
	if (write(report_fd, &pid, sizeof(pid)) != sizeof(pid))
		_exit(1);
	close(report_fd);
}

__attribute__((noreturn)) static void report_and_wait(void)
{
	report();
	for (;;)
		pause();
}

/* A child that runs fn; returns who reports, once it has. */
static pid_t start(void (*fn)(void))
{
	int ends[2];
	pid_t pid = -1;

	CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
	fflush(stdout);
	if (fork() == 0) {
		alarm(ALARM_SEC);
		close(ends[0]);
		report_fd = ends[1];
		fn();
		_exit(0);
	}
	close(ends[1]);
	CHECK_INT(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
	close(ends[0]);
	return pid;
}

/* The signal that ended it, 0 for an exit. */
static int ended_by(pid_t pid)
{
	int status = -1;

	CHECK_INT(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK_INT(ended_by(pid), SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0) /* those between it and us */
		;
}

static int open_node(int flags)
{
	int fd = open(node, flags);

	if (fd < 0)
		_exit(1);
	return fd;
}

/* --- scans --- */

/* How many entries are pid's; *ret is the last of them. */
static size_t found_of(const struct holders *scan, pid_t pid, struct holder *ret)
{
	size_t n, mine = 0;
	const struct holder *found = holders_found(scan, &n);

	for (size_t i = 0; i < n; i++)
		if (found[i].pid == pid) {
			*ret = found[i];
			mine++;
		}
	return mine;
}

static struct holders *scan_for(const uint32_t (*devices)[2], size_t n)
{
	struct holders *scan = holders_new(devices, n, (uid_t)-1);
	int r;

	while ((r = holders_step(scan, BUDGET_US)) > 0)
		;
	/* Without root, the processes of others cannot be looked at, and it says so. */
	CHECK(r == 0 || (r == -EACCES && geteuid() != 0));
	return scan;
}

static size_t find(pid_t pid, struct holder *ret)
{
	static const uint32_t device[][2] = { { MAJOR, MINOR } };
	_cleanup_(holders_freep) struct holders *scan = scan_for(device, 1);

	return found_of(scan, pid, ret);
}

static void check_found(pid_t pid, uid_t uid)
{
	struct holder holder = { 0 };
	uint64_t ticks = 0;

	CHECK_INT(process_start_ticks(pid, &ticks), 0);
	CHECK_INT(find(pid, &holder), 1);
	CHECK_INT(holder.start_ticks, ticks);
	CHECK_INT(holder.uid, uid);
	CHECK_INT(holder.major, MAJOR);
	CHECK_INT(holder.minor, MINOR);
}

static void check_found_and_ended(pid_t pid)
{
	struct holder holder = { 0 };

	CHECK_INT(find(pid, &holder), 1);
	CHECK_INT(holder_signal(&holder, SIGTERM), 0);
	CHECK_INT(ended_by(pid), SIGTERM);
	CHECK_INT(holder_signal(&holder, SIGTERM), -ESRCH);
}

/* --- who is found --- */

static void hold(void)
{
	open_node(O_RDWR);
	open_node(O_RDONLY);
	report_and_wait();
}

static void hold_nothing(void)
{
	report_and_wait();
}

static void who_has_it_open(void)
{
	struct holder holder;
	pid_t holds = start(hold), does_not = start(hold_nothing);

	check_found(holds, getuid());
	CHECK_INT(find(does_not, &holder), 0);
	check_found_and_ended(holds);
	stop(does_not);
}

static void hold_two(void)
{
	int zero = open("/dev/zero", O_RDONLY);

	open_node(O_WRONLY);
	if (dup(zero) < 0)
		_exit(1);
	report_and_wait();
}

static void each_device_once(void)
{
	static const uint32_t devices[][2] = { { 195, 0 }, { MAJOR, MINOR }, { MAJOR, ZERO_MINOR },
		{ MAJOR, MINOR } };
	_cleanup_(holders_freep) struct holders *scan = NULL;
	pid_t pid = start(hold_two);
	struct holder holder;

	scan = scan_for(devices, ELEMENTSOF(devices));
	CHECK_INT(found_of(scan, pid, &holder), 2);
	stop(pid);
}

static void never_ourselves_nor_the_dead(void)
{
	struct holder holder;
	int fd = open(node, O_RDWR);
	siginfo_t info;
	pid_t pid;

	CHECK(fd >= 0);
	CHECK_INT(find(getpid(), &holder), 0);
	close(fd);
	pid = start(hold);
	kill(pid, SIGKILL);
	CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	CHECK_INT(find(pid, &holder), 0);
	CHECK_INT(ended_by(pid), SIGKILL);
}

static void hide_in_another_session(void)
{
	open_node(O_RDWR);
	if (fork() != 0)
		_exit(0);
	setsid();
	if (fork() != 0)
		_exit(0);
	report_and_wait();
}

static void daemons_too(void)
{
	pid_t pid = start(hide_in_another_session);

	check_found(pid, getuid());
	check_found_and_ended(pid);
}

static void send_descriptor(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	char nothing = 0;
	struct iovec byte = { &nothing, 1 };
	struct msghdr message = { .msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(to, &message, 0) < 0)
		_exit(1);
}

static void receive_descriptor(int from)
{
	char control[CMSG_SPACE(sizeof(int))], data;
	struct iovec byte = { &data, 1 };
	struct msghdr message = { .msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };

	if (recvmsg(from, &message, 0) < 0 || message.msg_controllen == 0)
		_exit(1);
}

static void pass_to_another_user(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		_exit(1);
	if (fork() == 0) {
		if (setresuid(OTHER_UID, OTHER_UID, OTHER_UID) < 0)
			_exit(1);
		receive_descriptor(ends[1]);
		report_and_wait();
	}
	send_descriptor(ends[0], open_node(O_RDWR));
}

static void users_that_it_was_passed_to(void)
{
	pid_t pid;

	if (geteuid() != 0)
		return; /* needs root */
	pid = start(pass_to_another_user);
	check_found(pid, OTHER_UID);
	check_found_and_ended(pid);
}

static void hold_unreachable_node(void)
{
	char path[sizeof(directory) + 8];

	snprintf(path, sizeof(path), "%s/own", directory);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("own", directory, "tmpfs", 0, NULL) < 0 ||
		mknod(path, S_IFCHR | 0600, makedev(MAJOR, MINOR)) < 0 || open(path, O_RDWR) < 0)
		_exit(1);
	unlink(path);
	report_and_wait();
}

static void nodes_that_we_cannot_name(void)
{
	pid_t pid;

	if (geteuid() != 0)
		return; /* needs root */
	pid = start(hold_unreachable_node);
	check_found(pid, 0);
	stop(pid);
}

static void hold_path_only(void)
{
	open_node(O_PATH);
	report_and_wait();
}

static void hold_for_ioctl(void)
{
	open_node(O_PATH);
	open_node(IOCTL_ONLY);
	report_and_wait();
}

static void only_what_opened_the_device(void)
{
	struct holder holder;
	pid_t path = start(hold_path_only), ioctl = start(hold_for_ioctl);

	CHECK_INT(find(path, &holder), 0);
	check_found(ioctl, getuid());
	stop(path);
	stop(ioctl);
}

/* --- threads --- */

__attribute__((noreturn)) static void *wait_here(void *unused)
{
	for (;;)
		pause();
}

static void *hold_in_own_table(void *unused)
{
	if (unshare(CLONE_FILES) < 0)
		_exit(1);
	open_node(O_RDWR);
	report_and_wait();
}

static void start_thread(void *(*fn)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, NULL) != 0)
		_exit(1);
}

static void hold_in_thread(void)
{
	start_thread(wait_here);
	start_thread(hold_in_own_table);
	wait_here(NULL);
}

/* The thread keeps the table that we had; ours is another then. */
static void leave_it_to_thread(void)
{
	int fd = open_node(O_RDWR);

	start_thread(wait_here);
	if (unshare(CLONE_FILES) < 0)
		_exit(1);
	close(fd);
	report_and_wait();
}

static void threads_with_their_own_table(void)
{
	void (*const ways[])(void) = { hold_in_thread, leave_it_to_thread };

	for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
		pid_t pid = start(ways[i]);

		check_found(pid, getuid());
		check_found_and_ended(pid);
	}
}

static void *report_after_leader(void *unused)
{
	char state = '?';

	while (state != 'Z') {
		FILE *f = fopen("/proc/self/stat", "re");

		if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
			_exit(1);
		fclose(f);
		sched_yield();
	}
	report_and_wait();
}

static void exit_leader(void)
{
	open_node(O_RDWR);
	start_thread(wait_here);
	start_thread(report_after_leader);
	pthread_exit(NULL);
}

static void threads_of_a_leader_that_exited(void)
{
	pid_t pid = start(exit_leader);

	check_found(pid, getuid());
	check_found_and_ended(pid);
}

/* --- signals --- */

static int order_fd;

/* Waits for a byte, then lets go of the device or gives it another number. */
static void hold_until_told(bool let_go)
{
	int fd = open_node(O_RDWR);
	char byte;

	report();
	if (read(order_fd, &byte, 1) != 1)
		_exit(1);
	if (!let_go)
		dup2(fd, fd + 10);
	close(fd);
	if (write(order_fd, "", 1) != 1)
		_exit(1);
	wait_here(NULL);
}

static void let_go_when_told(void)
{
	hold_until_told(true);
}

static void move_when_told(void)
{
	hold_until_told(false);
}

/* What holder_signal() says after the holder did what it was told. */
static int signal_after(void (*fn)(void), pid_t *ret)
{
	struct holder holder = { 0 };
	int ends[2];
	char byte;
	pid_t pid;

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	order_fd = ends[1];
	pid = start(fn);
	CHECK_INT(find(pid, &holder), 1);
	CHECK_INT(write(ends[0], "", 1), 1);
	CHECK_INT(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	*ret = pid;
	return holder_signal(&holder, SIGTERM);
}

static void no_signal_for_who_let_go(void)
{
	pid_t pid = 0;

	CHECK_INT(signal_after(let_go_when_told, &pid), -ESRCH);
	stop(pid); /* checks that SIGKILL ended it */
}

static void signal_for_who_moved_it(void)
{
	pid_t pid = 0;

	CHECK_INT(signal_after(move_when_told, &pid), 0);
	CHECK_INT(ended_by(pid), SIGTERM);
}

/* Another process that gets this pid and holds the device too. -1: cannot be had here. */
static pid_t hold_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1
	};
	int ends[2];
	pid_t got;

	CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
	report_fd = ends[1];
	got = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (got == 0)
		hold();
	close(ends[1]);
	if (got > 0)
		CHECK_INT(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
	close(ends[0]);
	return got;
}

static void no_signal_for_who_got_the_pid(void)
{
	pid_t pid = start(hold), again;
	struct holder holder = { 0 };
	uint64_t ticks = 0;

	CHECK_INT(find(pid, &holder), 1);
	stop(pid);
	for (int i = 0; i < REUSE_TRIES; i++) {
		again = hold_as(pid);
		if (again < 0)
			return; /* needs root, or another one was faster */
		CHECK_INT(process_start_ticks(again, &ticks), 0);
		if (ticks != holder.start_ticks)
			break;
		stop(again); /* within the same hundredth of a second */
	}
	CHECK_INT(again, pid);
	CHECK(ticks != holder.start_ticks);
	CHECK_INT(holder_signal(&holder, SIGTERM), -ESRCH);
	stop(again);
}

/* --- crowds --- */

static void hold_behind_many(void)
{
	int fd = open("/dev/null", O_RDONLY);
	struct rlimit limit = { MANY + 100, MANY + 100 };

	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < MANY; i++)
		if (dup(fd) < 0)
			_exit(1);
	open_node(O_RDWR);
	report_and_wait();
}

static void steps_end_within_a_process(void)
{
	static const uint32_t device[][2] = { { MAJOR, MINOR } };
	_cleanup_(holders_freep) struct holders *scan = holders_new(device, 1, (uid_t)-1);
	pid_t pid = start(hold_behind_many);
	struct holder holder;
	unsigned steps = 0;

	while (holders_step(scan, 0) > 0)
		steps++;
	CHECK(steps > MANY);
	CHECK_INT(found_of(scan, pid, &holder), 1);
	CHECK_INT(holder_signal(&holder, SIGTERM), 0);
	CHECK_INT(ended_by(pid), SIGTERM);
}

static void storm_of_forks(void)
{
	report();
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static void *end_at_once(void *unused)
{
	return unused;
}

static void storm_of_threads(void)
{
	report();
	for (;;) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, end_at_once, NULL) == 0)
			pthread_detach(thread);
	}
}

static void storms_neither_hide_nor_hold_up(void)
{
	pid_t holds = start(hold), forks = start(storm_of_forks), threads = start(storm_of_threads);

	for (int i = 0; i < STORM_SCANS; i++)
		check_found(holds, getuid());
	stop(forks);
	stop(threads);
	check_found_and_ended(holds);
}

/* A node of our own, where we can make it and it opens; what has it open is the same device. */
static void make_node(void)
{
	static char path[sizeof(directory) + sizeof(NODE_OF_ROOT)];
	int fd;

	snprintf(path, sizeof(path), "%s/" NODE_OF_ROOT, directory);
	if (mknod(path, S_IFCHR | 0666, makedev(MAJOR, MINOR)) < 0)
		return;
	fd = open(path, O_RDWR);
	if (fd < 0)
		return;
	close(fd);
	node = path;
}

static void remove_node(void)
{
	char path[sizeof(directory) + sizeof(NODE_OF_ROOT)];

	snprintf(path, sizeof(path), "%s/" NODE_OF_ROOT, directory);
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	alarm(ALARM_SEC);
	if (!mkdtemp(directory) || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return 1;
	make_node();
	TEST(who_has_it_open);
	TEST(each_device_once);
	TEST(never_ourselves_nor_the_dead);
	TEST(daemons_too);
	TEST(users_that_it_was_passed_to);
	TEST(nodes_that_we_cannot_name);
	TEST(only_what_opened_the_device);
	TEST(threads_with_their_own_table);
	TEST(threads_of_a_leader_that_exited);
	TEST(no_signal_for_who_let_go);
	TEST(signal_for_who_moved_it);
	TEST(no_signal_for_who_got_the_pid);
	TEST(steps_end_within_a_process);
	TEST(storms_neither_hide_nor_hold_up);
	remove_node();
	return tap_done();
}
