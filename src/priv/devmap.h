/* SPDX-License-Identifier: MIT */
/* The map of the device filter: which entries it holds, priv/devfilter.h says what they mean. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "priv/devfilter.h"

/* An entry (struct devfilter_entry) as it lies in the map: without padding, and 0 in what its kind
 * does not use. The value does not matter. */
struct devkey {
	uint64_t who, kind;
	uint32_t major, minor;
};

struct devmap {
	int fd;              /* owned; -1 = none */
	bool known;          /* keys is what the map holds */
	struct devkey *keys; /* owned; sorted, each once */
	size_t n_keys;
};

/* A descriptor of a new, empty map, or a negative errno. */
int devmap_create(void);

/* Is this such a map, also in what its entries mean? */
bool devmap_is_ours(int fd);

/* See devfilter_set(). */
int devmap_set(struct devmap *map, const struct devfilter_entry *entries, size_t n);

void devmap_release(struct devmap *map);
