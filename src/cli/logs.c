/* SPDX-License-Identifier: MIT */
/*
 * dibsd says where the output is and where in that file this attempt begins; the file is opened
 * here, with the rights of the caller. To follow it, inotify tells that there is more, and dibsd
 * that the job has ended. Where other hosts may write, or inotify cannot be had, the file is
 * looked at each second.
 *
 * Security: on a terminal, the output of one's own job is left as it is, as it would be if the
 * program ran there. Others could say what the terminal obeys; theirs comes without control
 * characters, to a terminal.
 */
#include "cli/logs.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "cli/comeback.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "model/indices.h"

#define LOOK_MS 1000

struct logs {
	struct cli *cli;
	int64_t id, index;            /* as it was asked for */
	char text[JOB_NUMBER_SIZE];   /* the same for people */
	json_t *reply;                /* owned; what Show said last */
	json_t *ended;                /* owned; its lease, if we were there when it ended */
	char number[JOB_NUMBER_SIZE]; /* of its lease, for WaitJobs */
	struct log_file file;
	const struct log_sink *out; /* borrowed */
	struct client client;       /* waits for the end */
	struct comeback comeback;
	bool follow, quiet;
	bool lost;      /* dibsd is away */
	bool has_ended; /* the job */
	int inotify;    /* -1 = there is none */
	bool look;      /* each second */
};

/* To be changed by what is said of the job. */
static struct logs logs_of(struct cli *cli, const struct log_sink *out)
{
	return (struct logs){ .cli = cli,
		.out = out,
		.client.fd = -1,
		.file.fd = -1,
		.comeback.inotify = -1,
		.inotify = -1 };
}

static void logs_clear(struct logs *l)
{
	json_decref(l->reply);
	json_decref(l->ended);
	client_close(&l->client);
	log_file_close(&l->file);
	closep(&l->inotify);
}

static void set_number(struct logs *l, int64_t id, int64_t index)
{
	int n = snprintf(l->text, sizeof(l->text), "%" PRId64, id);

	l->id = id;
	l->index = index;
	if (index >= 0)
		snprintf(l->text + n, sizeof(l->text) - (size_t)n, ".%" PRId64, index);
}

static json_t *lease_of(const struct logs *l)
{
	return json_object_get(l->reply, "lease");
}

static enum client_exit show(struct logs *l)
{
	json_decref(l->reply);
	l->reply = NULL;
	return job_show(l->cli, l->id, l->index, &l->reply);
}

static bool has_log(const struct logs *l)
{
	return job_has_started(lease_of(l), l->index) && *wire_text(job_of(lease_of(l)), "log");
}

static bool is_over(const struct logs *l)
{
	return strcmp(wire_text(lease_of(l), "state"), "ended") == 0;
}

static enum client_exit never_ran(struct logs *l)
{
	struct cell cell = { 0 };

	job_put_end(&cell, &l->cli->people, lease_of(l));
	return complain(EXIT_FAULT, "#%s has no output, as it never ran: %s", l->text,
		*cell.text ? cell.text : wire_text(lease_of(l), "end"));
}

/* Why there is nothing to be read yet, for who does not wait. */
static enum client_exit not_yet(struct logs *l)
{
	const char *blocked = wire_text(job_of(lease_of(l)), "blocked");

	return complain(EXIT_NOT_FREE,
		"#%s has not started yet%s%s%s; 'dibs logs -f %s' waits for it", l->text,
		*blocked ? " (" : "", blocked, *blocked ? ")" : "", l->text);
}

/* Does this status say nothing new of a job that has not started? */
static bool still_waits(const struct logs *l, json_t *leases)
{
	json_t *lease = lease_find(leases, l->id);
	_cleanup_(indices_clear) struct indices pending = { 0 };

	if (!lease || !lease_waits(lease))
		return lease && !job_is_array(lease) && !*wire_text(job_of(lease), "log");
	return l->index < 0 || (indices_parse(wire_text(job_of(lease), "pending"), &pending) == 0 &&
				       indices_has(&pending, l->index));
}

static int watch_status(struct logs *l, struct error *err)
{
	int r;

	client_close(&l->client);
	r = client_connect(&l->client, cli_value(l->cli, OPT_SOCKET), err);
	return r < 0 ? r : client_send(&l->client, "org.dibs.GetStatus", NULL, true, err);
}

