/* SPDX-License-Identifier: MIT */
/* The tables of the original, and the lines of its first versions. */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"
#include "compat/canhazgpu_grid.h"

/* What the original colours. */
#define GREEN_BOLD  "\033[32;1m"
#define GREEN       "\033[32m"
#define BLUE        "\033[34m"
#define YELLOW_BOLD "\033[33;1m"
#define RED_BOLD    "\033[31;1m"
#define CYAN_BOLD   "\033[36;1m"
#define MAGENTA     "\033[35;1m"
#define BOLD        "\033[37;1m"
#define DIM         "\033[2m"

static bool is(json_t *status, const char *what)
{
	return strcmp(wire_text(status, "status"), what) == 0;
}

static const struct {
	const char *status, *text, *ascii, *color;
} marks[] = {
	{ "AVAILABLE", "● AVAILABLE", "AVAILABLE", GREEN_BOLD },
	{ "IN_USE", "● IN_USE   ", "IN_USE", BLUE },
	{ "UNRESERVED", "⚠ UNRESERVED", "UNRESERVED", YELLOW_BOLD },
	{ "ERROR", "✗ ERROR    ", "ERROR", RED_BOLD },
};

static void add_mark(struct grid *grid, size_t row, json_t *status)
{
	for (size_t i = 0; i < ELEMENTSOF(marks); i++)
		if (is(status, marks[i].status)) {
			grid_add(grid, row, 1, marks[i].color,
				grid_is_ascii(grid->term) ? marks[i].ascii : marks[i].text);
			return;
		}
	grid_add(grid, row, 1, NULL, wire_text(status, "status"));
}

static void add_or_dash(
	struct grid *grid, size_t row, unsigned column, const char *color, const char *text)
{
	grid_add(grid, row, column, *text ? color : DIM, *text ? text : "-");
}

/* "bob", "alice and bob", "alice, bob and 2 more" */
static void format_users(char *dst, size_t size, json_t *users)
{
	const char *first = json_string_value(json_array_get(users, 0));
	const char *second = json_string_value(json_array_get(users, 1));
	size_t n = json_array_size(users);

	if (!first)
		snprintf(dst, size, "unknown");
	else if (!second)
		snprintf(dst, size, "%s", first);
	else if (n == 2)
		snprintf(dst, size, "%s and %s", first, second);
	else
		snprintf(dst, size, "%s, %s and %zu more", first, second, n - 2);
	text_sanitize(dst);
}

static void add_status(struct grid *grid, size_t row, json_t *status, bool models)
{
	const char *details = wire_text(status, "details"), *user = wire_text(status, "user");
	json_t *model = json_object_get(status, "model");
	char id[24], users[256];
	unsigned column = 7;

	snprintf(id, sizeof(id), "%" PRId64, wire_int(status, "gpu_id", -1));
	if (is(status, "UNRESERVED")) {
		format_users(users, sizeof(users), json_object_get(status, "unreserved_users"));
		details = wire_text(status, "process_info");
		user = users;
	}
	grid_add(grid, row, 0, NULL, id);
	add_mark(grid, row, status);
	add_or_dash(grid, row, 2, NULL, user);
	add_or_dash(grid, row, 3, NULL, wire_text(status, "duration"));
	add_or_dash(grid, row, 4, NULL, wire_text(status, "type"));
	grid_add(grid, row, 5, NULL, details);
	add_or_dash(grid, row, 6, DIM, wire_text(status, "validation"));
	if (models)
		add_or_dash(grid, row, column++, NULL, wire_text(model, "model"));
	add_or_dash(grid, row, column, NULL, wire_text(status, "note"));
}

static void add_titles(struct grid *grid, const char *const *titles)
{
	for (unsigned c = 0; c < grid->n_columns; c++)
		grid_add(grid, 0, c, CYAN_BOLD, titles[c]);
}

void chg_draw_status(FILE *out, const struct term *term, json_t *statuses)
{
	static const char *const with[] = { "GPU", "STATUS", "USER", "DURATION", "TYPE", "DETAILS",
		"VALIDATION", "MODEL", "NOTE" };
	static const char *const without[] = { "GPU", "STATUS", "USER", "DURATION", "TYPE",
		"DETAILS", "VALIDATION", "NOTE" };
	static const char *const drop[] = { "VALIDATION", "DURATION", "TYPE", NULL };
	bool models = false;
	struct grid grid = { .term = term };
	json_t *status;
	size_t i;

	json_array_foreach (statuses, i, status)
		models |= json_object_get(status, "model") != NULL;
	grid.n_columns = models ? ELEMENTSOF(with) : ELEMENTSOF(without);
	add_titles(&grid, models ? with : without);
	json_array_foreach (statuses, i, status)
		add_status(&grid, i + 1, status, models);
	grid_draw(out, &grid, drop);
	grid_clear(&grid);
}

