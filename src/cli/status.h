/* SPDX-License-Identifier: MIT */
/* The picture of the whole machine. */
#pragma once

#include "cli/table.h"

/* Draws a reply of org.dibs.GetStatus, with view->leases its leases. -ENOMEM. */
int status_draw(FILE *out, const struct view *view, json_t *reply);

/* Its parts: the table of GPUs (-ENOMEM); why the guard does not hold; and what has no place in the
 * table: reasons, who uses what without a right, what is soon given back. */
int status_draw_gpus(FILE *out, const struct view *view, json_t *gpus);
void status_draw_problem(FILE *out, const struct view *view, json_t *reply);
void status_draw_notes(FILE *out, const struct view *view, json_t *gpus);

/* For these. */
bool view_is_wide(const struct view *view);
bool gpus_are_uniform(json_t *gpus); /* of one model */
const char *short_model(const char *model);
bool gpu_has_state(json_t *gpu, const char *state);
bool gpu_has_reason(json_t *gpu); /* other than its processes, which are shown anyway */

/* The lease that has this GPU, or NULL. */
json_t *lease_of(json_t *gpu, const struct view *view);
