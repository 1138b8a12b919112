/* SPDX-License-Identifier: MIT */
/* A line about the machine, a table of its GPUs, what there is to say of them, and a table of those
 * who wait. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cli/gpu.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/status.h"

#define QUEUE_SHOWN 10

static size_t count_state(json_t *gpus, const char *state)
{
	json_t *gpu;
	size_t i, n = 0;

	json_array_foreach (gpus, i, gpu)
		n += gpu_has_state(gpu, state);
	return n;
}

/* "8 × A100-SXM4-80GB" */
static void put_machine(struct cell *cell, const struct view *view, json_t *gpus)
{
	size_t n = json_array_size(gpus);

	if (n > 0 && gpus_are_uniform(gpus))
		cell_printf(cell, "%zu %s %s", n, view->term->utf8 ? "×" : "x",
			gpu_short_model(json_array_get(gpus, 0)));
	else
		cell_printf(cell, "%zu GPUs", n);
}

/* "1 free, 4 leased, 2 waiting" */
static void put_counts(struct cell *cell, json_t *reply, size_t waiting)
{
	static const char *const states[] = { "free", "leased", "foreign", "draining", "lost" };
	json_t *gpus = json_object_get(reply, "gpus");

	for (size_t i = 0; i < ELEMENTSOF(states); i++) {
		size_t n = count_state(gpus, states[i]);

		if (n > 0)
			cell_printf(cell, "%s%zu %s", *cell->text ? ", " : "", n, states[i]);
	}
	if (waiting)
		cell_printf(cell, "%s%zu waiting", *cell->text ? ", " : "", waiting);
}

/* "guard deny"; nothing where nobody is guarded. */
static void put_guard(struct cell *cell, json_t *reply)
{
	const char *guard = wire_text(reply, "guard");
	bool acl = strcmp(wire_text(reply, "guard_method"), "acl") == 0;

	if (!*guard || strcmp(guard, "off") == 0)
		return;
	cell_printf(cell, "guard %s%s", guard, acl ? " (acl)" : "");
	if (*wire_text(reply, "guard_problem"))
		cell->style = STYLE_WARN;
	else if (strcmp(guard, "deny") == 0)
		cell->style = STYLE_GOOD;
}

/* One line; two if it does not fit. */
static void draw_summary(FILE *out, const struct view *view, json_t *reply, size_t waiting)
{
	const struct term *term = view->term;
	struct cell machine = { 0 }, counts = { 0 }, guard = { 0 };
	const char *host = wire_text(reply, "host"), *between = ", ";

	put_machine(&machine, view, json_object_get(reply, "gpus"));
	put_counts(&counts, reply, waiting);
	put_guard(&guard, reply);
	term_fit(term, machine.text);
	term_fit(term, guard.text);
	if (term->width &&
		strlen(host) + strlen(machine.text) + strlen(counts.text) + strlen(guard.text) + 6 >
			term->width)
		between = "\n";
	fprintf(out, "%s%s%s: %s%s%s", term_style(term, STYLE_BOLD), host, term_plain(term),
		machine.text, *counts.text || *guard.text ? between : "", counts.text);
	if (*counts.text && *guard.text)
		fputs(term->width && strlen(counts.text) + strlen(guard.text) + 2 > term->width
				? "\n"
				: ", ",
			out);
	fprintf(out, "%s%s%s\n", *guard.text ? term_style(term, guard.style) : "", guard.text,
		*guard.text ? term_plain(term) : "");
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
	status_draw_problem(out, view, reply);
	if (json_array_size(gpus) == 0) {
		fprintf(out, "No GPU was found here; 'dibs doctor' says why.\n");
		return 0;
	}
	fputc('\n', out);
	r = status_draw_gpus(out, view, gpus);
	status_draw_notes(out, view, gpus);
	if (r < 0 || json_array_size(queue) == 0)
		return r;
	fputc('\n', out);
	return draw_queue(out, view, queue);
}
