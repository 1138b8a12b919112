/* SPDX-License-Identifier: MIT */
/*
 * dibs-exec: reads an order from its standard input, and does it. See priv/supervisor.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "dibs-config.h"
#include "exec/checkpoint.h"
#include "exec/listen.h"
#include "exec/order.h"
#include "exec/supervise.h"

#define EXIT_USAGE 2

static const char help[] =
	"Usage: dibs-exec < ORDER\n"
	"       dibs-exec --listen [PATH]\n"
	"Supervises one batch job as dibsd orders it; run by dibsd.\n"
	"\n"
	"  --listen    wait for orders at a socket, and start a supervisor for each;\n"
	"              without PATH at the one that systemd hands over\n"
	"  --help, --version\n";

/* What an order may ask for, by its field "do"; without one it is a job to supervise. */
static const struct mode {
	const char *name;
	int (*run)(const char *bytes, size_t size, int tell); /* takes tell; an exit status */
} modes[] = {
	{ NULL, supervise },
	{ "suspend", checkpoint_main },
	{ "resume", checkpoint_main },
};

static int (*find_mode(const char *name))(const char *, size_t, int)
{
	for (size_t i = 0; i < ELEMENTSOF(modes); i++)
		if (name ? modes[i].name && strcmp(name, modes[i].name) == 0 : !modes[i].name)
			return modes[i].run;
	return NULL;
}

/* Out of the way of what we start, which gets /dev/null in their place. */
static int take_standard(int *ret_order, int *ret_tell)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	*ret_order = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	*ret_tell = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (null < 0 || *ret_order < 0 || *ret_tell < 0 || dup2(null, STDIN_FILENO) < 0 ||
		dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	return null > STDERR_FILENO ? close(null) : 0;
}

static int obey(void)
{
	_cleanup_(freep) char *bytes = NULL;
	_cleanup_(closep) int order = -1;
	int (*run)(const char *, size_t, int);
	struct error err = { 0 };
	size_t size;
	int tell;

	if (take_standard(&order, &tell) < 0 || chdir("/") < 0) {
		log_error("cannot use the standard descriptors: %m");
		return EXIT_FAILURE;
	}
	if (order_read(order, &bytes, &size, &err) < 0) {
		log_error("%s", err.text);
		return EXIT_USAGE;
	}
	close(TAKE_FD(order));
	run = find_mode(order_mode(bytes, size));
	if (!run) {
		log_error("the order asks for something that is not known");
		return EXIT_USAGE;
	}
	return run(bytes, size, tell);
}

static int serve(const char *path)
{
	struct error err = { 0 };

	listen_serve(path, &err);
	log_error("%s", err.text);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c = getopt_long(argc, argv, "", options, NULL);

	if (c == 'h')
		fputs(help, stdout);
	else if (c == 'V')
		puts("dibs-exec " DIBS_VERSION);
	else if (c == 'l' && argc - optind <= 1)
		return serve(argv[optind]);
	else if (c < 0 && argc == optind)
		return obey();
	else if (c != '?')
		fputs("dibs-exec: unexpected arguments; see --help\n", stderr);
	return c == 'h' || c == 'V' ? EXIT_SUCCESS : EXIT_USAGE;
}