static void draw_readme_line(FILE *out, json_t *status)
{
	const char *details = wire_text(status, "details"),
		   *state = wire_text(status, "validation");
	json_t *users = json_object_get(status, "unreserved_users");
	bool run = strcmp(wire_text(status, "type"), "RUN") == 0;
	char names[256];

	fprintf(out, "GPU %" PRId64 ": ", wire_int(status, "gpu_id", -1));
	if (is(status, "AVAILABLE")) {
		if (strncmp(details, "free for ", 9) == 0)
			fprintf(out, "AVAILABLE (last released %s ago)", details + 9);
		else
			fprintf(out, "AVAILABLE (%s)", details);
	} else if (is(status, "IN_USE")) {
		fprintf(out, "IN USE by %s for %s (%s, %s%s)", wire_text(status, "user"),
			*wire_text(status, "duration") ? wire_text(status, "duration") : "0h 0m 0s",
			run ? "run" : "manual", run ? "last " : "", details);
		if (strcmp(state, "no usage detected") == 0)
			state = "no actual usage detected";
	} else if (is(status, "UNRESERVED")) {
		format_users(names, sizeof(names), users);
		fprintf(out, "IN USE WITHOUT RESERVATION by user%s %s - %s",
			json_array_size(users) > 1 ? "s" : "", names,
			wire_text(status, "process_info"));
		state = "";
	} else {
		fprintf(out, "%s - %s", wire_text(status, "status"), details);
	}
	fprintf(out, *state ? " [validated: %s]\n" : "%s\n", state);
}

void chg_draw_readme(FILE *out, json_t *statuses)
{
	json_t *status;
	size_t i;

	json_array_foreach (statuses, i, status)
		draw_readme_line(out, status);
}

/* "A100", or "2 A100, 6 H100" by name. */
static void format_models(char *dst, size_t size, json_t *statuses)
{
	_cleanup_(json_decrefp) json_t *counts = json_object();
	json_t *status, *count;
	const char *name;
	size_t i, n = 0;

	json_array_foreach (statuses, i, status)
		if (*wire_text(status, "gpu_model")) {
			name = wire_text(status, "gpu_model");
			json_object_set_new(
				counts, name, json_integer(wire_int(counts, name, 0) + 1));
		}
	snprintf(dst, size, "-");
	json_object_foreach (counts, name, count) {
		if (json_object_size(counts) == 1)
			snprintf(dst, size, "%s", name);
		else if (n < size)
			n += (size_t)snprintf(dst + n, size - n, "%s%lld %s", n ? ", " : "",
				(long long)json_integer_value(count), name);
	}
	text_sanitize(dst);
}

static void add_host(struct grid *grid, size_t row, const struct chg_host *host)
{
	const char *good = grid_is_ascii(grid->term) ? "" : "✓ ",
		   *bad = grid_is_ascii(grid->term) ? "" : "✗ ";
	size_t available = 0, used = 0, i;
	char text[512];
	json_t *status;

	grid_add(grid, row, 0, MAGENTA, host->name);
	if (!host->statuses) {
		grid_add(grid, row, 1, DIM, "ERR");
		snprintf(text, sizeof(text), "ERROR: %s", chg_host_error(host));
		text_sanitize(text);
		grid_add(grid, row, 2, DIM, text);
		grid_add(grid, row, 3, DIM, "-");
		grid_add(grid, row, 4, DIM, "-");
		return;
	}
	json_array_foreach (host->statuses, i, status) {
		available += is(status, "AVAILABLE");
		used += is(status, "IN_USE") || is(status, "UNRESERVED");
	}
	snprintf(text, sizeof(text), "%zu", json_array_size(host->statuses));
	grid_add(grid, row, 1, BOLD, text);
	format_models(text, sizeof(text), host->statuses);
	grid_add(grid, row, 2, DIM, text);
	snprintf(text, sizeof(text), "%s%zu", available ? good : bad, available);
	grid_add(grid, row, 3, available ? GREEN : RED_BOLD, text);
	snprintf(text, sizeof(text), "%zu", used);
	grid_add(grid, row, 4, NULL, text);
}

void chg_draw_summary(FILE *out, const struct term *term, const struct chg_host *hosts, size_t n)
{
	static const char *const titles[] = { "HOST", "TOTAL", "GPU MODELS", "AVAILABLE",
		"IN USE" };
	static const char *const drop[] = { NULL };
	struct grid grid = { .term = term, .n_columns = ELEMENTSOF(titles) };

	add_titles(&grid, titles);
	for (size_t i = 0; i < n; i++)
		add_host(&grid, i + 1, &hosts[i]);
	fputc('\n', out);
	grid_draw(out, &grid, drop);
	fputc('\n', out);
	grid_clear(&grid);
}

void chg_draw_host(FILE *out, const struct term *term, const struct chg_host *host)
{
	const char *on = term->color ? MAGENTA : "", *off = term->color ? GRID_PLAIN : "";
	bool ascii = grid_is_ascii(term);

	fprintf(out, "\n%s %s%s%s %s\n", ascii ? "--" : "┌─", on, host->name, off,
		ascii ? "--" : "─┐");
	if (host->statuses) {
		chg_draw_status(out, term, host->statuses);
		return;
	}
	fprintf(out, "%s ERROR: %s\n", ascii ? "|" : "│", chg_host_error(host));
	fputs(ascii ? "--\n" : "└────────────┘\n", out);
}
