/* SPDX-License-Identifier: MIT */
/*
 * dibs status, and dibs status --watch: one call whose replies keep coming. On a terminal each is
 * drawn over the last, on the alternate screen, so that what was there before comes back at the
 * end.
 */
#include "cli/status.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/public.h"

static enum client_exit draw(struct cli *cli, FILE *out, json_t *reply)
{
	struct view view = { &cli->term, &cli->people, clock_wall(),
		json_object_get(reply, "leases") };

	return status_draw(out, &view, reply) < 0 ? complain(EXIT_FAULT, "out of memory") : EXIT_OK;
}

static enum client_exit print_reply(struct cli *cli, json_t *reply)
{
	_cleanup_(json_decrefp) json_t *object = NULL;

	if (!cli_value(cli, OPT_JSON))
		return draw(cli, stdout, reply);
	object = public_status(reply, &cli->people);
	return cli_print_json(object);
}

/* SIGWINCH and those that end us come as input; the process goes away soon after, so nothing is put
 * back. */
static int catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		sigaddset(&mask, signals[i]);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The whole picture at once, each line cleared behind its end: nothing flickers. */
static enum client_exit redraw(struct cli *cli, json_t *reply)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	enum client_exit exit;
	unsigned n = 1; /* lines; more than there is room for would scroll */

	if (!out)
		return complain(EXIT_FAULT, "out of memory");
	exit = draw(cli, out, reply);
	if (fclose(out) != 0 || exit != EXIT_OK)
		return EXIT_FAULT;
	fputs("\033[H", stdout);
	for (char *cursor = text, *line; (line = strsep(&cursor, "\n")) && n <= cli->term.height;
		n++)
		printf("%s%s\033[K", n > 1 ? "\r\n" : "", line);
	fputs("\033[J", stdout);
	return EXIT_OK;
}

static enum client_exit show_reply(struct cli *cli, json_t *reply, bool screen)
{
	enum client_exit exit;

	exit = screen ? redraw(cli, reply) : print_reply(cli, reply);
	if (!screen && !cli_value(cli, OPT_JSON))
		putchar('\n');
	/* That the output cannot be written, main() says. */
	return fflush(stdout) != 0 ? EXIT_FAULT : exit;
}

enum happening { HAPPENED_REPLY, HAPPENED_RESIZE, HAPPENED_END };

static enum happening wait_for(const struct client *client, int signals)
{
	struct pollfd fds[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = client->fd, .events = POLLIN },
	};
	struct signalfd_siginfo info;

	/* A reply may have come together with the one before. */
	if (client->reader.size > client->reader.taken)
		return HAPPENED_REPLY;
	while (poll(fds, ELEMENTSOF(fds), -1) < 0)
		;
	if (read(signals, &info, sizeof(info)) == sizeof(info))
		return info.ssi_signo == SIGWINCH ? HAPPENED_RESIZE : HAPPENED_END;
	return HAPPENED_REPLY;
}

static enum client_exit watch(
	struct cli *cli, struct client *client, bool screen, struct error *err)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	_cleanup_(closep) int signals = catch_signals();
	enum client_exit exit = EXIT_OK;
	enum happening happened;

	for (bool more = true; more && exit == EXIT_OK;) {
		json_t *next;

		happened = wait_for(client, signals);
		if (happened == HAPPENED_END)
			return EXIT_OK;
		if (happened == HAPPENED_RESIZE) {
			term_measure(&cli->term, STDOUT_FILENO);
		} else {
			if (client_receive(client, &next, &more, &exit, err) < 0)
				return exit;
			json_decref(reply);
			reply = next;
		}
		if (reply && (screen || happened == HAPPENED_REPLY))
			exit = show_reply(cli, reply, screen);
	}
	return exit;
}

static enum client_exit status_watch(struct cli *cli)
{
	bool screen = cli->term.tty && !cli_value(cli, OPT_JSON);
	struct client client;
	struct error err = { 0 };
	enum client_exit exit;

	if (client_connect(&client, cli_value(cli, OPT_SOCKET), &err) < 0)
		return complain_error(cli, EXIT_UNREACHABLE, &err);
	if (client_send(&client, "org.dibs.GetStatus", NULL, true, &err) < 0) {
		client_close(&client);
		return complain_error(cli, EXIT_FAULT, &err);
	}
	if (screen)
		fputs("\033[?1049h\033[?25l", stdout);
	exit = watch(cli, &client, screen, &err);
	if (screen)
		fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	client_close(&client);
	return exit == EXIT_OK || !err.id ? exit : complain_error(cli, exit, &err);
}

enum client_exit verb_status(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	enum client_exit exit;

	if (cli_value(cli, OPT_WATCH))
		return status_watch(cli);
	exit = cli_call(cli, "org.dibs.GetStatus", NULL, &reply);
	return exit == EXIT_OK ? print_reply(cli, reply) : exit;
}
