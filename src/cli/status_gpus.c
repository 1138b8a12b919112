/* SPDX-License-Identifier: MIT */
/*
 * Machines mostly have GPUs of one model; then the model stands in the first line and its column is
 * left out, as are others on narrow terminals. In a pipe all columns are there, always.
 */
#include <inttypes.h>
#include <string.h>

#include "cli/gpu.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/process.h"
#include "cli/public.h"
#include "cli/status.h"

#define ROOMY         79 /* what is shown if there is no column for the model */
#define USER_SHOWN    12
#define IGNORED_SHOWN 2 /* different programs; more are counted */

/* On a terminal at most so many bytes, so that there is room for what runs. */
static void put_short(struct cell *cell, const struct view *view, const char *text, int max)
{
	if (view->term->width == 0 || strlen(text) <= (size_t)max)
		cell_printf(cell, "%s", text);
	else
		cell_printf(cell, "%.*s%s", max - 1, text, view->term->utf8 ? "…" : "+");
}

static void fill_model(struct cell *cell, const struct view *view, json_t *gpu)
{
	put_short(cell, view, gpu_short_model(gpu), view_is_wide(view) ? 24 : 10);
}

static void put_memory(struct cell *cell, int64_t mib)
{
	if (mib < 0)
		cell_printf(cell, "?");
	else if (mib > 51 && mib < 10 * 1024 - 51) /* what is rounded to neither 0.0 nor 10.0 */
		cell_printf(cell, "%.1f", (double)mib / 1024);
	else
		cell_printf(cell, "%" PRId64, (mib + 512) / 1024);
}

static void fill_memory(struct cell *cell, const struct view *view, json_t *gpu)
{
	put_memory(cell, wire_int(gpu, "memory_used_mib", -1));
	cell_printf(cell, "/");
	put_memory(cell, wire_int(gpu, "memory_mib", -1));
	cell_printf(cell, "G");
}

static void fill_utilization(struct cell *cell, const struct view *view, json_t *gpu)
{
	int64_t percent = wire_int(gpu, "utilization", -1);

	if (percent >= 0)
		cell_printf(cell, "%" PRId64 "%%", percent);
}

static void fill_temperature(struct cell *cell, const struct view *view, json_t *gpu)
{
	int64_t celsius = wire_int(gpu, "temperature_c", -1);

	if (celsius < 0)
		return;
	cell_printf(cell, "%" PRId64 "%s", celsius, view->term->utf8 ? "°C" : "C");
	if (celsius >= 90)
		cell->style = STYLE_WARN;
}

static void fill_state(struct cell *cell, const struct view *view, json_t *gpu)
{
	cell_printf(cell, "%s", wire_text(gpu, "state"));
	if (gpu_has_state(gpu, "free"))
		cell->style = STYLE_GOOD;
	else
		cell->style = gpu_has_state(gpu, "leased") ? STYLE_BUSY : STYLE_WARN;
}

static void fill_lease(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *ids = json_object_get(gpu, "leases"), *id;
	size_t i;

	json_array_foreach (ids, i, id) {
		json_t *lease = lease_find(view->leases, json_integer_value(id));
		char number[JOB_NUMBER_SIZE];

		if (lease)
			job_number(number, lease);
		else
			snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(id));
		cell_printf(cell, "%s#%s", i ? "," : "", number);
	}
}

/* Those who share it; each once if they stand together. */
static void put_holders(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *ids = json_object_get(gpu, "leases"), *id;
	struct cell users = { 0 };
	int64_t last = -1;
	size_t i;

	json_array_foreach (ids, i, id) {
		json_t *lease = lease_find(view->leases, json_integer_value(id));
		int64_t uid = wire_int(lease, "uid", -1);

		if (lease && uid != last)
			cell_printf(&users, "%s%s", *users.text ? "," : "", user_of(lease, view));
		last = uid;
	}
	put_short(cell, view, users.text, USER_SHOWN);
}

/* Whoever has the lease; without one, whoever uses it. */
static void fill_user(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *lease = gpu_lease(gpu, view), *process;
	const char *last = NULL;
	bool others = false;
	size_t i;

	if (lease) {
		put_holders(cell, view, gpu);
		return;
	}
	json_array_foreach (json_object_get(gpu, "processes"), i, process) {
		const char *user = user_of(process, view);

		if (process_standing(process) == STANDING_IGNORED)
			continue;
		if (!last)
			put_short(cell, view, user, USER_SHOWN);
		else if (strcmp(last, user) != 0)
			others = true;
		last = user;
		cell->style = STYLE_WARN;
	}
	if (others)
		cell_printf(cell, ",...");
}

static void fill_since(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *lease = gpu_lease(gpu, view);

	if (lease)
		cell_since(cell, wire_int(lease, "since", 0), view);
	else if (gpu_has_state(gpu, "free"))
		cell_since(cell, wire_int(gpu, "free_since", 0), view);
}

static void fill_until(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *lease = gpu_lease(gpu, view);

	if (lease)
		cell_moment(cell, wire_int(lease, "until", 0), view);
}

