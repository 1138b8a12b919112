/* SPDX-License-Identifier: MIT */
/* What was held and used: sums by dibsd, names and shares by us. */
#include "cli/report.h"

#include <grp.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/moment.h"
#include "cli/public.h"
#include "cli/table.h"

#define DAY_US        (INT64_C(86400) * USEC_PER_SEC)
#define DAYS_DEFAULT  30
#define DAYS_MAX      36500
#define TOP           5 /* holders of idle GPUs */
#define USEC_PER_HOUR (3600e6)

struct window {
	int64_t since_us, until_us;
	const char *by;
};

static enum client_exit parse_moment(struct cli *cli, enum opt opt, int64_t now_us, int64_t *ret_us)
{
	const char *text = cli_value(cli, opt);
	int64_t us;

	if (!text)
		return EXIT_OK;
	if (moment_parse(text, now_us, MOMENT_BEHIND, &us) < 0 || us < 0)
		return complain(EXIT_INVALID,
			"--%s takes a time as 2026-12-01, yesterday or 7d, not '%s'",
			options[opt].name, text);
	*ret_us = us;
	return EXIT_OK;
}

static bool is_by(const char *by)
{
	static const char *const all[] = { "user", "group", "gpu", "type", "kind" };

	for (size_t i = 0; i < ELEMENTSOF(all); i++)
		if (strcmp(all[i], by) == 0)
			return true;
	return false;
}

static enum client_exit parse(struct cli *cli, int64_t now_us, struct window *ret)
{
	const char *text = cli_value(cli, OPT_DAYS), *by = cli_value(cli, OPT_BY);
	uint64_t days = DAYS_DEFAULT;
	enum client_exit exit;

	if (text && (cli_value(cli, OPT_SINCE) || cli_value(cli, OPT_UNTIL)))
		return complain(EXIT_INVALID, "either --days, or --since and --until");
	if (text && parse_uint(text, 1, DAYS_MAX, &days) < 0)
		return complain(EXIT_INVALID, "--days takes a number from 1 to %d, not '%s'",
			DAYS_MAX, text);
	if (by && !is_by(by))
		return complain(
			EXIT_INVALID, "--by takes user, group, gpu, type or kind, not '%s'", by);
	if (cli_value(cli, OPT_JSON) && cli_value(cli, OPT_CSV))
		return complain(EXIT_INVALID, "either --json or --csv, not both");
	ret->by = by ? by : "user";
	ret->until_us = now_us;
	exit = parse_moment(cli, OPT_UNTIL, now_us, &ret->until_us);
	ret->until_us = MIN(ret->until_us, now_us); /* nothing was held yet after that */
	ret->since_us = MAX(ret->until_us - (int64_t)days * DAY_US, 0);
	if (exit == EXIT_OK)
		exit = parse_moment(cli, OPT_SINCE, now_us, &ret->since_us);
	if (exit == EXIT_OK && ret->since_us >= ret->until_us)
		return complain(EXIT_INVALID, "--since must be before --until and now");
	return exit;
}

static json_t *name_of_gpu(json_t *gpus, const char *uuid)
{
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		if (strcmp(wire_text(gpu, "uuid"), uuid) == 0)
			return json_sprintf("GPU %" PRId64, wire_int(gpu, "index", 0));
	return json_string(uuid);
}

/* What people call a row. */
static json_t *name_of(struct cli *cli, const char *by, json_t *gpus, const char *key)
{
	uint64_t number;

	if (strcmp(by, "gpu") == 0)
		return name_of_gpu(gpus, key);
	if (parse_uint(key, 0, UINT32_MAX, &number) < 0)
		return json_string(key);
	if (strcmp(by, "user") == 0)
		return json_string(people_name(&cli->people, (int64_t)number));
	if (strcmp(by, "group") == 0) {
		const struct group *group = getgrgid((gid_t)number);

		return json_string(group ? group->gr_name : key);
	}
	return json_string(key);
}

