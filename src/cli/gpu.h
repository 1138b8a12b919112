/* SPDX-License-Identifier: MIT */
/* GPUs of a reply to org.dibs.GetStatus, as people read them. */
#pragma once

#include <stdbool.h>

#include "cli/table.h"

/* Are all of one model? */
bool gpus_are_uniform(json_t *gpus);

/* "A100-SXM4-80GB" of "NVIDIA A100-SXM4-80GB" */
const char *gpu_short_model(json_t *gpu);

bool gpu_has_state(json_t *gpu, const char *state);

/* Is there one other than its processes, which are shown anyway? */
bool gpu_has_reason(json_t *gpu);

/* The lease that has it, or NULL. */
json_t *gpu_lease(json_t *gpu, const struct view *view);

/* The numbers of one of its nodes. */
bool gpu_parse_node(json_t *node, unsigned *ret_major, unsigned *ret_minor);

/* A column of their tables. */
void gpu_fill_index(struct cell *cell, const struct view *view, json_t *gpu);
