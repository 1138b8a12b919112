/* SPDX-License-Identifier: MIT */
/* Tables of leases. */
#include <inttypes.h>
#include <string.h>

#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

static void fill_position(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%" PRId64, wire_int(lease, "position", 0));
}

static void fill_id(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "#%" PRId64, wire_int(lease, "id", 0));
}

static void fill_user(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%s", people_name(view->people, wire_int(lease, "uid", -1)));
}

static void fill_count(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%" PRId64, wire_int(lease, "count", 1));
}

static void fill_waited(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_since(cell, wire_int(lease, "submitted", 0), view);
}

static void fill_kind(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%s", wire_text(lease, "kind"));
}

static void fill_state(struct cell *cell, const struct view *view, json_t *lease)
{
	const char *state = wire_text(lease, "state");

	cell_printf(cell, "%s", state);
	if (strcmp(state, "active") == 0)
		cell->style = STYLE_GOOD;
	else if (strcmp(state, "grace") == 0)
		cell->style = STYLE_WARN;
}

static void fill_gpus(struct cell *cell, const struct view *view, json_t *lease)
{
	char gpus[LEASE_GPUS_SIZE];

	lease_gpus(gpus, lease);
	if (*gpus)
		cell_printf(cell, "%s", gpus);
	else
		cell_printf(cell, "any %" PRId64, wire_int(lease, "count", 1));
}

/* How long it has them; or has waited for them. */
static void fill_since(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_since(cell, wire_int(lease, "since", wire_int(lease, "submitted", 0)), view);
}

static void fill_until(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_moment(cell, wire_int(lease, "until", 0), view);
}

void lease_put_idle(struct cell *cell, const struct view *view, json_t *lease)
{
	int64_t us = lease_idle_us(lease, view->now_us);
	char text[DURATION_TEXT_SIZE];

	if (!us)
		return;
	format_duration(text, us);
	cell_printf(cell, "(idle %s)", text);
}

void lease_note_idle(struct notes *notes, json_t *leases)
{
	const struct view *view = notes->view;
	char gpus[LEASE_GPUS_SIZE], moment[MOMENT_SIZE];
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease) {
		int64_t release = wire_int(lease, "idle_release", 0);
		struct cell cell = { 0 };

		if (!release)
			continue;
		lease_gpus(gpus, lease);
		term_moment(moment, release, view->now_us);
		cell_printf(&cell, "#%" PRId64 " of %s does nothing on GPU %s",
			wire_int(lease, "id", 0),
			people_name(view->people, wire_int(lease, "uid", -1)), gpus);
		cell_printf(&cell, " and is given back at %s unless it is used", moment);
		notes_add(notes, &cell);
	}
}

static void fill_purpose(struct cell *cell, const struct view *view, json_t *lease)
{
	_cleanup_(freep) char *purpose = lease_purpose(lease);

	lease_put_idle(cell, view, lease);
	if (wire_int(lease, "idle_release", 0))
		cell->style = STYLE_WARN;
	cell_printf(cell, "%s%s", *cell->text ? " " : "", purpose ? purpose : "");
}

static const struct column queue_columns[] = {
	{ "NEXT", COLUMN_RIGHT, fill_position },
	{ "LEASE", COLUMN_RIGHT, fill_id },
	{ "USER", 0, fill_user },
	{ "GPUS", COLUMN_RIGHT, fill_count },
	{ "WAITED", COLUMN_RIGHT, fill_waited },
	{ "COMMAND", COLUMN_CUT, fill_purpose },
};

int table_draw_queue(FILE *out, const struct view *view, json_t *leases)
{
	return table_draw(out, view, queue_columns, ELEMENTSOF(queue_columns), leases);
}

/* The first is left out of one's own list. */
static const struct column lease_columns[] = {
	{ "USER", 0, fill_user },
	{ "LEASE", COLUMN_RIGHT, fill_id },
	{ "KIND", 0, fill_kind },
	{ "STATE", 0, fill_state },
	{ "GPU", 0, fill_gpus },
	{ "FOR", COLUMN_RIGHT, fill_since },
	{ "UNTIL", 0, fill_until },
	{ "COMMAND", COLUMN_CUT, fill_purpose },
};

int table_draw_leases(FILE *out, const struct view *view, json_t *leases, bool with_users)
{
	size_t skip = with_users ? 0 : 1;

	return table_draw(
		out, view, lease_columns + skip, ELEMENTSOF(lease_columns) - skip, leases);
}
