/* SPDX-License-Identifier: MIT */
#include "cli/gpu.h"

#include <inttypes.h>
#include <string.h>

#include "cli/lease.h"
#include "cli/public.h"

bool gpus_are_uniform(json_t *gpus)
{
	const char *model = wire_text(json_array_get(gpus, 0), "model");
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		if (strcmp(wire_text(gpu, "model"), model) != 0)
			return false;
	return true;
}

const char *gpu_short_model(json_t *gpu)
{
	const char *model = wire_text(gpu, "model");

	return strncmp(model, "NVIDIA ", 7) == 0 ? model + 7 : model;
}

bool gpu_has_state(json_t *gpu, const char *state)
{
	return strcmp(wire_text(gpu, "state"), state) == 0;
}

bool gpu_has_reason(json_t *gpu)
{
	return *wire_text(gpu, "reason") && !gpu_has_state(gpu, "foreign");
}

json_t *gpu_lease(json_t *gpu, const struct view *view)
{
	json_t *id = json_array_get(json_object_get(gpu, "leases"), 0);

	return id ? lease_find(view->leases, json_integer_value(id)) : NULL;
}

bool gpu_parse_node(json_t *node, unsigned *ret_major, unsigned *ret_minor)
{
	const char *text = json_string_value(node);

	return text && sscanf(text, "%u:%u", ret_major, ret_minor) == 2;
}

void gpu_fill_index(struct cell *cell, const struct view *view, json_t *gpu)
{
	cell_printf(cell, "%" PRId64, wire_int(gpu, "index", 0));
}
