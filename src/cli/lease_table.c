/* SPDX-License-Identifier: MIT */
/* Tables of leases. */
#include <inttypes.h>
#include <string.h>

#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

static void fill_position(struct cell *cell, const struct view *view, json_t *lease)
{
	if (wire_int(lease, "position", 0))
		cell_printf(cell, "%" PRId64, wire_int(lease, "position", 0));
}

static void fill_id(struct cell *cell, const struct view *view, json_t *lease)
{
	char number[JOB_NUMBER_SIZE];

	if (lease_waits(lease))
		job_number_waiting(number, lease);
	else
		job_number(number, lease);
	cell_printf(cell, "#%s", number);
}

static void fill_user(struct cell *cell, const struct view *view, json_t *lease)
{
	cell_printf(cell, "%s", people_name(view->people, wire_int(lease, "uid", -1)));
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

	/* Those of an array are its elements'. */
	lease_gpus(gpus, lease);
	if (*gpus)
		cell_printf(cell, "%s", gpus);
	else if (lease_waits(lease))
		cell_printf(cell, "any %" PRId64, wire_int(lease, "count", 1));
	if (*cell->text && wire_int(lease, "share_mib", 0)) {
		cell_printf(cell, " (");
		job_put_size(cell, wire_int(lease, "share_mib", 0));
		cell_printf(cell, ")");
	}
}

/* How long it has them; or has waited for them. */
static void fill_since(struct cell *cell, const struct view *view, json_t *lease)
{
	const char *since = lease_waits(lease) ? "submitted" : "since";

	cell_since(cell, wire_int(lease, since, wire_int(lease, "submitted", 0)), view);
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
		char number[JOB_NUMBER_SIZE];

		if (!release)
			continue;
		lease_gpus(gpus, lease);
		term_moment(moment, release, view->now_us);
		job_number(number, lease);
		cell_printf(&cell, "#%s of %s does nothing on GPU %s", number,
			people_name(view->people, wire_int(lease, "uid", -1)), gpus);
		cell_printf(&cell, " and is given back at %s unless it is used", moment);
		notes_add(notes, &cell);
	}
}

/* "3 running, 5 ok, 1 failed" of an array. */
static void put_elements(struct cell *cell, json_t *lease)
{
	static const struct {
		const char *name, *word;
	} counts[] = { { "active", "running" }, { "ok", "ok" }, { "failed", "failed" } };

	for (size_t i = 0; i < ELEMENTSOF(counts); i++) {
		int64_t n = wire_int(job_of(lease), counts[i].name, 0);

		if (n > 0)
			cell_printf(cell, "%s%" PRId64 " %s", *cell->text ? ", " : "", n,
				counts[i].word);
	}
}

/* "(3 running) ", "(held until 'dibs resume 42') ": what there is to know first. */
static void put_remarks(struct cell *cell, const struct view *view, json_t *lease)
{
	struct cell remarks = { 0 };

	put_elements(&remarks, lease);
	if (*remarks.text && *wire_text(job_of(lease), "blocked"))
		cell_printf(&remarks, "; ");
	job_put_blocked(&remarks, view->people, lease);
	if (*remarks.text)
		cell_printf(cell, "(%s) ", remarks.text);
}

static void fill_purpose(struct cell *cell, const struct view *view, json_t *lease)
{
	_cleanup_(freep) char *purpose = lease_purpose(lease);

	lease_put_idle(cell, view, lease);
	if (wire_int(lease, "idle_release", 0))
		cell->style = STYLE_WARN;
	cell_printf(cell, "%s", *cell->text ? " " : "");
	put_remarks(cell, view, lease);
	cell_printf(cell, "%s", purpose ? purpose : "");
}

/* Nothing where there is no limit. */
static void fill_limit(struct cell *cell, const struct view *view, json_t *lease)
{
	if (wire_int(lease, "until", 0))
		fill_until(cell, view, lease);
}

static const struct column queue_columns[] = {
	{ "NEXT", COLUMN_RIGHT, fill_position },
	{ "LEASE", 0, fill_id },
	{ "USER", 0, fill_user },
	{ "GPU", 0, fill_gpus },
	{ "STATE", 0, job_put_state },
	{ "FOR", COLUMN_RIGHT, fill_since },
	{ "UNTIL", COLUMN_IF_USED, fill_limit },
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
