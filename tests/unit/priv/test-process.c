/* SPDX-License-Identifier: MIT */
#include "priv/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/macro.h"

#define DEADLINE_MS 10000
#define NOBODY      65534

/* A child that runs fn and then waits to be killed; fn has run when this returns. */
static pid_t start(void (*fn)(void))
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn();
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	CHECK_INT(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

static void nothing(void)
{
}

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
}

static pid_t make_zombie(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_NAME, "a) \x1b b");
		_exit(0);
	}
	CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

static void misleading_name(void)
{
	prctl(PR_SET_NAME, "x) Z 1 (y");
}

static void start_ticks_past_any_name(void)
{
	uint64_t plain = 0, again = 0, named = 0;
	pid_t a = start(nothing), b = start(misleading_name);

	CHECK_INT(process_start_ticks(a, &plain), 0);
	CHECK_INT(process_start_ticks(a, &again), 0);
	CHECK_INT(process_start_ticks(b, &named), 0);
	CHECK(plain > 0 && plain == again);
	CHECK(named >= plain && named < plain + 100 * DEADLINE_MS);
	reap(a);
	reap(b);
	CHECK_INT(process_start_ticks(a, &plain), -ESRCH);
	CHECK_INT(plain, again);
}

static void zombies_are_gone(void)
{
	uint64_t ticks;
	pid_t pid = make_zombie();

	CHECK_INT(process_start_ticks(pid, &ticks), -ESRCH);
	CHECK_INT(process_open(pid, 0), -ESRCH);
	reap(pid);
}

static char state_of(pid_t pid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%*d %*s %c", &state) != 1)
		state = '?';
	if (f)
		fclose(f);
	return state;
}

__attribute__((noreturn)) static void *outlive_the_leader(void *pipe_end)
{
	while (state_of(getpid()) != 'Z')
		sched_yield();
	close((int)(intptr_t)pipe_end);
	for (;;)
		pause();
}

static void a_zombie_with_threads_lives(void)
{
	int ready[2];
	char byte;
	uint64_t ticks = 0;
	pthread_t thread;
	pid_t pid;
	_cleanup_(closep) int fd = -1;

	CHECK_INT(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&thread, NULL, outlive_the_leader, (void *)(intptr_t)ready[1]);
		pthread_exit(NULL);
	}
	close(ready[1]);
	CHECK_INT(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	CHECK_INT(state_of(pid), 'Z');
	CHECK_INT(process_start_ticks(pid, &ticks), 0);
	fd = process_open(pid, ticks);
	CHECK(fd >= 0);
	reap(pid);
	CHECK_INT(process_open(pid, ticks), -ESRCH);
}

static void opens_just_that_process(void)
{
	uint64_t ticks = 0;
	pid_t pid = start(nothing);
	_cleanup_(closep) int fd = -1;
	struct pollfd poll_fd = { .events = POLLIN };

	CHECK_INT(process_start_ticks(pid, &ticks), 0);
	CHECK_INT(process_open(pid, ticks + 1), -ESRCH);
	CHECK_INT(process_open(pid, ticks - 1), -ESRCH);
	fd = process_open(pid, ticks);
	CHECK(fd >= 0);
	poll_fd.fd = fd;
	CHECK_INT(poll(&poll_fd, 1, 0), 0);
	kill(pid, SIGKILL);
	CHECK_INT(poll(&poll_fd, 1, DEADLINE_MS), 1);
	reap(pid);
	CHECK_INT(process_open(pid, ticks), -ESRCH);
}

static void effective_nobody(void)
{
	if (seteuid(NOBODY) < 0)
		_exit(1);
}

static void the_uid_is_the_real_one(void)
{
	uid_t uid = (uid_t)-1;
	pid_t pid = geteuid() == 0 ? start(effective_nobody) : start(nothing);

	CHECK_INT(process_uid(pid, &uid), 0);
	CHECK_INT(uid, getuid());
	reap(pid);
	CHECK_INT(process_uid(pid, &uid), -ESRCH);
}

static void other_user(void)
{
	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(1);
}

static void effective_other(void)
{
	if (setresuid(NOBODY, 1, NOBODY) < 0)
		_exit(1);
}

static void owners_are_who_may_signal(void)
{
	pid_t pid = start(nothing);

	CHECK_INT(process_check_owner(pid, getuid()), 0);
	CHECK_INT(process_check_owner(pid, 0), 0);
	CHECK_INT(process_check_owner(pid, NOBODY), getuid() == NOBODY ? 0 : -EPERM);
	reap(pid);
	CHECK_INT(process_check_owner(pid, getuid()), -ESRCH);
	if (geteuid() != 0)
		return;
	pid = start(other_user);
	CHECK_INT(process_check_owner(pid, NOBODY), 0);
	CHECK_INT(process_check_owner(pid, 1), -EPERM);
	reap(pid);
	pid = start(effective_other);
	CHECK_INT(process_check_owner(pid, NOBODY), 0);
	CHECK_INT(process_check_owner(pid, 1), -EPERM);
	reap(pid);
}

static void names_are_harmless_and_cut(void)
{
	char text[64], small[4];
	pid_t pid = make_zombie();

	CHECK_INT(process_name(pid, text, sizeof(text)), 0);
	CHECK_STR(text, "[a) ? b]");
	CHECK_INT(process_name(pid, small, sizeof(small)), 0);
	CHECK_STR(small, "[a)");
	reap(pid);
	CHECK_INT(process_name(pid, text, sizeof(text)), -ESRCH);
}

static void knows_its_cgroup(void)
{
	char text[4096] = "", small[1];
	int r = process_cgroup(getpid(), text, sizeof(text));

	if (r == -EOPNOTSUPP)
		return; /* a kernel without the v2 hierarchy */
	CHECK_INT(r, 0);
	CHECK_INT(text[0], '/');
	CHECK(!strchr(text, '\n'));
	CHECK_INT(process_cgroup(getpid(), small, sizeof(small)), -ENAMETOOLONG);
}

int main(void)
{
	TEST(start_ticks_past_any_name);
	TEST(zombies_are_gone);
	TEST(a_zombie_with_threads_lives);
	TEST(opens_just_that_process);
	TEST(the_uid_is_the_real_one);
	TEST(owners_are_who_may_signal);
	TEST(names_are_harmless_and_cut);
	TEST(knows_its_cgroup);
	return tap_done();
}
