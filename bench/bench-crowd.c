/* SPDX-License-Identifier: MIT */
/*
 * Idle processes, as a host full of shells and services has them:
 *
 *	bench-crowd PROCESSES DESCRIPTORS
 *
 * Children that pause, each with so many open descriptors, in a process group of their own. Prints
 * "ready" when all are there. They end when standard input does, or when this program ends in
 * whatever way.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define PROCESSES_MAX   100000
#define DESCRIPTORS_MAX 1000

static _Noreturn void idle(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

static void open_descriptors(unsigned n)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd + 1 < (int)n)
		fd = dup(fd);
	if (fd < 0)
		fail("cannot open %u descriptors", n);
}

int main(int argc, char **argv)
{
	pid_t parent = getpid(), child;
	unsigned n;
	char byte;

	if (argc != 3)
		fail("PROCESSES DESCRIPTORS");
	n = number(argv[1], PROCESSES_MAX);
	open_descriptors(number(argv[2], DESCRIPTORS_MAX));
	if (setpgid(0, 0) < 0)
		fail("setpgid");
	for (unsigned i = 0; i < n; i++) {
		child = fork();
		if (child < 0)
			fail("only %u processes", i); /* whose parent is gone with that */
		if (child == 0)
			idle(parent);
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
	return 0;
}
