/* SPDX-License-Identifier: MIT */
/*
 * Sentences below the table of GPUs. Foreign use has a line for each GPU, user and wrong; everybody
 * sees it, so that people can ask each other before an administrator has to.
 */
#include <inttypes.h>
#include <string.h>

#include "cli/gpu.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/process.h"
#include "cli/public.h"
#include "cli/status.h"

#define FOREIGN_SHOWN 8

void status_draw_problem(FILE *out, const struct view *view, json_t *reply)
{
	struct cell cell = { 0 };
	char problem[512];

	if (!*wire_text(reply, "guard_problem"))
		return;
	people_rename(view->people, problem, sizeof(problem), wire_text(reply, "guard_problem"));
	cell_printf(&cell, "guard %s: %s", wire_text(reply, "guard"), problem);
	note_print(out, view, &cell);
}

/* Has the table room for it, behind about so many columns? */
static bool is_in_table(const struct view *view, const char *reason)
{
	unsigned width = view->term->width;

	return width == 0 || (view_is_wide(view) && strlen(reason) + 84 <= width);
}

static void note_reason(struct notes *notes, json_t *gpu)
{
	struct cell cell = { 0 };
	char reason[512];

	if (!gpu_has_reason(gpu) || is_in_table(notes->view, wire_text(gpu, "reason")))
		return;
	people_rename(notes->view->people, reason, sizeof(reason), wire_text(gpu, "reason"));
	cell_printf(&cell, "GPU %" PRId64 " is %s: %s", wire_int(gpu, "index", 0),
		wire_text(gpu, "state"), reason);
	notes_add(notes, &cell);
}

/* Is there one before i of the same user, there by the same wrong? Then its line has both. */
static bool is_told(json_t *processes, size_t i)
{
	json_t *process = json_array_get(processes, i);

	for (size_t k = 0; k < i; k++) {
		json_t *other = json_array_get(processes, k);

		if (wire_int(other, "uid", -1) == wire_int(process, "uid", -1) &&
			process_standing(other) == process_standing(process))
			return true;
	}
	return false;
}

/* "miner (pid 77), python ×2": all like the one at i. */
static void put_commands(struct cell *cell, const struct view *view, json_t *processes, size_t i)
{
	json_t *first = json_array_get(processes, i);
	const char *comma = "";
	size_t n;

	for (; i < json_array_size(processes); i += n) {
		json_t *process = json_array_get(processes, i);

		n = process_alike(processes, i);
		if (wire_int(process, "uid", -1) != wire_int(first, "uid", -1) ||
			process_standing(process) != process_standing(first))
			continue;
		cell_printf(cell, "%s", comma);
		process_put(cell, view, process, n);
		if (n == 1 && wire_int(process, "pid", 0) > 0)
			cell_printf(cell, " (pid %" PRId64 ")", wire_int(process, "pid", 0));
		comma = ", ";
	}
}

static void put_wrong(
	struct cell *cell, const struct view *view, json_t *gpu, enum standing standing)
{
	json_t *lease = gpu_lease(gpu, view);
	char number[JOB_NUMBER_SIZE] = "";

	if (lease)
		job_number(number, lease);
	if (standing == STANDING_WRONG_GPU)
		cell_printf(cell, " with a lease for other GPUs");
	else if (standing == STANDING_ANOTHERS && lease)
		cell_printf(cell, " on the GPU of %s", user_of(lease, view));
	else if (standing == STANDING_ANOTHERS)
		cell_printf(cell, " on a GPU of somebody else");
	else if (standing == STANDING_OUTSIDE && lease)
		cell_printf(cell, " outside of %s #%s, which has this GPU",
			wire_text(lease, "kind"), number);
	else if (standing == STANDING_OUTSIDE)
		cell_printf(cell, " outside of the run that has this GPU");
	else
		cell_printf(cell, " without a lease");
}

/* Returns how many lines there are, of which limit were written. */
static size_t note_foreign(struct notes *notes, json_t *gpu, size_t limit)
{
	json_t *processes = json_object_get(gpu, "processes"), *process;
	size_t n = 0, i;

	json_array_foreach (processes, i, process) {
		struct cell cell = { 0 };

		if (!process_is_foreign(process) || is_told(processes, i) || n++ >= limit)
			continue;
		cell_printf(&cell, "GPU %" PRId64 ": %s runs ", wire_int(gpu, "index", 0),
			user_of(process, notes->view));
		put_commands(&cell, notes->view, processes, i);
		put_wrong(&cell, notes->view, gpu, process_standing(process));
		notes_add(notes, &cell);
	}
	return n;
}

void status_draw_notes(FILE *out, const struct view *view, json_t *gpus)
{
	struct notes notes = { out, view };
	size_t n_foreign = 0, i;
	json_t *gpu;

	json_array_foreach (gpus, i, gpu)
		note_reason(&notes, gpu);
	json_array_foreach (gpus, i, gpu)
		n_foreign += note_foreign(
			&notes, gpu, n_foreign < FOREIGN_SHOWN ? FOREIGN_SHOWN - n_foreign : 0);
	if (n_foreign > FOREIGN_SHOWN) {
		struct cell cell = { 0 };

		cell_printf(&cell, "and %zu more; 'dibs status --json' shows all",
			n_foreign - FOREIGN_SHOWN);
		notes_add(&notes, &cell);
	}
	lease_note_idle(&notes, view->leases);
}
