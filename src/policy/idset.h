/* SPDX-License-Identifier: MIT */
/* A set of numbers larger than 0, which grows in small steps: adding one never takes long. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IDSET_PARTS 1024

struct idset {
	struct idset_part {
		uint64_t *slots; /* owned; 0 = empty */
		uint32_t n, size;
	} parts[IDSET_PARTS];
};

void idset_clear(struct idset *set);

/* Returns 1 if id was not there yet, 0 if it was; -ENOMEM. */
int idset_add(struct idset *set, uint64_t id);
