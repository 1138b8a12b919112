/* SPDX-License-Identifier: MIT */
/*
 * How many leases a daemon grants durably: clients that, for a time, each ask for a hold of one
 * GPU, give it back as soon as they have it, and so on.
 *
 *	bench-lease SOCKET CLIENTS MILLISECONDS
 *
 * One process serves all clients, in the order in which their answers come, so that it takes as
 * little as possible of the processors that the daemon needs. There must be at least as many GPUs
 * as clients: nobody is to wait.
 *
 * Prints "PAIRS ELAPSED_NS": pairs of a request and a release, both answered, thus both on disk.
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
#define REPLY_SIZE  16384
#define PATIENCE_MS 10000

static const char request[] = "{\"method\":\"org.dibs.Request\",\"parameters\":"
			      "{\"kind\":\"hold\",\"count\":1,\"duration_us\":3600000000}}";

struct client {
	bool holds; /* the next answer is that to a release */
	size_t used;
	char reply[REPLY_SIZE];
};

static void send_text(int fd, const char *text)
{
	if (write_all(fd, text, strlen(text) + 1) < 0)
		fail("cannot send");
}

static void release(int fd, const char *reply)
{
	const char *id = strstr(reply, "\"id\"");
	char text[128];

	if (!id)
		fail("no lease in %s", reply);
	id += strcspn(id, "0123456789");
	snprintf(text, sizeof(text),
		"{\"method\":\"org.dibs.Release\",\"parameters\":{\"ids\":[%.*s]}}",
		(int)strspn(id, "0123456789"), id);
	send_text(fd, text);
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

/* Until the end of the time, then until nobody holds anything. Returns the pairs. */
static uint64_t serve(struct client *clients, struct pollfd *fds, unsigned n, int64_t end_ns)
{
	uint64_t pairs = 0;
	unsigned busy = n;

	while (busy > 0) {
		if (poll(fds, n, PATIENCE_MS) <= 0)
			fail("no answer");
		for (unsigned i = 0; i < n; i++) {
			struct client *client = &clients[i];

			if (!fds[i].revents || !receive(client, fds[i].fd))
				continue;
			if (!client->holds)
				release(fds[i].fd, client->reply);
			else if (pairs++, now_ns() < end_ns)
				send_text(fds[i].fd, request);
			else
				busy--;
			client->holds = !client->holds;
		}
	}
	return pairs;
}

int main(int argc, char **argv)
{
	static struct client clients[CLIENTS_MAX];
	struct pollfd fds[CLIENTS_MAX];
	int64_t begin, length;
	uint64_t pairs;
	unsigned n;

	if (argc != 4)
		fail("SOCKET CLIENTS MILLISECONDS");
	n = number(argv[2], CLIENTS_MAX);
	length = number(argv[3], 600000) * INT64_C(1000000);
	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = connect_unix(argv[1]), .events = POLLIN };
	begin = now_ns();
	for (unsigned i = 0; i < n; i++)
		send_text(fds[i].fd, request);
	pairs = serve(clients, fds, n, begin + length);
	printf("%" PRIu64 " %" PRId64 "\n", pairs, now_ns() - begin);
	return 0;
}
