/* SPDX-License-Identifier: MIT */
/* One lease and what happened to it. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

#define HOUR_US (3600 * USEC_PER_SEC)

static void print_text(const struct term *term, const char *name, const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);

	if (!copy || !*copy)
		return;
	term_fit(term, copy);
	printf("  %-10s %s\n", name, copy);
}

static void print_moment(json_t *lease, const char *name, int64_t now_us)
{
	int64_t us = wire_int(lease, name, 0);
	char text[MOMENT_SIZE];

	if (!us)
		return;
	term_moment(text, us, now_us);
	printf("  %-10s %s\n", name, text);
}

static void print_idle(json_t *lease, int64_t now_us)
{
	int64_t us = lease_idle_us(lease, now_us), release = wire_int(lease, "idle_release", 0);
	char duration[DURATION_TEXT_SIZE], moment[MOMENT_SIZE];

	if (us) {
		format_duration(duration, us);
		printf("  %-10s %s\n", "idle", duration);
	}
	if (release) {
		term_moment(moment, release, now_us);
		printf("  %-10s %s, unless it is used\n", "given back", moment);
	}
}

/* What is put into a cell; nothing if that is empty. */
static void print_cell(const struct term *term, const char *name, struct cell *cell)
{
	print_text(term, name, cell->text);
}

/* "element 7 of #42", "9 990 wait (10-9999), 4 running, 5 ok, 1 failed" */
static void print_array(const struct term *term, json_t *lease)
{
	json_t *job = job_of(lease);
	struct cell cell = { 0 }, pending = { 0 };

	if (wire_int(job, "array", 0))
		cell_printf(&cell, "element %" PRId64 " of #%" PRId64, wire_int(job, "index", 0),
			wire_int(job, "array", 0));
	else if (job_is_array(lease))
		cell_printf(&cell, "%" PRId64 " running, %" PRId64 " ok, %" PRId64 " failed",
			wire_int(job, "active", 0), wire_int(job, "ok", 0),
			wire_int(job, "failed", 0));
	print_cell(term, "array", &cell);
	cell_printf(&pending, "%s", wire_text(job, "pending"));
	print_cell(term, "to start", &pending);
}

/* "#41 (ok), #40 (any)" */
static void print_needs(const struct term *term, json_t *job)
{
	struct cell cell = { 0 };
	json_t *need;
	size_t i;

	json_array_foreach (json_object_get(job, "after"), i, need) {
		const char *text = json_string_value(need), *how = text ? strchr(text, ':') : NULL;

		if (how)
			cell_printf(&cell, "%s#%.*s (%s)", i ? ", " : "", (int)(how - text), text,
				how + 1);
	}
	print_cell(term, "after", &cell);
}

/* How it is started, ended and tried again, where that is not what everybody has. */
static void print_rules(const struct term *term, json_t *job)
{
	int64_t retries = wire_int(job, "retries", 0), restarts = wire_int(job, "restarts", 0);
	struct cell nice = { 0 }, tries = { 0 };

	if (wire_int(job, "nice", 0))
		cell_printf(&nice, "%" PRId64, wire_int(job, "nice", 0));
	print_cell(term, "nice", &nice);
	if (restarts)
		cell_printf(&tries, "started again %" PRId64 " time%s", restarts,
			restarts == 1 ? "" : "s");
	if (retries)
		cell_printf(
			&tries, "%s%" PRId64 " left if it fails", restarts ? ", " : "", retries);
	print_cell(term, "tries", &tries);
	if (strcmp(wire_text(job, "on_limit"), "kill") != 0)
		print_text(term, "at limit", wire_text(job, "on_limit"));
}

/* "2h30m of GPU time, 64% used, 31.4G at most on one GPU" */
static void print_account(const struct term *term, json_t *job)
{
	int64_t held = wire_int(job, "held_us", 0), used = wire_int(job, "used_us", -1);
	int64_t peak = wire_int(job, "peak_memory_mib", -1);
	char text[DURATION_TEXT_SIZE];
	struct cell cell = { 0 };

	if (held <= 0)
		return;
	format_duration(text, held);
	if (held < 10 * HOUR_US)
		cell_printf(&cell, "%s of GPU time", text);
	else
		cell_printf(&cell, "%.0f GPU hours", (double)held / (double)HOUR_US);
	if (used >= 0)
		cell_printf(&cell, ", %.0f%% used", 100.0 * (double)used / (double)held);
	if (peak >= 0)
		cell_printf(&cell, ", %.1fG at most on one GPU", (double)peak / 1024);
	print_cell(term, "account", &cell);
}

static void print_log(const struct term *term, json_t *job)
{
	struct cell cell = { 0 };

	cell_printf(&cell, "%s", wire_text(job, "log"));
	if (*cell.text && wire_int(job, "log_offset", 0))
		cell_printf(&cell, " (from byte %" PRId64 ")", wire_int(job, "log_offset", 0));
	print_cell(term, "log", &cell);
}

static void print_job(struct cli *cli, json_t *lease)
{
	const struct term *term = &cli->term;
	json_t *job = job_of(lease);
	char blocked[256];

	if (!job)
		return;
	print_text(term, "name", wire_text(job, "name"));
	print_array(term, lease);
	people_rename(&cli->people, blocked, sizeof(blocked), wire_text(job, "blocked"));
	print_text(term, "waits", blocked);
	print_needs(term, job);
	print_rules(term, job);
	print_log(term, job);
	print_account(term, job);
}

