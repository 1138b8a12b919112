/* SPDX-License-Identifier: MIT */
/*
 * A program that uses CUDA, as far as the fake cuda-checkpoint can tell: it has devices open, and a
 * helper thread that closes and opens them again as it is told. It prints "ready PID", then a line
 * for each state that it comes to: "locked PID", "checkpointed PID", "running PID", "failed PID".
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda-socket.h"

static const char help[] =
	"Usage: cudajob [OPTION]...\n"
	"  --device PATH  opens it; may be given several times\n"
	"  --processes N  so many do this, each for itself (1)\n"
	"  --busy         computes without end: cannot be locked\n"
	"  --heir         a child inherits what is open, and knows nothing of CUDA\n";

#define DEVICES_MAX 8

static struct {
	const char *devices[DEVICES_MAX];
	int fds[DEVICES_MAX];
	int n, processes, busy, heir;
	const char *state;
} job = { .processes = 1, .state = "running" };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int open_devices(void)
{
	for (int i = 0; i < job.n; i++) {
		if (job.fds[i] > 0) /* it was lied about */
			continue;
		job.fds[i] = open(job.devices[i], O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (job.fds[i] < 0)
			return -errno;
	}
	return 0;
}

static void close_devices(void)
{
	for (int i = 0; i < job.n; i++) {
		close(job.fds[i]);
		job.fds[i] = 0;
	}
}

static void enter(const char *state)
{
	job.state = state;
	printf("%s %d\n", state, (int)getpid());
	fflush(stdout);
}

static int is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* What it answers; the answer begins with "ok " if it was done. */
static const char *obey(const char *action, int lie, long timeout_ms, char *answer, size_t size)
{
	static const char *const moves[][3] = {
		{ "lock", "running", "locked" },
		{ "checkpoint", "locked", "checkpointed" },
		{ "restore", "checkpointed", "locked" },
		{ "unlock", "locked", "running" },
	};

	if (is(action, "get-state"))
		snprintf(answer, size, "ok %s", job.state);
	else
		snprintf(answer, size, "ok %ld", (long)syscall(SYS_gettid));
	if (strncmp(action, "get-", 4) == 0)
		return answer;
	for (size_t i = 0; i < sizeof(moves) / sizeof(*moves); i++) {
		if (!is(action, moves[i][0]))
			continue;
		if (!is(job.state, moves[i][1]))
			return "illegal state";
		if (is(action, "lock") && job.busy) {
			usleep((useconds_t)timeout_ms * 1000);
			return "timed out";
		}
		if (is(action, "checkpoint") && !lie)
			close_devices();
		if (is(action, "restore") && !lie && open_devices() < 0) {
			enter("failed");
			return "no device";
		}
		enter(moves[i][2]);
		return "ok ";
	}
	return "invalid argument";
}

static void serve(int client)
{
	char question[256], action[64], answer[128];
	const char *reply, *name = action;
	long timeout_ms = 0;
	ssize_t n = recv(client, question, sizeof(question) - 1, 0);

	if (n > 0) {
		question[n] = '\0';
		if (sscanf(question, "%63s %ld", action, &timeout_ms) < 1)
			return;
		if (strncmp(action, "lie-", 4) == 0)
			name += 4;
		reply = obey(name, name > action, timeout_ms, answer, sizeof(answer));
		send(client, reply, strlen(reply), MSG_NOSIGNAL);
	}
	close(client);
}

static void *help_others(void *listener)
{
	for (;;) {
		int client = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(client);
	}
	return NULL;
}

static void work(void)
{
	struct sockaddr_un address;
	socklen_t length = cuda_address((int)getpid(), &address);
	static int listener;
	pthread_t thread;

	if (open_devices() < 0)
		fail("cudajob: device");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
		listen(listener, 16) < 0 ||
		pthread_create(&thread, NULL, help_others, &listener) != 0)
		fail("cudajob: helper thread");
	if (job.heir && fork() == 0) {
		close(listener);
		for (;;)
			pause();
	}
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "processes", required_argument, NULL, 'n' },
		{ "busy", no_argument, &job.busy, 1 },
		{ "heir", no_argument, &job.heir, 1 },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'd' && job.n < DEVICES_MAX)
			job.devices[job.n++] = optarg;
		else if (c == 'n')
			job.processes = (int)strtol(optarg, NULL, 10);
		else if (c != 0) {
			fputs(help, stderr);
			exit(2);
		}
	}
	for (int i = 1; i < job.processes; i++)
		if (fork() == 0)
			work();
	work();
}
