/* SPDX-License-Identifier: MIT */
/*
 * Which GPUs are of which type, as somebody wrote it down in Python or JSON:
 *
 *	{'A100': [0, 1, 2, 3], "V100": [4, 5, 6, 7]}
 *
 * Only that is read: a dict of strings to lists of numbers. Everything else that Python would
 * evaluate is an error.
 */
#pragma once

#include "base/error.h"
#include "model/gpuset.h"

#define GPU_TYPES_MAX      32
#define GPU_TYPE_NAME_SIZE 48

struct gpu_type {
	char name[GPU_TYPE_NAME_SIZE]; /* printable ASCII without quotes and backslashes */
	struct gpu_set gpus;           /* by the numbers written there, below GPU_MAX */
};

struct gpu_dict {
	struct gpu_type types[GPU_TYPES_MAX];
	unsigned n;
};

/* -EINVAL with a sentence that names the column. *ret is written only on success. */
int gpu_dict_parse(const char *text, struct gpu_dict *ret, struct error *err);