/* The job waits on without dibsd, and so do we. */
static void watch_again(struct logs *l)
{
	struct comeback comeback;

	comeback_begin(&comeback, cli_value(l->cli, OPT_SOCKET));
	do
		comeback_pause(&comeback);
	while (watch_status(l, NULL) < 0);
	comeback_end(&comeback);
}

/* Whoever read it may have gone. A second status may be there already; then the next, a second
 * later, wakes us. */
static bool is_read(struct logs *l)
{
	struct pollfd fds[] = { { .fd = l->client.fd, .events = POLLIN }, { .fd = l->out->fd } };

	return poll(fds, ELEMENTSOF(fds), -1) < 0 ||
	       !(fds[1].revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* One status; asks for more of the job if it is about that. */
static enum client_exit note_status(struct logs *l, bool *ret_more)
{
	_cleanup_(json_decrefp) json_t *status = NULL;
	struct error err = { 0 };
	enum client_exit exit;
	int r = client_receive(&l->client, &status, ret_more, &exit, &err);

	if (r < 0 && r != -ECONNRESET)
		return complain_error(l->cli, exit, &err);
	if (r < 0)
		watch_again(l);
	else if (!still_waits(l, json_object_get(status, "leases")))
		exit = show(l);
	return exit == EXIT_UNREACHABLE ? EXIT_OK : exit;
}

/* Until there is a log, or never will be. dibsd tells when something changes. */
static enum client_exit await_start(struct logs *l)
{
	struct error err = { 0 };
	enum client_exit exit = EXIT_OK;
	bool more = true;

	if (watch_status(l, &err) < 0) {
		if (!l->quiet)
			return complain_error(l->cli, EXIT_UNREACHABLE, &err);
		watch_again(l);
	}
	while (exit == EXIT_OK && more && !has_log(l) && !is_over(l))
		exit = is_read(l) ? note_status(l, &more) : EXIT_FAULT;
	client_close(&l->client);
	return exit;
}

/* Asks dibsd for the end of the job; that it is away is no reason to stop. */
static void await_end(struct logs *l)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack("{s[s]}", "ids", l->number);
	struct error err = { 0 };

	client_close(&l->client);
	l->lost = client_connect(&l->client, cli_value(l->cli, OPT_SOCKET), &err) < 0 ||
		  client_send(&l->client, "org.dibs.WaitJobs", parameters, false, &err) < 0;
}

static enum client_exit note_reply(struct logs *l)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	struct error err = { 0 };
	enum client_exit exit;
	bool more;
	int r = client_receive(&l->client, &reply, &more, &exit, &err);

	if (r == -ECONNRESET) {
		client_close(&l->client);
		comeback_end(&l->comeback);
		comeback_begin(&l->comeback, cli_value(l->cli, OPT_SOCKET));
		l->lost = true;
		return EXIT_OK;
	}
	if (r < 0)
		return complain_error(l->cli, exit, &err);
	l->ended = json_incref(json_object_get(reply, "lease"));
	l->has_ended = true;
	return EXIT_OK;
}

static void drain(int fd)
{
	char events[4096];

	while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
		;
}

/* Until there is something to do. */
static enum client_exit wait_for_more(struct logs *l)
{
	struct pollfd fds[] = {
		{ .fd = l->inotify, .events = POLLIN },
		{ .fd = l->lost ? l->comeback.inotify : l->client.fd, .events = POLLIN },
		{ .fd = l->out->fd }, /* whoever read it may have gone */
	};
	int timeout = l->look ? LOOK_MS : -1;

	if (l->lost)
		timeout = l->look ? MIN(LOOK_MS, l->comeback.timeout_ms) : l->comeback.timeout_ms;
	if (poll(fds, ELEMENTSOF(fds), timeout) < 0)
		return EXIT_OK;
	drain(l->inotify);
	if (fds[2].revents & (POLLERR | POLLHUP | POLLNVAL))
		return EXIT_FAULT;
	if (l->lost) {
		comeback_note(&l->comeback);
		await_end(l);
	} else if (fds[1].revents) {
		return note_reply(l);
	}
	return EXIT_OK;
}

