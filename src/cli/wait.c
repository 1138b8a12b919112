/* SPDX-License-Identifier: MIT */
/*
 * One call with "more": the daemon answers with a waiting lease whenever its place changes, and at
 * last with an active one. Whoever ends this process while it waits ends the wish: the daemon sees
 * the connection close.
 *
 * A daemon that is restarted or upgraded keeps the queue. So a lost connection is taken up again
 * with Resume.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/comeback.h"
#include "cli/public.h"
#include "cli/request.h"

#define PATIENCE_US (60 * USEC_PER_SEC) /* without a daemon */

struct wait {
	struct cli *cli;
	struct client client;
	struct term term;         /* standard error */
	int64_t id;               /* of the waiting lease; 0 = not told yet */
	int64_t deadline_us;      /* when --wait is over; TIME_NEVER */
	int64_t lost_us;          /* when the connection was lost; 0 = it is there */
	struct comeback comeback; /* while it is lost */
	bool at_once;             /* it was there a moment ago: no pause before the next attempt */
	bool told;                /* said what we wait for */
	bool open_line;           /* the cursor stands behind what was said */
};

static int64_t boottime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static void end_line(struct wait *w)
{
	if (w->open_line)
		fputc('\n', stderr);
	w->open_line = false;
}

/* Says it once; on a terminal the line is kept up to date. */
static void say_waiting(struct wait *w, json_t *reply)
{
	char text[WAITING_SIZE];
	size_t max = w->term.width > 7 ? w->term.width - 7 : 0;

	if (w->told && !w->term.tty)
		return;
	waiting_text(text, reply, &w->cli->people, clock_wall());
	term_fit(&w->term, text);
	if (!w->term.tty) {
		fprintf(stderr, "dibs: %s\n", text);
	} else {
		/* A line that wraps cannot be rewritten. */
		if (strlen(text) > max)
			text_cut(text, max);
		fprintf(stderr, "%sdibs: %s", w->open_line ? "\r\033[K" : "", text);
		w->open_line = true;
	}
	w->told = true;
}

static void say_granted(struct wait *w, json_t *lease)
{
	if (!w->told)
		return;
	end_line(w);
	fprintf(stderr, "dibs: #%" PRId64 " has its turn\n", wire_int(lease, "id", 0));
}

static enum client_exit give_up(const struct wait *w)
{
	return complain(EXIT_UNREACHABLE,
		"dibsd did not come back within a minute; #%" PRId64
		" has lost its place in the queue. Start dibsd, then ask again",
		w->id);
}

static enum client_exit reconnect(struct wait *w, struct error *err)
{
	for (;;) {
		if (!w->at_once)
			comeback_pause(&w->comeback);
		w->at_once = false;
		if (boottime() >= w->deadline_us)
			return complain(EXIT_NOT_FREE,
				"the time of --wait is over, and dibsd is not back; #%" PRId64
				" leaves the queue",
				w->id);
		if (client_connect(&w->client, cli_value(w->cli, OPT_SOCKET), err) == 0)
			return EXIT_OK;
		if (boottime() >= w->lost_us + PATIENCE_US)
			return give_up(w);
	}
}

/* The daemon went away. EXIT_OK when the question is asked again. */
static enum client_exit resume(struct wait *w, struct error *err)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack("{sI}", "id", (json_int_t)w->id);
	enum client_exit exit;

	client_close(&w->client);
	end_line(w);
	if (w->lost_us == 0) {
		w->lost_us = boottime();
		w->at_once = true;
		comeback_end(&w->comeback);
		comeback_begin(&w->comeback, cli_value(w->cli, OPT_SOCKET));
		fprintf(stderr,
			"dibs: dibsd went away; #%" PRId64
			" takes its place again when it is back\n",
			w->id);
	} else if (boottime() >= w->lost_us + PATIENCE_US) {
		/* It comes back, and goes away before it answers. */
		return give_up(w);
	}
	exit = reconnect(w, err);
	if (exit != EXIT_OK)
		return exit;
	if (client_send(&w->client, "org.dibs.Resume", parameters, true, err) < 0)
		return complain_error(w->cli, EXIT_FAULT, err);
	return EXIT_OK;
}

static enum client_exit failed(
	struct wait *w, int r, enum client_exit exit, const struct error *err)
{
	end_line(w);
	if (w->lost_us && r == -EREMOTEIO && (exit == EXIT_INVALID || exit == EXIT_REFUSED)) {
		complain_error(w->cli, exit, err);
		return complain(EXIT_UNREACHABLE,
			"#%" PRId64 " has lost its place in the queue; ask again", w->id);
	}
	return complain_error(w->cli, exit, err);
}

/* Reads replies until one has the granted lease. */
static enum client_exit follow(struct wait *w, json_t **ret, struct error *err)
{
	struct manner *manner = cli_manner();

	for (;;) {
		_cleanup_(json_decrefp) json_t *reply = NULL;
		enum client_exit exit = EXIT_FAULT;
		bool more = false;
		int r = client_receive(&w->client, &reply, &more, &exit, err);

		if (r == -ECONNRESET && w->id) {
			exit = resume(w, err);
			if (exit != EXIT_OK)
				return exit;
			continue;
		}
		if (r < 0)
			return failed(w, r, exit, err);
		w->id = wire_int(json_object_get(reply, "lease"), "id", 0);
		if (w->lost_us && more)
			w->told = false; /* say it again: who is in the way may have changed */
		w->lost_us = 0;
		if (more) {
			if (manner && manner->wait)
				manner->wait(manner, reply);
			else
				say_waiting(w, reply);
			continue;
		}
		say_granted(w, json_object_get(reply, "lease"));
		*ret = TAKE_PTR(reply);
		return EXIT_OK;
	}
}

enum client_exit request_wait(struct cli *cli, json_t *parameters, json_t **ret)
{
	int64_t wait_us = wire_int(parameters, "wait_us", -1);
	struct wait w = { .cli = cli, .deadline_us = TIME_NEVER, .comeback.inotify = -1 };
	struct error err = { 0 };
	enum client_exit exit;
	int r;

	term_init(&w.term, STDERR_FILENO, "never", NULL);
	if (wait_us >= 0)
		w.deadline_us = boottime() + wait_us;
	r = client_connect(&w.client, cli_value(cli, OPT_SOCKET), &err);
	if (r < 0)
		return complain_error(cli, EXIT_UNREACHABLE, &err);
	r = client_send(&w.client, "org.dibs.Request", parameters, true, &err);
	if (r < 0)
		exit = complain_error(cli, r == -EMSGSIZE ? EXIT_INVALID : EXIT_FAULT, &err);
	else
		exit = follow(&w, ret, &err);
	comeback_end(&w.comeback);
	client_close(&w.client);
	return exit;
}
