/* SPDX-License-Identifier: MIT */
#include "gpu/command.h"

#include <signal.h>
#include <sys/wait.h>

#include "../tap.h"

/* Starts a program that stops itself, and waits until it has. */
static pid_t start_stopped(const char *const *argv)
{
	pid_t pid = fork();

	if (pid == 0) {
		execv("/bin/sh", (char *const *)argv);
		_exit(127);
	}
	waitpid(pid, NULL, WUNTRACED);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void are_harmless_and_cut(void)
{
	static char big[8000];
	const char *argv[] = { "sh", "-c", "kill -STOP $$\n", "a\x1b[31mb", "\xff", "", "", NULL };
	char text[64], small[8];
	pid_t pid = start_stopped(argv);

	command_read(NULL, pid, text, sizeof(text));
	CHECK_STR(text, "sh -c kill -STOP $$? a?[31mb ?");
	command_read(NULL, pid, small, sizeof(small));
	CHECK_STR(small, "sh -c k");
	end(pid);

	memset(big, 'x', sizeof(big) - 1);
	argv[3] = big;
	argv[4] = NULL;
	pid = start_stopped(argv);
	command_read(NULL, pid, text, sizeof(text));
	CHECK_INT(strlen(text), sizeof(text) - 1);
	end(pid);
}

static void are_empty_when_there_is_none(void)
{
	char text[64] = "before";
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT); /* a zombie */
	command_read(NULL, pid, text, sizeof(text));
	CHECK_STR(text, "");
	waitpid(pid, NULL, 0);
	command_read(NULL, pid, text, sizeof(text));
	CHECK_STR(text, "");
}

int main(void)
{
	TEST(are_harmless_and_cut);
	TEST(are_empty_when_there_is_none);
	return tap_done();
}
