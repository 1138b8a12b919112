/* SPDX-License-Identifier: MIT */
/* One lease and what happened to it. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

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

static void print_lease(struct cli *cli, json_t *lease, int64_t now_us)
{
	const char *state = wire_text(lease, "state"), *end = wire_text(lease, "end");
	char gpus[LEASE_GPUS_SIZE];

	printf("%s#%" PRId64 "%s: %s of %s, %s%s%s%s\n", term_style(&cli->term, STYLE_BOLD),
		wire_int(lease, "id", 0), term_plain(&cli->term), wire_text(lease, "kind"),
		people_name(&cli->people, wire_int(lease, "uid", -1)), state, *end ? " (" : "", end,
		*end ? ")" : "");
	lease_gpus(gpus, lease);
	if (*gpus)
		printf("  %-10s %s\n", "gpus", gpus);
	else
		printf("  %-10s any %" PRId64 "\n", "gpus", wire_int(lease, "count", 1));
	if (wire_int(lease, "position", 0))
		printf("  %-10s %" PRId64 "\n", "position", wire_int(lease, "position", 0));
	print_moment(lease, "submitted", now_us);
	print_moment(lease, "since", now_us);
	print_moment(lease, "until", now_us);
	print_idle(lease, now_us);
	print_moment(lease, "ended", now_us);
	print_text(&cli->term, "command", wire_text(lease, "command"));
	print_text(&cli->term, "note", wire_text(lease, "note"));
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
	{ "given", "handed over", STYLE_PLAIN },
	{ "shrunk", "partly released", STYLE_PLAIN },
	{ "recovered", "store recovered", STYLE_PLAIN },
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
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL, *object = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	struct error err = { 0 };
	enum client_exit exit;
	json_t *events;
	int64_t id;

	if (lease_parse_id(cli->args.words[0], &id, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	parameters = json_pack("{sI}", "id", (json_int_t)id);
	exit = cli_call(cli, "org.dibs.Show", parameters, &reply);
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