/* One report, its rows with names. *ret is owned by the caller. */
static enum client_exit fetch(
	struct cli *cli, const struct window *window, const char *by, json_t **ret)
{
	_cleanup_(json_decrefp) json_t *status = NULL, *reply = NULL;
	_cleanup_(json_decrefp) json_t *parameters = json_pack("{sI sI ss}", "since",
		(json_int_t)window->since_us, "until", (json_int_t)window->until_us, "by", by);
	enum client_exit exit = cli_call(cli, "org.dibs.Report", parameters, &reply);
	json_t *row;
	size_t i;

	if (exit == EXIT_OK && strcmp(by, "gpu") == 0)
		exit = cli_call(cli, "org.dibs.GetStatus", NULL, &status);
	if (exit != EXIT_OK)
		return exit;
	json_array_foreach (json_object_get(reply, "rows"), i, row)
		if (json_object_set_new(row, "name",
			    name_of(cli, by, json_object_get(status, "gpus"),
				    wire_text(row, "key"))) < 0)
			return complain(EXIT_FAULT, "out of memory");
	*ret = TAKE_PTR(reply);
	return EXIT_OK;
}

static void put_hours(struct cell *cell, json_t *row, const char *name)
{
	cell_printf(cell, "%.1f", (double)wire_int(row, name, 0) / USEC_PER_HOUR);
}

static void put_percent(struct cell *cell, int64_t part, int64_t whole)
{
	if (whole > 0)
		cell_printf(cell, "%.0f%%", 100.0 * (double)part / (double)whole);
}

static void put_wait(struct cell *cell, json_t *row, const char *name)
{
	int64_t us = wire_int(row, name, -1);
	char text[DURATION_TEXT_SIZE];

	if (us < 0)
		return;
	format_duration(text, us);
	cell_printf(cell, "%s", text);
}

static void fill_name(struct cell *cell, const struct view *view, json_t *row)
{
	cell_printf(cell, "%s", wire_text(row, "name"));
}

static void fill_leases(struct cell *cell, const struct view *view, json_t *row)
{
	cell_printf(cell, "%" PRId64, wire_int(row, "leases", 0));
}

static void fill_held(struct cell *cell, const struct view *view, json_t *row)
{
	put_hours(cell, row, "held_us");
}

static void fill_used(struct cell *cell, const struct view *view, json_t *row)
{
	put_hours(cell, row, "used_us");
}

static void fill_idle(struct cell *cell, const struct view *view, json_t *row)
{
	put_hours(cell, row, "idle_us");
}

static void fill_percent(struct cell *cell, const struct view *view, json_t *row)
{
	put_percent(cell, wire_int(row, "idle_us", 0), wire_int(row, "held_us", 0));
}

static void fill_median(struct cell *cell, const struct view *view, json_t *row)
{
	put_wait(cell, row, "waited_median_us");
}

static void fill_95(struct cell *cell, const struct view *view, json_t *row)
{
	put_wait(cell, row, "waited_95_us");
}

static enum client_exit draw(const struct view *view, const char *by, json_t *report)
{
	_cleanup_(json_decrefp) json_t *rows = json_array();
	json_t *total = json_object_get(report, "total");
	char title[16];
	const struct column columns[] = {
		{ title, 0, fill_name },
		{ "LEASES", COLUMN_RIGHT, fill_leases },
		{ "HELD H", COLUMN_RIGHT, fill_held },
		{ "USED H", COLUMN_RIGHT, fill_used },
		{ "IDLE H", COLUMN_RIGHT, fill_idle },
		{ "IDLE", COLUMN_RIGHT, fill_percent },
		{ "WAIT", COLUMN_RIGHT, fill_median },
		{ "WAIT 95%", COLUMN_RIGHT, fill_95 },
	};

