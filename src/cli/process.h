/* SPDX-License-Identifier: MIT */
/* Processes of a reply to org.dibs.GetStatus, as people read them. */
#pragma once

#include "cli/table.h"
#include "model/gpu.h"

/* Why it may be there or not; a daemon that does not say it only knows leases. */
enum standing process_standing(json_t *process);
bool process_is_foreign(json_t *process);

/* How many from i on are the same command of the same user, by the same right. */
size_t process_alike(json_t *processes, size_t i);

/* Appends "python ×2 in docker:web" for n processes that are alike. */
void process_put(struct cell *cell, const struct view *view, json_t *process, size_t n);

/* Who a process or a lease belongs to; "?" if that is not known. */
const char *user_of(json_t *object, const struct view *view);
