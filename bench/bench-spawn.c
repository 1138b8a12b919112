/* SPDX-License-Identifier: MIT */
/*
 * What whole commands cost, in turns, so that whatever drifts meanwhile hits all of them:
 *
 *	bench-spawn ROUNDS PAUSE_MS STAMP COMMAND [ARG]... [, COMMAND [ARG]...]...
 *
 * Each round starts every command once, PAUSE_MS after the one before; every second round goes
 * backwards, so that none is always the one that follows the dearest. A sample lasts from just
 * before the start of a process until it has ended; with a STAMP (a FIFO, "-" for none) until the
 * moment that bench-now, run by the command in whatever way, writes into it.
 *
 * Prints one line of nanoseconds a command.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "measure.h"

#define COMMANDS_MAX 16
#define ROUNDS_MAX   100000
#define PATIENCE_MS  10000

struct command {
	char **argv;
	int64_t *ns; /* owned; one a round */
};

static posix_spawn_file_actions_t quiet;
static int stamp = -1;

static int64_t read_stamp(const char *name)
{
	struct pollfd fd = { .fd = stamp, .events = POLLIN };
	int64_t ns;

	if (poll(&fd, 1, PATIENCE_MS) != 1 || read(stamp, &ns, sizeof(ns)) != sizeof(ns))
		fail("%s did not start bench-now", name);
	return ns;
}

static int64_t sample(const struct command *command)
{
	int64_t begin = now_ns(), end;
	int status;
	pid_t pid;

	errno = posix_spawnp(&pid, command->argv[0], &quiet, NULL, command->argv, environ);
	if (errno)
		fail("cannot start %s", command->argv[0]);
	if (waitpid(pid, &status, 0) < 0)
		fail("waitpid");
	end = now_ns();
	if (status)
		fail("%s ended with wait status %#x", command->argv[0], (unsigned)status);
	return (stamp >= 0 ? read_stamp(command->argv[0]) : end) - begin;
}

/* Splits argv at the commas. */
static size_t split(char **argv, struct command *commands)
{
	size_t n = 0;

	for (char **word = argv; *word; word++) {
		if (n == COMMANDS_MAX)
			fail("more than %d commands", COMMANDS_MAX);
		commands[n++].argv = word;
		while (*word && strcmp(*word, ",") != 0)
			word++;
		if (!*word)
			break;
		*word = NULL;
	}
	return n;
}

static void measure(struct command *commands, size_t n, unsigned rounds, unsigned pause_ms)
{
	for (unsigned round = 0; round < rounds; round++)
		for (size_t i = 0; i < n; i++) {
			struct command *command = &commands[round % 2 ? n - 1 - i : i];

			if (pause_ms > 0)
				poll(NULL, 0, (int)pause_ms);
			command->ns[round] = sample(command);
		}
}

int main(int argc, char **argv)
{
	struct command commands[COMMANDS_MAX];
	unsigned rounds, pause_ms;
	size_t n;

	if (argc < 5)
		fail("ROUNDS PAUSE_MS STAMP COMMAND [ARG]... [, COMMAND [ARG]...]...");
	rounds = number(argv[1], ROUNDS_MAX);
	pause_ms = number(argv[2], PATIENCE_MS);
	if (strcmp(argv[3], "-") != 0 && (stamp = open(argv[3], O_RDWR | O_CLOEXEC)) < 0)
		fail("cannot open %s", argv[3]);
	n = split(argv + 4, commands);
	for (size_t i = 0; i < n; i++)
		if (!(commands[i].ns = calloc(rounds, sizeof(*commands[i].ns))))
			fail("no memory");
	if (posix_spawn_file_actions_init(&quiet) ||
		posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0))
		fail("no memory");
	measure(commands, n, rounds, pause_ms);
	for (size_t i = 0; i < n; i++)
		print_samples(commands[i].ns, rounds);
	return 0;
}
