/* SPDX-License-Identifier: MIT */
/*
 * How fast a daemon answers the same call, over and over:
 *
 *	bench-flood SOCKET CLIENTS CALLS MESSAGE
 *
 * Each client sends MESSAGE anew as soon as it has its answer, until there were CALLS of all of
 * them. One process serves all clients, in the order in which their answers come, so that it takes
 * as little as possible of the processors that the daemon needs.
 *
 * Prints "CALLS ELAPSED_NS".
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "measure.h"

#define CLIENTS_MAX 64
#define CALLS_MAX   1000000
#define REPLY_SIZE  16384
#define PATIENCE_MS 20000

struct client {
	size_t used;
	char reply[REPLY_SIZE];
};

static void send_text(int fd, const char *text)
{
	if (write_all(fd, text, strlen(text) + 1) < 0)
		fail("cannot send");
}

/* Reads what is there. Is it a whole answer? */
static bool receive(struct client *client, int fd)
{
	ssize_t n = recv(fd, client->reply + client->used, REPLY_SIZE - client->used, 0);

	if (n <= 0)
		fail("no whole answer");
	client->used += (size_t)n;
	if (client->reply[client->used - 1])
		return false;
	client->used = 0;
	errno = 0;
	if (strstr(client->reply, "\"error\""))
		fail("%s", client->reply);
	return true;
}

static void serve(
	struct client *clients, struct pollfd *fds, unsigned n, unsigned calls, const char *message)
{
	unsigned sent = 0, answered = 0;

	for (unsigned i = 0; i < n && sent < calls; i++, sent++)
		send_text(fds[i].fd, message);
	while (answered < calls) {
		if (poll(fds, n, PATIENCE_MS) <= 0)
			fail("no answer");
		for (unsigned i = 0; i < n; i++) {
			if (!fds[i].revents || !receive(&clients[i], fds[i].fd))
				continue;
			answered++;
			if (sent < calls) {
				send_text(fds[i].fd, message);
				sent++;
			}
		}
	}
}

int main(int argc, char **argv)
{
	static struct client clients[CLIENTS_MAX];
	struct pollfd fds[CLIENTS_MAX];
	unsigned n, calls;
	int64_t begin;

	if (argc != 5)
		fail("SOCKET CLIENTS CALLS MESSAGE");
	n = number(argv[2], CLIENTS_MAX);
	calls = number(argv[3], CALLS_MAX);
	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = connect_unix(argv[1]), .events = POLLIN };
	begin = now_ns();
	serve(clients, fds, n, calls, argv[4]);
	printf("%u %" PRId64 "\n", calls, now_ns() - begin);
	return 0;
}
