/* SPDX-License-Identifier: MIT */
#include "compat/face.h"

#include <stddef.h>
#include <string.h>

#include "compat/canhazgpu.h"
#include "compat/mgpu.h"

/* To a NULL name. */
static const struct face faces[] = {
	{ "canhazgpu", canhazgpu_main },
	{ "chg", canhazgpu_main },
	{ "mgpu_srun", mgpu_srun },
	{ "mgpu_queue", mgpu_queue },
	{ "mgpu_cancel", mgpu_cancel },
	{ 0 },
};

const struct face *face_find(const char *name)
{
	const char *slash = name ? strrchr(name, '/') : NULL;

	if (slash)
		name = slash + 1;
	for (const struct face *face = faces; name && face->name; face++)
		if (strcmp(face->name, name) == 0)
			return face;
	return NULL;
}
