/* SPDX-License-Identifier: MIT */
/* dibs: the command line; by other names, the faces of other tools (compat/face.h). */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "compat/face.h"
#include "dibs-config.h"

static enum client_exit start(struct cli *cli, int argc, char **argv)
{
	struct arguments *args = &cli->args;
	struct error err = { 0 };

	if (arguments_parse(argc, argv, args, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	if (args->values[OPT_HELP]) {
		help_print(stdout, args->parent, args->verb);
		return EXIT_OK;
	}
	if (args->values[OPT_VERSION]) {
		puts("dibs " DIBS_VERSION);
		return EXIT_OK;
	}
	if (term_init(&cli->term, STDOUT_FILENO, args->values[OPT_COLOR], &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	if (!args->verb->run) {
		help_print(stderr, args->parent, args->verb);
		return EXIT_INVALID;
	}
	return args->verb->run(cli);
}

/* Whoever closed one of the three standard descriptors would find a socket of ours in its place.
 * Opened the wrong way round, it still fails as a closed one does; the command gets it closed. */
static void occupy_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
			open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC) <
				0)
			return;
}

int main(int argc, char **argv)
{
	const struct face *face = face_find(argv[0]);
	struct cli cli = { 0 };
	enum client_exit exit;

	occupy_standard_fds();
	setlocale(LC_CTYPE, "");
	if (face)
		return face->run(argc, argv);
	exit = start(&cli, argc, argv);
	if ((fflush(stdout) != 0 || ferror(stdout)) && exit == EXIT_OK)
		exit = complain(EXIT_FAULT, "cannot write to standard output: %m");
	return (int)exit;
}
