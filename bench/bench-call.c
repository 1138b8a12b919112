/* SPDX-License-Identifier: MIT */
/*
 * What a call over a UNIX socket costs: connect, one message, one reply, close.
 *
 *	bench-call ROUNDS SOCKET MESSAGE
 *
 * In turns with the same message to a process that sends back what it gets and nothing else: the
 * least that any daemon can cost. Prints two lines of nanoseconds: the echo, the socket.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/text.h"
#include "measure.h"

#define ROUNDS_MAX 100000
#define REPLY_SIZE (1024 * 1024)

static _Noreturn void echo(int listener)
{
	char buffer[65536];

	for (;;) {
		_cleanup_(closep) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		ssize_t n;

		if (fd < 0)
			fail("accept");
		while ((n = read(fd, buffer, sizeof(buffer))) > 0)
			if (write_all(fd, buffer, (size_t)n) < 0)
				break;
	}
}

/* The path of the echo is beside that of the socket. */
static pid_t start_echo(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	text_copy(address.sun_path, sizeof(address.sun_path), path);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(listener, SOMAXCONN) < 0)
		fail("cannot listen on %s", path);
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		echo(listener);
	}
	close(listener);
	return pid;
}

static int64_t sample(const char *path, const char *message, char *reply)
{
	int64_t begin = now_ns();
	int fd = connect_unix(path);

	exchange(fd, message, reply, REPLY_SIZE);
	close(fd);
	return now_ns() - begin;
}

int main(int argc, char **argv)
{
	_cleanup_(freep) int64_t *echo_ns = NULL;
	_cleanup_(freep) int64_t *ns = NULL;
	_cleanup_(freep) char *path = NULL;
	_cleanup_(freep) char *reply = malloc(REPLY_SIZE);
	unsigned rounds;
	pid_t pid;

	if (argc != 4)
		fail("ROUNDS SOCKET MESSAGE");
	rounds = number(argv[1], ROUNDS_MAX);
	echo_ns = calloc(rounds, sizeof(*echo_ns));
	ns = calloc(rounds, sizeof(*ns));
	path = text_format("%s-echo", argv[2]);
	if (!echo_ns || !ns || !path || !reply)
		fail("no memory");
	pid = start_echo(path);
	for (unsigned i = 0; i < rounds; i++) {
		echo_ns[i] = sample(path, argv[3], reply);
		ns[i] = sample(argv[2], argv[3], reply);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
	print_samples(echo_ns, rounds);
	print_samples(ns, rounds);
	return 0;
}
