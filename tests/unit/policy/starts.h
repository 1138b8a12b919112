/* SPDX-License-Identifier: MIT */
/* What a pass along the queue starts, as text. */
#pragma once

#include <stdio.h>

#include "policy/queue.h"
#include "tests/unit/policy/fixture.h"

#define MAX_STARTS 32

/* One pass at NOW; "1:0,2 3:1" = lease 1 starts on GPUs 0 and 2, lease 3 on GPU 1. */
static inline const char *starts(const struct pool *pool)
{
	static char text[512];
	struct queue_start started[MAX_STARTS];
	size_t n = queue_pass(pool, NOW, started, MAX_STARTS), length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		char gpus[GPU_LIST_SIZE];

		pool_format_gpus(pool, &started[i].gpus, gpus, sizeof(gpus));
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%d:%s",
			i ? " " : "", (int)started[i].lease->id, gpus);
	}
	return text;
}