/* That nobody reads the output any more needs no words. */
static enum client_exit printed(const struct logs *l, int r)
{
	if (r == -EPIPE || r >= 0)
		return r < 0 ? EXIT_FAULT : EXIT_OK;
	return complain(EXIT_FAULT, "cannot read %s: %s", l->file.path, strerror(-r));
}

static enum client_exit follow(struct logs *l)
{
	enum client_exit exit = EXIT_OK;

	comeback_begin(&l->comeback, cli_value(l->cli, OPT_SOCKET));
	await_end(l);
	while (exit == EXIT_OK) {
		bool last = l->has_ended;

		if (l->inotify < 0)
			l->inotify = log_file_watch(&l->file);
		l->look = l->inotify < 0 || !log_file_is_local(&l->file);
		exit = printed(l, log_file_follow(&l->file, l->out));
		if (last)
			break;
		if (exit == EXIT_OK)
			exit = wait_for_more(l);
	}
	comeback_end(&l->comeback);
	return exit;
}

static enum client_exit print_log(struct logs *l, int64_t lines)
{
	json_t *job = job_of(lease_of(l));
	struct error err = { 0 };
	int r = log_file_open(
		&l->file, wire_text(job, "log"), wire_int(job, "log_offset", 0), &err);

	if (r < 0)
		return complain_error(l->cli, r == -EACCES ? EXIT_REFUSED : EXIT_FAULT, &err);
	l->file.tame = l->cli->term.tty && wire_int(lease_of(l), "uid", -1) != getuid();
	l->file.utf8 = l->cli->term.utf8;
	if (lines >= 0)
		r = log_file_tail(&l->file, (uint64_t)lines);
	if (r < 0 || !l->follow || is_over(l))
		return printed(l, r < 0 ? r : log_file_print(&l->file, l->out));
	job_number(l->number, lease_of(l));
	return follow(l);
}

/* Who has just handed the job in stays with it, also if dibsd went away at that moment. */
static enum client_exit show_first(struct logs *l)
{
	enum client_exit exit;

	while ((exit = show(l)) == EXIT_UNREACHABLE && l->quiet) {
		watch_again(l);
		client_close(&l->client);
	}
	return exit;
}

static enum client_exit logs(struct logs *l, int64_t lines)
{
	enum client_exit exit = show_first(l);

	if (exit != EXIT_OK)
		return exit;
	if (!job_of(lease_of(l)))
		return complain(EXIT_INVALID, "#%s is a %s, whose output dibs does not keep",
			l->text, wire_text(lease_of(l), "kind"));
	if (job_is_array(lease_of(l)) && l->index < 0)
		return complain(EXIT_INVALID, "#%s is an array; say which element, as in %s.7",
			l->text, l->text);
	if (!has_log(l) && !is_over(l)) {
		if (!l->follow)
			return not_yet(l);
		if (!l->quiet)
			complain(EXIT_OK, "#%s has not started yet; waiting for it", l->text);
		exit = await_start(l);
		if (exit != EXIT_OK)
			return exit;
	}
	if (has_log(l))
		return print_log(l, lines);
	return l->quiet ? EXIT_OK : never_ran(l);
}

enum client_exit logs_follow(struct cli *cli, int64_t id, const struct log_sink *out, json_t **ret)
{
	_cleanup_(logs_clear) struct logs l = logs_of(cli, out);
	enum client_exit exit;

	l.follow = l.quiet = true;
	set_number(&l, id, -1);
	exit = logs(&l, -1);
	if (exit == EXIT_OK)
		*ret = json_incref(l.ended ? l.ended : lease_of(&l));
	return exit;
}

enum client_exit verb_logs(struct cli *cli)
{
	const struct log_sink out = { .fd = STDOUT_FILENO };
	_cleanup_(logs_clear) struct logs l = logs_of(cli, &out);
	const char *tail = cli_value(cli, OPT_TAIL);
	struct error err = { 0 };
	int64_t id, index;
	uint64_t lines = 0;

	if (job_parse(cli->args.words[0], &id, &index, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	if (tail && parse_uint(tail, 0, INT64_MAX, &lines) < 0)
		return complain(EXIT_INVALID, "--tail takes a number of lines, not '%s'", tail);
	l.follow = cli_value(cli, OPT_FOLLOW);
	set_number(&l, id, index);
	return logs(&l, tail ? (int64_t)lines : -1);
}
