/* SPDX-License-Identifier: MIT */
/* Leases that have ended, page by page. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/moment.h"
#include "cli/public.h"
#include "cli/table.h"

#define PAGE          500
#define LIMIT_DEFAULT 50
#define LIMIT_MAX     1000000

static const struct {
	const char *end, *words;
	enum style style;
} ends[] = {
	{ "exited", "ended", STYLE_PLAIN },
	{ "expired", "time over", STYLE_PLAIN },
	{ "limit", "time limit", STYLE_WARN },
	{ "released", "given back", STYLE_PLAIN },
	{ "admin", "taken back by an administrator", STYLE_WARN },
	{ "gone", "left the queue", STYLE_PLAIN },
	{ "timeout", "waited long enough", STYLE_PLAIN },
	{ "reboot", "machine was booted", STYLE_WARN },
	{ "idle", "was not used", STYLE_WARN },
	{ "failed", "could not start", STYLE_WARN },
	{ "need", "what it needed ended otherwise", STYLE_WARN },
	{ "memory", "used more than its share", STYLE_WARN },
	{ "lost", "nobody saw how it ended", STYLE_WARN },
};

static void fill_id(struct cell *cell, const struct view *view, json_t *lease)
{
	char number[JOB_NUMBER_SIZE];

	job_number(number, lease);
	cell_printf(cell, "%s", number);
}

static void fill_kind(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%s", wire_text(lease, "kind"));
}

static void fill_user(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%s", people_name(view->people, wire_int(lease, "uid", -1)));
}

static void fill_gpus(struct cell *cell, const struct view *view, json_t *lease)
{
	char gpus[LEASE_GPUS_SIZE];

	lease_gpus(gpus, lease);
	cell_printf(cell, "%s", gpus);
}

static void fill_ended(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_moment(cell, wire_int(lease, "ended", 0), view);
}

static void fill_lasted(struct cell *cell, const struct view *view, json_t *lease)
{
	int64_t since_us = wire_int(lease, "since", 0), ended_us = wire_int(lease, "ended", 0);
	char text[DURATION_TEXT_SIZE];

	if (!since_us)
		return;
	format_duration(text, MAX(ended_us - since_us, 0));
	cell_printf(cell, "%s", text);
}

/* How its command ended says more than that it did. */
static void fill_exit(struct cell *cell, const struct view *view, json_t *lease)
{
	const char *end = wire_text(lease, "end");
	size_t i = 0;

	if (job_of(lease) && strcmp(end, "exited") == 0)
		job_put_end(cell, view->people, lease);
	if (*cell->text)
		return;
	while (i < ELEMENTSOF(ends) && strcmp(ends[i].end, end) != 0)
		i++;
	cell_printf(cell, "%s", i < ELEMENTSOF(ends) ? ends[i].words : end);
	cell->style = i < ELEMENTSOF(ends) ? ends[i].style : STYLE_PLAIN;
}

static void fill_purpose(struct cell *cell, const struct view *view, json_t *lease)
{
	_cleanup_(freep) char *purpose = lease_purpose(lease);

	cell_printf(cell, "%s", purpose ? purpose : "");
}

static const struct column columns[] = {
	{ "ID", COLUMN_RIGHT, fill_id },
	{ "KIND", 0, fill_kind },
	{ "USER", 0, fill_user },
	{ "GPUS", 0, fill_gpus },
	{ "ENDED", 0, fill_ended },
	{ "LASTED", COLUMN_RIGHT, fill_lasted },
	{ "EXIT", 0, fill_exit },
	{ "WHAT", COLUMN_CUT, fill_purpose },
};

/* What the options say, as parameters of History. What is wrong is said already. */
static enum client_exit parse(struct cli *cli, int64_t now_us, json_t *parameters, uint64_t *limit)
{
	const char *since = cli_value(cli, OPT_SINCE), *user = cli_value(cli, OPT_USER);
	const char *text = cli_value(cli, OPT_LIMIT);
	uint32_t uid = getuid();
	int64_t us;

	if (text && parse_uint(text, 1, LIMIT_MAX, limit) < 0)
		return complain(EXIT_INVALID, "--limit takes a number from 1 to %d, not '%s'",
			LIMIT_MAX, text);
	if (user && cli_value(cli, OPT_EVERYBODY))
		return complain(EXIT_INVALID, "either --user or --all, not both");
	if (user && !people_find(user, &uid))
		return complain(EXIT_INVALID, "there is no user '%s'", user);
	if (!cli_value(cli, OPT_EVERYBODY))
		json_object_set_new(parameters, "uid", json_integer(uid));
	if (!since)
		return EXIT_OK;
	if (moment_parse(since, now_us, MOMENT_BEHIND, &us) < 0 || us < 0)
		return complain(EXIT_INVALID,
			"--since takes a time as 2026-12-01, yesterday or 7d, not '%s'", since);
	json_object_set_new(parameters, "since", json_integer(us));
	return EXIT_OK;
}

/* At most limit leases, in as many calls as it takes. *ret is owned by the caller. */
static enum client_exit fetch(struct cli *cli, json_t *parameters, uint64_t limit, json_t **ret)
{
	_cleanup_(json_decrefp) json_t *leases = json_array();
	bool more = true;

	while (more && json_array_size(leases) < limit) {
		_cleanup_(json_decrefp) json_t *reply = NULL;
		json_t *page, *last;
		uint64_t n = MIN(limit - json_array_size(leases), (uint64_t)PAGE);
		enum client_exit exit;

		json_object_set_new(parameters, "limit", json_integer((json_int_t)n));
		exit = cli_call(cli, "org.dibs.History", parameters, &reply);
		if (exit != EXIT_OK)
			return exit;
		page = json_object_get(reply, "leases");
		last = json_array_get(page, json_array_size(page) - 1);
		more = last && json_is_true(json_object_get(reply, "more"));
		if (json_array_extend(leases, page) < 0)
			return complain(EXIT_FAULT, "out of memory");
		json_object_set_new(parameters, "before", json_integer(wire_int(last, "id", 1)));
	}
	*ret = TAKE_PTR(leases);
	return EXIT_OK;
}

enum client_exit verb_history(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = json_object(), *leases = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	uint64_t limit = LIMIT_DEFAULT;
	enum client_exit exit = parse(cli, view.now_us, parameters, &limit);

	if (exit == EXIT_OK)
		exit = fetch(cli, parameters, limit, &leases);
	if (exit != EXIT_OK)
		return exit;
	if (cli_value(cli, OPT_JSON))
		return cli_print_leases(cli, leases, public_ended);
	if (json_array_size(leases) == 0) {
		puts("no lease has ended");
		return EXIT_OK;
	}
	return table_draw(stdout, &view, columns, ELEMENTSOF(columns), leases) < 0
		       ? complain(EXIT_FAULT, "out of memory")
		       : EXIT_OK;
}
