/* SPDX-License-Identifier: MIT */
/* A set of the indices of an array: ranges in rising order, so that 0-9999 costs as much as 0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDICES_MAX        100000 /* members */
#define INDICES_INDEX_MAX  INT64_C(1000000)
#define INDICES_RANGES_MAX 1000

struct index_range {
	int64_t first, last; /* inclusive */
};

struct indices {
	struct index_range *ranges; /* owned; disjoint, not adjacent, rising */
	size_t n_ranges;
};

void indices_clear(struct indices *indices);

/* "0-9,12,20-40:5" (a step), each index once. -EINVAL: not that, -ERANGE: more than the limits
 * above, -EEXIST: an index twice, -ENOMEM. *ret is written only on success. */
int indices_parse(const char *s, struct indices *ret);

/* The same in the shortest form, without steps; the caller frees. "" for none; NULL without memory.
 */
char *indices_format(const struct indices *indices);

size_t indices_count(const struct indices *indices);
bool indices_has(const struct indices *indices, int64_t index);

/* The lowest; -1 if it is empty. */
int64_t indices_first(const struct indices *indices);

/* Takes one out: 0, -ENOENT, or -ENOMEM with nothing changed (a range may become two). Taking the
 * lowest out never fails. */
int indices_remove(struct indices *indices, int64_t index);
int indices_copy(const struct indices *indices, struct indices *ret);
