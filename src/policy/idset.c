/* SPDX-License-Identifier: MIT */
/*
 * Open addressing with linear probing, in many tables that grow on their own: one table of millions
 * would have to be copied in one go. Numbers that differ in their lowest bits alone are in one
 * table, which is in the cache then: they mostly come one after the other.
 */
#include "policy/idset.h"

#include <errno.h>
#include <stdlib.h>

#define SIZE_MIN 8
#define NEAR     10 /* bits */

void idset_clear(struct idset *set)
{
	for (unsigned i = 0; i < IDSET_PARTS; i++)
		free(set->parts[i].slots);
	*set = (struct idset){ 0 };
}

/* Mixes all bits into all others (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Where id is, or is to go. */
static uint64_t *find(uint64_t *slots, uint32_t size, uint64_t id)
{
	uint64_t at = mix(id);

	while (slots[at & (size - 1)] != 0 && slots[at & (size - 1)] != id)
		at++;
	return &slots[at & (size - 1)];
}

static int grow(struct idset_part *part)
{
	uint32_t size = part->size ? part->size * 2 : SIZE_MIN;
	uint64_t *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < part->size; i++)
		if (part->slots[i])
			*find(slots, size, part->slots[i]) = part->slots[i];
	free(part->slots);
	part->slots = slots;
	part->size = size;
	return 0;
}

int idset_add(struct idset *set, uint64_t id)
{
	struct idset_part *part = &set->parts[(id >> NEAR) % IDSET_PARTS];
	uint64_t *slot;

	if (part->n >= part->size / 4 * 3 && grow(part) < 0)
		return -ENOMEM;
	slot = find(part->slots, part->size, id);
	if (*slot)
		return 0;
	*slot = id;
	part->n++;
	return 1;
}