/* "(exited)"; of a job how it ended: "(exit status 1)". */
static void print_end(struct cli *cli, json_t *lease)
{
	struct cell cell = { 0 };

	if (strcmp(wire_text(lease, "state"), "ended") == 0)
		job_put_end(&cell, &cli->people, lease);
	if (!*cell.text || strcmp(wire_text(lease, "end"), "exited") != 0)
		cell_printf(&cell, "%s%s", *cell.text && *wire_text(lease, "end") ? ", " : "",
			wire_text(lease, "end"));
	term_fit(&cli->term, cell.text);
	if (*cell.text)
		printf(" (%s)", cell.text);
	putchar('\n');
}

static void print_gpus(const struct term *term, json_t *lease)
{
	int64_t share = wire_int(lease, "share_mib", 0);
	char gpus[LEASE_GPUS_SIZE];
	struct cell cell = { 0 };

	lease_gpus(gpus, lease);
	if (*gpus)
		cell_printf(&cell, "%s", gpus);
	else
		cell_printf(&cell, "any %" PRId64, wire_int(lease, "count", 1));
	if (share) {
		cell_printf(&cell, ", ");
		job_put_size(&cell, share);
		cell_printf(&cell, " of the memory of each, shared");
	}
	print_cell(term, "gpus", &cell);
}

static void print_lease(struct cli *cli, json_t *lease, int64_t now_us)
{
	char number[JOB_NUMBER_SIZE];
	const char *state = wire_text(lease, "state");

	job_number(number, lease);
	if (json_is_true(json_object_get(job_of(lease), "suspended")))
		state = "suspended";
	printf("%s#%s%s: %s of %s, %s", term_style(&cli->term, STYLE_BOLD), number,
		term_plain(&cli->term), wire_text(lease, "kind"),
		people_name(&cli->people, wire_int(lease, "uid", -1)), state);
	print_end(cli, lease);
	print_gpus(&cli->term, lease);
	if (wire_int(lease, "position", 0))
		printf("  %-10s %" PRId64 "\n", "position", wire_int(lease, "position", 0));
	print_moment(lease, "submitted", now_us);
	print_moment(job_of(lease), "begin", now_us);
	print_moment(lease, "since", now_us);
	print_moment(lease, "until", now_us);
	print_idle(lease, now_us);
	print_moment(lease, "ended", now_us);
	print_text(&cli->term, "command", wire_text(lease, "command"));
	print_text(&cli->term, "note", wire_text(lease, "note"));
	print_job(cli, lease);
}

static void fill_time(struct cell *cell, const struct view *view, json_t *event)
{
	cell_moment(cell, wire_int(event, "time", 0), view);
}

/* Kinds whose names say too little, and those that somebody should see. */
static const struct {
	const char *kind, *words;
	enum style style;
} kinds[] = {
	{ "warned", "told to end", STYLE_WARN },
	{ "revoked", "taken away", STYLE_WARN },
	{ "idle", "idle, warned", STYLE_WARN },
	{ "foreign", "foreign use", STYLE_WARN },
	{ "foreign-ended", "foreign use over", STYLE_PLAIN },
	{ "defect", "defect", STYLE_WARN },
	{ "overuse", "more than its share", STYLE_WARN },
	{ "given", "handed over", STYLE_PLAIN },
	{ "shrunk", "partly released", STYLE_PLAIN },
	{ "recovered", "store recovered", STYLE_PLAIN },
	{ "requeued", "back in queue", STYLE_PLAIN },
	{ "signalled", "sent a signal", STYLE_PLAIN },
};

static void fill_kind(struct cell *cell, const struct view *view, json_t *event)
{
	const char *kind = wire_text(event, "kind");
	size_t i = 0;

	while (i < ELEMENTSOF(kinds) && strcmp(kinds[i].kind, kind) != 0)
		i++;
	cell_printf(cell, "%s", i < ELEMENTSOF(kinds) ? kinds[i].words : kind);
	cell->style = i < ELEMENTSOF(kinds) ? kinds[i].style : STYLE_PLAIN;
}

static void fill_who(struct cell *cell, const struct view *view, json_t *event)
{
	int64_t uid = wire_int(event, "uid", -1);

	cell_printf(cell, "%s", uid < 0 ? "dibs" : people_name(view->people, uid));
}

static void fill_detail(struct cell *cell, const struct view *view, json_t *event)
{
	people_rename(view->people, cell->text, sizeof(cell->text), wire_text(event, "detail"));
}

static const struct column event_columns[] = {
	{ "TIME", 0, fill_time },
	{ "EVENT", 0, fill_kind },
	{ "BY", 0, fill_who },
	{ "DETAIL", COLUMN_CUT, fill_detail },
};

enum client_exit verb_show(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *object = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	struct error err = { 0 };
	enum client_exit exit;
	int64_t id, index;
	json_t *events;

	if (job_parse(cli->args.words[0], &id, &index, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	exit = job_show(cli, id, index, &reply);
	if (exit != EXIT_OK)
		return exit;
	if (cli_value(cli, OPT_JSON)) {
		object = public_show(reply, &cli->people);
		return cli_print_json(object);
	}
	print_lease(cli, json_object_get(reply, "lease"), view.now_us);
	events = json_object_get(reply, "events");
	if (json_array_size(events) == 0)
		return EXIT_OK;
	putchar('\n');
	return table_draw(stdout, &view, event_columns, ELEMENTSOF(event_columns), events) < 0
		       ? complain(EXIT_FAULT, "out of memory")
		       : EXIT_OK;
}