	text_copy(title, sizeof(title), by);
	for (char *c = title; *c; c++)
		*c = (char)(*c - 'a' + 'A');
	if (json_object_set_new(total, "name", json_string("total")) < 0 ||
		json_array_extend(rows, json_object_get(report, "rows")) < 0 ||
		json_array_append(rows, total) < 0 ||
		table_draw(stdout, view, columns, ELEMENTSOF(columns), rows) < 0)
		return complain(EXIT_FAULT, "out of memory");
	return EXIT_OK;
}

static int64_t capacity_us(const struct window *window, json_t *report)
{
	return (window->until_us - window->since_us) * wire_int(report, "gpus", 0);
}

static void print_share(const struct window *window, json_t *report)
{
	json_t *total = json_object_get(report, "total");
	int64_t whole_us = capacity_us(window, report);
	struct cell held = { 0 }, used = { 0 };

	if (whole_us <= 0)
		return;
	put_percent(&held, wire_int(total, "held_us", 0), whole_us);
	put_percent(&used, wire_int(total, "used_us", 0), whole_us);
	printf("\n%" PRId64 " GPUs, %.1f GPU-hours: %s held, %s used\n",
		wire_int(report, "gpus", 0), (double)whole_us / USEC_PER_HOUR, held.text,
		used.text);
}

static int by_idle(const void *a, const void *b)
{
	int64_t x = wire_int(*(json_t *const *)a, "idle_us", 0);
	int64_t y = wire_int(*(json_t *const *)b, "idle_us", 0);

	return (x < y) - (x > y);
}

static enum client_exit print_top(const struct view *view, json_t *report)
{
	json_t *rows = json_object_get(report, "rows"), *row;
	size_t n = json_array_size(rows), i;
	_cleanup_(freep) json_t **sorted = calloc(n + 1, sizeof(json_t *));
	struct cell cell = { 0 };

	if (!sorted)
		return complain(EXIT_FAULT, "out of memory");
	json_array_foreach (rows, i, row)
		sorted[i] = row;
	qsort(sorted, n, sizeof(*sorted), by_idle);
	for (i = 0; i < MIN(n, (size_t)TOP) && wire_int(sorted[i], "idle_us", 0) > 0; i++) {
		cell_printf(&cell, "%s%s ", i ? ", " : "", wire_text(sorted[i], "name"));
		put_hours(&cell, sorted[i], "idle_us");
		cell_printf(&cell, " h (");
		fill_percent(&cell, view, sorted[i]);
		cell_printf(&cell, ")");
	}
	term_fit(view->term, cell.text);
	if (*cell.text)
		printf("top holders of idle GPUs: %s\n", cell.text);
	return EXIT_OK;
}

static enum client_exit print_json(struct cli *cli, const struct window *window, json_t *report)
{
	_cleanup_(json_decrefp) json_t *object = NULL;
	char since[TIME_TEXT_SIZE], until[TIME_TEXT_SIZE];

	format_time(since, window->since_us);
	format_time(until, window->until_us);
	object = json_pack("{ss ss ss sO sI sO sO}", "since", since, "until", until, "by",
		window->by, "gpus", json_object_get(report, "gpus"), "capacity_us",
		(json_int_t)capacity_us(window, report), "total", json_object_get(report, "total"),
		"rows", json_object_get(report, "rows"));
	return cli_print_json(object);
}

enum client_exit verb_report(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *report = NULL, *users = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	struct window window;
	enum client_exit exit = parse(cli, view.now_us, &window);

	if (exit == EXIT_OK)
		exit = fetch(cli, &window, window.by, &report);
	if (exit != EXIT_OK)
		return exit;
	if (cli_value(cli, OPT_JSON))
		return print_json(cli, &window, report);
	if (cli_value(cli, OPT_CSV)) {
		report_print_csv(stdout, window.by, json_object_get(report, "rows"));
		return EXIT_OK;
	}
	exit = draw(&view, window.by, report);
	if (exit != EXIT_OK)
		return exit;
	print_share(&window, report);
	if (strcmp(window.by, "user") == 0)
		return print_top(&view, report);
	exit = fetch(cli, &window, "user", &users);
	return exit == EXIT_OK ? print_top(&view, users) : exit;
}
