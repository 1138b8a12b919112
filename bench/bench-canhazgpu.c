/* SPDX-License-Identifier: MIT */
/*
 * The primitive operations of canhazgpu (github.com/russellb/canhazgpu), which coordinates through
 * a Redis server: as many processes started, connections made and round trips, in that order and
 * with nothing between them. The real program does all of this and more.
 *
 *	bench-canhazgpu PORT prepare | status | reserve | run COMMAND [ARG]...
 *
 *	status   PING, GET count, 8 GET; 2 nvidia-smi; GET count, GET provider, 8 GET
 *	reserve  PING, GET provider; 2 nvidia-smi; SET NX (the lock), GET count, EVAL, DEL
 *	run      as reserve; itself again as the supervisor (PING, GET, SET); 50 ms; exec
 *
 * Each on two connections, with 8 GPUs, of which one is asked for. nvidia-smi is ourselves again,
 * asleep for 15 ms: a good case, on large machines it takes seconds. What happens after the end of
 * a command is left out, since nobody waits for it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "measure.h"

#define GPUS          8
#define NVIDIA_SMI_MS 15
#define START_MS      50

#define RECORD                                                                \
	"{\"user\":\"alice\",\"type\":\"run\",\"start_time\":\"2026-02-03T18" \
	":40:00.123456789+01:00\",\"last_heartbeat\":\"2026-02-03T18:40:00.123456789+01:00\"}"

static const char fill[] = "redis.call('SET', 'gpu_count', 8)\n"
			   "redis.call('SET', 'provider', 'nvidia')\n"
			   "for i = 0, 7 do redis.call('SET', 'gpu:' .. i, ARGV[1]) end\n"
			   "for i = 0, 99 do redis.call('ZADD', 'history', i, i .. ARGV[1]) end\n"
			   "return redis.call('PING')";

static const char allocate[] = "for i = 0, 7 do redis.call('GET', 'gpu:' .. i) end\n"
			       "redis.call('ZREVRANGE', 'history', 0, 99)\n"
			       "return redis.call('SET', 'gpu:0', ARGV[1])";

static int connect_redis(unsigned port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
		connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("cannot connect to port %u", port);
	return fd;
}

/* A reply ends with the end of its line; one that has a length ("$5"), with that of the second.
 * Values have no ends of lines in them, and lists are not asked for. */
static bool is_whole(const char *reply)
{
	const char *end = strstr(reply, "\r\n");

	return end && (reply[0] != '$' || reply[1] == '-' || strstr(end + 2, "\r\n"));
}

/* One round trip: the words of a command, up to a NULL. */
static void redis(int fd, const char *const *words)
{
	char text[2048], reply[2048] = "";
	size_t used = 0;
	int n = 0, count = 0;

	while (words[count])
		count++;
	n = snprintf(text, sizeof(text), "*%d\r\n", count);
	for (int i = 0; i < count; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "$%zu\r\n%s\r\n",
			strlen(words[i]), words[i]);
	if (write_all(fd, text, (size_t)n) < 0)
		fail("cannot send to Redis");
	while (!is_whole(reply)) {
		ssize_t got = recv(fd, reply + used, sizeof(reply) - 1 - used, 0);

		if (got <= 0)
			fail("no answer from Redis");
		used += (size_t)got;
		reply[used] = '\0';
	}
	errno = 0;
	if (reply[0] == '-')
		fail("Redis: %s", reply);
}
#define REDIS(fd, ...) redis(fd, (const char *const[]){ __VA_ARGS__, NULL })

static void get_gpus(int fd)
{
	char key[16];

	for (unsigned i = 0; i < GPUS; i++) {
		snprintf(key, sizeof(key), "gpu:%u", i);
		REDIS(fd, "GET", key);
	}
}

/* Starts ourselves with these words. */
static pid_t spawn_self(char *port, const char *what)
{
	char *argv[] = { program_invocation_name, port, (char *)what, NULL };
	pid_t pid;

	errno = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
	if (errno)
		fail("cannot start %s", what);
	return pid;
}

static void nvidia_smi_twice(char *port)
{
	for (int i = 0; i < 2; i++)
		if (waitpid(spawn_self(port, "nvidia-smi"), NULL, 0) < 0)
			fail("waitpid");
}

static void status(char *port, unsigned number)
{
	int fd = connect_redis(number);

	REDIS(fd, "PING");
	REDIS(fd, "GET", "gpu_count");
	get_gpus(fd);
	nvidia_smi_twice(port);
	fd = connect_redis(number);
	REDIS(fd, "GET", "gpu_count");
	REDIS(fd, "GET", "provider");
	get_gpus(fd);
}

static void reserve(char *port, unsigned number)
{
	int fd = connect_redis(number);

	REDIS(fd, "PING");
	REDIS(fd, "GET", "provider");
	nvidia_smi_twice(port);
	fd = connect_redis(number);
	REDIS(fd, "SET", "lock", "1", "NX", "EX", "10");
	REDIS(fd, "GET", "gpu_count");
	REDIS(fd, "EVAL", allocate, "0", RECORD);
	REDIS(fd, "DEL", "lock");
}

static void supervise(unsigned number)
{
	int fd = connect_redis(number);

	REDIS(fd, "PING");
	REDIS(fd, "GET", "gpu:0");
	REDIS(fd, "SET", "gpu:0", RECORD);
}

static void run(char *port, unsigned number, char **command)
{
	reserve(port, number);
	spawn_self(port, "supervisor");
	poll(NULL, 0, START_MS);
	execvp(command[0], command);
	fail("cannot run %s", command[0]);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	unsigned port = argc > 2 ? number(argv[1], UINT16_MAX) : 0;

	if (strcmp(what, "nvidia-smi") == 0)
		poll(NULL, 0, NVIDIA_SMI_MS);
	else if (strcmp(what, "prepare") == 0)
		REDIS(connect_redis(port), "EVAL", fill, "0", RECORD);
	else if (strcmp(what, "status") == 0)
		status(argv[1], port);
	else if (strcmp(what, "reserve") == 0)
		reserve(argv[1], port);
	else if (strcmp(what, "supervisor") == 0)
		supervise(port);
	else if (strcmp(what, "run") == 0 && argc > 3)
		run(argv[1], port, argv + 3);
	else
		fail("PORT prepare | status | reserve | run COMMAND [ARG]...");
	return 0;
}
