/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for NVIDIA's utility of that name (driver 570 and 580), for the programs of cudajob.c:
 * the same command line, states and exit codes.
 *
 *	cuda-checkpoint --get-state --pid PID
 *	cuda-checkpoint --get-restore-tid --pid PID
 *	cuda-checkpoint --toggle --pid PID
 *	cuda-checkpoint --action lock|checkpoint|restore|unlock --pid PID [--timeout MS]
 *	                [--device-map OLD=NEW,...]
 *
 * As the real one it needs root and the helper thread of the process, so one that is stopped or
 * frozen is waited for: a lock for its timeout, all else for ever.
 *
 * A file beside it, its own name with ".rules" behind, says what goes wrong: lines
 *
 *	fail ACTION PID|* MESSAGE    ends with an error, and does nothing
 *	hang ACTION PID|*            never ends
 *	lie ACTION PID|*             says that it is done, and does nothing but that
 *
 * where ACTION may also be get-state. Each call is a line, "ACTION PID", of the file ".log" beside
 * it, if there is one.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda-socket.h"

struct command {
	const char *action, *timeout, *map;
	int pid;
	int actions;
};

static void fail(const char *action, const char *why)
{
	fprintf(stderr, "Could not %s process: %s\n", action, why);
	exit(1);
}

static void beside(char *dst, size_t size, const char *suffix)
{
	ssize_t n = readlink("/proc/self/exe", dst, size - 8);

	if (n < 0)
		exit(1);
	snprintf(dst + n, size - (size_t)n, "%s", suffix);
}

static void note(const struct command *command)
{
	char path[4096], line[64];
	int fd;

	beside(path, sizeof(path), ".log");
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return;
	snprintf(line, sizeof(line), "%s %d\n", command->action, command->pid);
	if (write(fd, line, strlen(line)) < 0)
		perror(path);
	close(fd);
}

/* What is told to go wrong. True: it is to be lied about. */
static int obey_rules(const char *action, int pid)
{
	char path[4096], line[512], verb[16], about[32], whom[16];
	int lie = 0, skip;
	FILE *file;

	beside(path, sizeof(path), ".rules");
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%15s %31s %15s %n", verb, about, whom, &skip) != 3 ||
			strcmp(about, action) != 0 ||
			(strcmp(whom, "*") != 0 && strtol(whom, NULL, 10) != pid))
			continue;
		if (strcmp(verb, "fail") == 0)
			fail(action, line + skip);
		while (strcmp(verb, "hang") == 0)
			pause();
		lie |= strcmp(verb, "lie") == 0;
	}
	if (file)
		fclose(file);
	return lie;
}

/* Asks the helper thread of the process; ends us if it says no. */
static void ask(const struct command *command, const char *action, char *reply, size_t size)
{
	struct sockaddr_un address;
	socklen_t length = cuda_address(command->pid, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char question[256];
	ssize_t n;

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) < 0)
		fail(action, strerror(errno));
	snprintf(question, sizeof(question), "%s%s %s",
		obey_rules(action, command->pid) ? "lie-" : "", action,
		command->timeout ? command->timeout : "0");
	if (strcmp(action, "lock") == 0 && command->timeout) {
		long ms = strtol(command->timeout, NULL, 10);
		struct timeval limit = { ms / 1000, ms % 1000 * 1000 + 1 };

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	}
	if (send(fd, question, strlen(question), MSG_NOSIGNAL) < 0)
		fail(action, strerror(errno));
	n = recv(fd, reply, size - 1, 0);
	if (n <= 0)
		fail(action, n < 0 ? "timed out" : "it ended");
	reply[n] = '\0';
	close(fd);
	if (strncmp(reply, "ok ", 3) != 0)
		fail(action, reply);
	memmove(reply, reply + 3, (size_t)n - 2);
}

static void toggle(const struct command *command)
{
	static const char *const ways[2][2] = { { "lock", "checkpoint" }, { "restore", "unlock" } };
	char reply[256];
	int back;

	ask(command, "get-state", reply, sizeof(reply));
	back = strcmp(reply, "checkpointed") == 0;
	for (int i = 0; i < 2; i++)
		ask(command, ways[back][i], reply, sizeof(reply));
}

static void usage(void)
{
	fprintf(stderr, "cuda-checkpoint: see --help\n");
	exit(1);
}

static void parse(struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{ "get-state", no_argument, NULL, 's' },
		{ "get-restore-tid", no_argument, NULL, 't' },
		{ "toggle", no_argument, NULL, 'g' },
		{ "action", required_argument, NULL, 'a' },
		{ "pid", required_argument, NULL, 'p' },
		{ "timeout", required_argument, NULL, 'o' },
		{ "device-map", required_argument, NULL, 'm' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		command->actions += c == 's' || c == 't' || c == 'g' || c == 'a';
		if (c == 's')
			command->action = "get-state";
		else if (c == 't')
			command->action = "get-restore-tid";
		else if (c == 'g')
			command->action = "toggle";
		else if (c == 'a')
			command->action = optarg;
		else if (c == 'p')
			command->pid = (int)strtol(optarg, NULL, 10);
		else if (c == 'o')
			command->timeout = optarg;
		else if (c == 'm')
			command->map = optarg;
		else
			usage();
	}
}

int main(int argc, char **argv)
{
	static const char *const actions[] = { "get-state", "get-restore-tid", "toggle", "lock",
		"checkpoint", "restore", "unlock" };
	struct command command = { 0 };
	char reply[256] = "";
	int known = 0;

	parse(&command, argc, argv);
	for (size_t i = 0; command.action && i < sizeof(actions) / sizeof(*actions); i++)
		known |= strcmp(actions[i], command.action) == 0;
	if (!known || optind < argc || command.actions != 1 || command.pid <= 0 ||
		(command.timeout && strcmp(command.action, "lock") != 0) ||
		(command.map && strcmp(command.action, "restore") != 0))
		usage();
	note(&command);
	if (geteuid() != 0)
		fail(command.action, "operation not permitted");
	if (strcmp(command.action, "toggle") == 0)
		toggle(&command);
	else
		ask(&command, command.action, reply, sizeof(reply));
	if (strncmp(command.action, "get-", 4) == 0)
		puts(reply);
	return 0;
}
