/* SPDX-License-Identifier: MIT */
/*
 * A line about the machine, a table of its GPUs, a table of those who wait.
 *
 * Machines mostly have GPUs of one model; then the model stands in the first line and its column is
 * left out, as is the temperature on narrow terminals. In a pipe all columns are there, always.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/status.h"

#define WIDE        100 /* columns that show everything */
#define QUEUE_SHOWN 10
#define USER_SHOWN  12

static bool has_state(json_t *gpu, const char *state)
{
	return strcmp(wire_text(gpu, "state"), state) == 0;
}

/* The lease that has this GPU, or NULL. */
static json_t *lease_of(json_t *gpu, const struct view *view)
{
	json_t *id = json_array_get(json_object_get(gpu, "leases"), 0), *lease;
	size_t i;

	if (!id)
		return NULL;
	json_array_foreach (view->leases, i, lease)
		if (wire_int(lease, "id", 0) == json_integer_value(id))
			return lease;
	return NULL;
}

static bool is_wide(const struct view *view)
{
	return view->term->width == 0 || view->term->width >= WIDE;
}

/* On a terminal at most so many bytes, so that there is room for what runs. */
static void put_short(struct cell *cell, const struct view *view, const char *text, int max)
{
	if (view->term->width == 0 || strlen(text) <= (size_t)max)
		cell_printf(cell, "%s", text);
	else
		cell_printf(cell, "%.*s%s", max - 1, text, view->term->utf8 ? "…" : "+");
}

static void fill_index(struct cell *cell, const struct view *view, json_t *gpu)
{
	cell_printf(cell, "%" PRId64, wire_int(gpu, "index", 0));
}

static const char *short_model(const char *model)
{
	return strncmp(model, "NVIDIA ", 7) == 0 ? model + 7 : model;
}

static void fill_model(struct cell *cell, const struct view *view, json_t *gpu)
{
	put_short(cell, view, short_model(wire_text(gpu, "model")), is_wide(view) ? 24 : 10);
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
	if (has_state(gpu, "free"))
		cell->style = STYLE_GOOD;
	else
		cell->style = has_state(gpu, "leased") ? STYLE_BUSY : STYLE_WARN;
}

static void fill_lease(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *ids = json_object_get(gpu, "leases"), *id;
	size_t i;

	json_array_foreach (ids, i, id)
		cell_printf(cell, "%s#%lld", i ? "," : "", (long long)json_integer_value(id));
}

static bool is_foreign(json_t *process)
{
	return !json_is_integer(json_object_get(process, "lease"));
}

static const char *user_of(json_t *object, const struct view *view)
{
	if (!json_is_integer(json_object_get(object, "uid")))
		return "?";
	return people_name(view->people, wire_int(object, "uid", -1));
}