/* Those with a right to be there, or those without. On a leased GPU the user column has somebody
 * else's name. */
static void put_processes(
	struct cell *cell, const struct view *view, json_t *gpu, bool foreign, bool leased)
{
	json_t *processes = json_object_get(gpu, "processes");
	size_t n;

	for (size_t i = 0; i < json_array_size(processes); i += n) {
		json_t *process = json_array_get(processes, i);

		n = process_alike(processes, i);
		if (process_is_foreign(process) != foreign ||
			process_standing(process) == STANDING_IGNORED)
			continue;
		if (*cell->text)
			cell_printf(cell, ", ");
		if (foreign && leased)
			cell_printf(cell, "! %s: ", user_of(process, view));
		if (foreign)
			cell->style = STYLE_WARN;
		process_put(cell, view, process, n);
	}
}

/* In brackets, as they do not count: "(Xorg, gnome-shell)", or how many there are. */
static void put_ignored(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *processes = json_object_get(gpu, "processes");
	struct cell names = { 0 };
	unsigned n_names = 0;
	size_t n_processes = 0, n;

	for (size_t i = 0; i < json_array_size(processes); i += n) {
		json_t *process = json_array_get(processes, i);

		n = process_alike(processes, i);
		if (process_standing(process) != STANDING_IGNORED)
			continue;
		cell_printf(&names, "%s", n_names++ ? ", " : "");
		process_put(&names, view, process, n);
		n_processes += n;
	}
	if (n_names == 0)
		return;
	if (n_names > IGNORED_SHOWN)
		snprintf(names.text, sizeof(names.text), "%zu of the system", n_processes);
	if (!*cell->text)
		cell->style = STYLE_DIM;
	cell_printf(cell, "%s(%s)", *cell->text ? " " : "", names.text);
}

/* Of a lease whose GPU has no processes. */
static void put_held(struct cell *cell, const struct view *view, json_t *lease)
{
	_cleanup_(freep) char *purpose = lease_purpose(lease);

	lease_put_idle(cell, view, lease);
	cell->style = wire_int(lease, "idle_release", 0) ? STYLE_WARN : STYLE_DIM;
	cell_printf(cell, "%s%s", *cell->text ? " " : "", purpose ? purpose : "");
}

/* What really happens there: the reason why it is not to be had, its processes, and what the lease
 * is for. */
static void fill_what(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *lease = gpu_lease(gpu, view);

	if (gpu_has_reason(gpu)) {
		people_rename(
			view->people, cell->text, sizeof(cell->text), wire_text(gpu, "reason"));
		cell->style = STYLE_WARN;
	}
	put_processes(cell, view, gpu, true, lease != NULL);
	put_processes(cell, view, gpu, false, lease != NULL);
	if (lease && !*cell->text)
		put_held(cell, view, lease);
	else if (lease && *wire_text(lease, "note"))
		cell_printf(cell, " # %s", wire_text(lease, "note"));
	put_ignored(cell, view, gpu);
}

/* Which columns there are depends on the room. */
static const struct {
	unsigned width; /* of a terminal that has it; 0 = of any */
	struct column column;
} all_columns[] = {
	{ 0, { "GPU", COLUMN_RIGHT, gpu_fill_index } },
	{ 80, { "MODEL", 0, fill_model } },
	{ 60, { "MEMORY", COLUMN_RIGHT, fill_memory } },
	{ ROOMY, { "UTIL", COLUMN_RIGHT | COLUMN_IF_USED, fill_utilization } },
	{ VIEW_WIDE, { "TEMP", COLUMN_RIGHT | COLUMN_IF_USED, fill_temperature } },
	{ 0, { "STATE", 0, fill_state } },
	{ 0, { "LEASE", COLUMN_IF_USED, fill_lease } },
	{ 0, { "USER", COLUMN_IF_USED, fill_user } },
	{ ROOMY, { "FOR", COLUMN_RIGHT | COLUMN_IF_USED, fill_since } },
	{ 72, { "UNTIL", COLUMN_IF_USED, fill_until } },
	{ 50, { "WHAT RUNS THERE", COLUMN_CUT | COLUMN_IF_USED, fill_what } },
};

/* The model stands above the table if all have it, which leaves room for others. */
static bool is_shown(size_t i, unsigned width, bool uniform)
{
	unsigned needed = all_columns[i].width;

	if (width == 0)
		return true;
	if (all_columns[i].column.fill == fill_model)
		return !uniform && width >= needed;
	return width >= (needed == ROOMY && !uniform ? VIEW_WIDE : needed);
}

int status_draw_gpus(FILE *out, const struct view *view, json_t *gpus)
{
	struct column columns[ELEMENTSOF(all_columns)];
	bool uniform = gpus_are_uniform(gpus);
	size_t n = 0;

	for (size_t i = 0; i < ELEMENTSOF(all_columns); i++)
		if (is_shown(i, view->term->width, uniform))
			columns[n++] = all_columns[i].column;
	return table_draw(out, view, columns, n, gpus);
}
