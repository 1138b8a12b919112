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