/* Whoever has the lease; without one, whoever uses it. */
static void fill_user(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *lease = lease_of(gpu, view), *process;
	const char *last = NULL;
	bool others = false;
	size_t i;

	if (lease) {
		put_short(cell, view, user_of(lease, view), USER_SHOWN);
		return;
	}
	json_array_foreach (json_object_get(gpu, "processes"), i, process) {
		const char *user = user_of(process, view);

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
	json_t *lease = lease_of(gpu, view);

	if (lease)
		cell_since(cell, wire_int(lease, "since", 0), view);
	else if (has_state(gpu, "free"))
		cell_since(cell, wire_int(gpu, "free_since", 0), view);
}

static void fill_until(struct cell *cell, const struct view *view, json_t *gpu)
{
	json_t *lease = lease_of(gpu, view);

	if (lease)
		cell_moment(cell, wire_int(lease, "until", 0), view);
}

/* How many processes from i on have the command, user and right of that one. */
static size_t same_processes(json_t *processes, size_t i)
{
	json_t *first = json_array_get(processes, i), *other;
	size_t n = 0;

	while ((other = json_array_get(processes, i + n)) &&
		strcmp(wire_text(first, "command"), wire_text(other, "command")) == 0 &&
		wire_int(first, "uid", -1) == wire_int(other, "uid", -1) &&
		is_foreign(first) == is_foreign(other))
		n++;
	return n;
}

/* Those with a right to be there, or those without. On a leased GPU the user column has somebody
 * else's name. */
static void put_processes(
	struct cell *cell, const struct view *view, json_t *gpu, bool foreign, bool leased)
{
	json_t *processes = json_object_get(gpu, "processes");
	const char *times = view->term->utf8 ? "×" : "x";
	size_t n;

	for (size_t i = 0; i < json_array_size(processes); i += n) {
		json_t *process = json_array_get(processes, i);
		const char *command = wire_text(process, "command");

		n = same_processes(processes, i);
		if (is_foreign(process) != foreign)
			continue;
		if (*cell->text)
			cell_printf(cell, ", ");
		if (foreign && leased)
			cell_printf(cell, "! %s: ", user_of(process, view));
		if (foreign)
			cell->style = STYLE_WARN;
		cell_printf(cell, "%s", *command ? command : "?");
		if (n > 1)
			cell_printf(cell, " %s%zu", times, n);
	}
}

static bool has_reason(json_t *gpu)
{
	return *wire_text(gpu, "reason") && !has_state(gpu, "foreign");
}

/* What really happens there: the reason why it is not to be had, its processes, and what the lease
 * is for. */
static void fill_what(struct cell *cell, const struct view *view, json_t *gpu)
{
	const char *reason = wire_text(gpu, "reason");
	json_t *lease = lease_of(gpu, view);

	if (has_reason(gpu)) {
		people_rename(view->people, cell->text, sizeof(cell->text), reason);
		cell->style = STYLE_WARN;
	}
	put_processes(cell, view, gpu, true, lease != NULL);
	put_processes(cell, view, gpu, false, lease != NULL);
	if (!lease)
		return;
	if (!*cell->text) {
		_cleanup_(freep) char *purpose = lease_purpose(lease);

		cell_printf(cell, "(idle) %s", purpose ? purpose : "");
		cell->style = STYLE_DIM;
	} else if (*wire_text(lease, "note")) {
		cell_printf(cell, " # %s", wire_text(lease, "note"));
	}
}

/* Which columns there are depends on the room and on what they would say. */
enum { ALWAYS, IF_MIXED, IF_WIDE, IF_WIDE_OR_UNIFORM };

static const struct {
	int when;
	struct column column;
} all_columns[] = {
	{ ALWAYS, { "GPU", COLUMN_RIGHT, fill_index } },
	{ IF_MIXED, { "MODEL", 0, fill_model } },
	{ ALWAYS, { "MEMORY", COLUMN_RIGHT, fill_memory } },
	{ IF_WIDE_OR_UNIFORM, { "UTIL", COLUMN_RIGHT | COLUMN_IF_USED, fill_utilization } },
	{ IF_WIDE, { "TEMP", COLUMN_RIGHT | COLUMN_IF_USED, fill_temperature } },
	{ ALWAYS, { "STATE", 0, fill_state } },
	{ ALWAYS, { "LEASE", COLUMN_IF_USED, fill_lease } },
	{ ALWAYS, { "USER", COLUMN_IF_USED, fill_user } },
	{ IF_WIDE_OR_UNIFORM, { "FOR", COLUMN_RIGHT | COLUMN_IF_USED, fill_since } },
	{ ALWAYS, { "UNTIL", COLUMN_IF_USED, fill_until } },
	{ ALWAYS, { "WHAT RUNS THERE", COLUMN_CUT | COLUMN_IF_USED, fill_what } },
};

static bool is_uniform(json_t *gpus)
{
	const char *model = wire_text(json_array_get(gpus, 0), "model");
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		if (strcmp(wire_text(gpu, "model"), model) != 0)
			return false;
	return true;
}

static int draw_gpus(FILE *out, const struct view *view, json_t *gpus)
{
	struct column columns[ELEMENTSOF(all_columns)];
	bool uniform = is_uniform(gpus), wide = is_wide(view);
	const bool shown[] = {
		[ALWAYS] = true,
		[IF_MIXED] = !uniform || view->term->width == 0,
		[IF_WIDE] = wide,
		[IF_WIDE_OR_UNIFORM] = wide || uniform,
	};
	size_t n = 0;

	for (size_t i = 0; i < ELEMENTSOF(all_columns); i++)
		if (shown[all_columns[i].when])
			columns[n++] = all_columns[i].column;
	return table_draw(out, view, columns, n, gpus);
}

static size_t count_state(json_t *gpus, const char *state)
{
	json_t *gpu;
	size_t i, n = 0;

	json_array_foreach (gpus, i, gpu)
		n += has_state(gpu, state);
	return n;
}

/* "8 × A100-SXM4-80GB" */
static void put_machine(struct cell *cell, const struct view *view, json_t *gpus)
{
	size_t n = json_array_size(gpus);

	if (n > 0 && is_uniform(gpus))
		cell_printf(cell, "%zu %s %s", n, view->term->utf8 ? "×" : "x",
			short_model(wire_text(json_array_get(gpus, 0), "model")));
	else
		cell_printf(cell, "%zu GPUs", n);
}

/* "1 free, 4 leased, 2 waiting, guard watch" */
static void put_counts(struct cell *cell, json_t *reply, size_t waiting)
{
	static const char *const states[] = { "free", "leased", "foreign", "draining", "lost" };
	json_t *gpus = json_object_get(reply, "gpus");
	const char *guard = wire_text(reply, "guard"), *comma = "";

	for (size_t i = 0; i < ELEMENTSOF(states); i++) {
		size_t n = count_state(gpus, states[i]);

		if (n == 0)
			continue;
		cell_printf(cell, "%s%zu %s", comma, n, states[i]);
		comma = ", ";
	}
	if (waiting)
		cell_printf(cell, "%s%zu waiting", comma, waiting);
	if (*guard && strcmp(guard, "off") != 0)
		cell_printf(cell, "%sguard %s", waiting || *comma ? ", " : "", guard);
}

/* One line; two if it does not fit. */
static void draw_summary(FILE *out, const struct view *view, json_t *reply, size_t waiting)
{
	const struct term *term = view->term;
	struct cell machine = { 0 }, counts = { 0 };
	const char *host = wire_text(reply, "host"), *between = ", ";

	put_machine(&machine, view, json_object_get(reply, "gpus"));
	put_counts(&counts, reply, waiting);
	term_fit(term, machine.text);
	if (term->width &&
		strlen(host) + strlen(machine.text) + strlen(counts.text) + 4 > term->width)
		between = "\n";
	fprintf(out, "%s%s%s: %s%s%s\n", term_style(term, STYLE_BOLD), host, term_plain(term),
		machine.text, *counts.text ? between : "", counts.text);
}

/* Where the table has no room for reasons, they follow it. */
static void draw_reasons(FILE *out, const struct view *view, json_t *gpus)
{
	const char *before = "\n";
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu) {
		struct cell cell = { 0 };

		if (!has_reason(gpu))
			continue;
		people_rename(view->people, cell.text, sizeof(cell.text), wire_text(gpu, "reason"));
		term_fit(view->term, cell.text);
		fprintf(out, "%sGPU %" PRId64 " is %s: %s\n", before, wire_int(gpu, "index", 0),
			wire_text(gpu, "state"), cell.text);
		before = "";
	}
}

/* The first of them: the table of GPUs should stay in sight. */
static int draw_queue(FILE *out, const struct view *view, json_t *queue)
{
	_cleanup_(json_decrefp) json_t *first = json_array();
	size_t n = json_array_size(queue);
	int r;

	for (size_t i = 0; i < MIN(n, QUEUE_SHOWN); i++)
		json_array_append(first, json_array_get(queue, i));
	r = table_draw_queue(out, view, first);
	if (n > QUEUE_SHOWN)
		fprintf(out, "and %zu more; 'dibs queue' shows all\n", n - QUEUE_SHOWN);
	return r;
}

int status_draw(FILE *out, const struct view *view, json_t *reply)
{
	json_t *gpus = json_object_get(reply, "gpus");
	_cleanup_(json_decrefp) json_t *queue = lease_queue(view->leases);
	int r;

	if (!queue)
		return -ENOMEM;
	draw_summary(out, view, reply, json_array_size(queue));
	if (json_array_size(gpus) == 0) {
		fprintf(out, "No GPU was found here; 'dibs doctor' says why.\n");
		return 0;
	}
	fputc('\n', out);
	r = draw_gpus(out, view, gpus);
	if (!is_wide(view))
		draw_reasons(out, view, gpus);
	if (r < 0 || json_array_size(queue) == 0)
		return r;
	fputc('\n', out);
	return draw_queue(out, view, queue);
}
