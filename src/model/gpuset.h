/* SPDX-License-Identifier: MIT */
/*
 * A set of GPUs of one pool, by slot. A slot is the position of a GPU in pool->gpus: fixed while
 * the daemon serves, meaningless outside it. (UUID, index, minor and CUDA ordinal are the other
 * four numbers of a GPU.)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GPU_MAX       256
#define GPU_SET_WORDS (GPU_MAX / 64)

struct gpu_set {
	uint64_t words[GPU_SET_WORDS];
};

static inline void gpu_set_add(struct gpu_set *set, unsigned slot)
{
	set->words[slot / 64] |= UINT64_C(1) << slot % 64;
}

static inline void gpu_set_remove(struct gpu_set *set, unsigned slot)
{
	set->words[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

static inline bool gpu_set_has(const struct gpu_set *set, unsigned slot)
{
	return set->words[slot / 64] >> slot % 64 & 1;
}

static inline unsigned gpu_set_count(const struct gpu_set *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		n += (unsigned)__builtin_popcountll(set->words[i]);
	return n;
}

static inline bool gpu_set_empty(const struct gpu_set *set)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		any |= set->words[i];
	return any == 0;
}

static inline struct gpu_set gpu_set_and(struct gpu_set a, const struct gpu_set *b)
{
	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		a.words[i] &= b->words[i];
	return a;
}

static inline struct gpu_set gpu_set_minus(struct gpu_set a, const struct gpu_set *b)
{
	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		a.words[i] &= ~b->words[i];
	return a;
}

static inline struct gpu_set gpu_set_or(struct gpu_set a, const struct gpu_set *b)
{
	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		a.words[i] |= b->words[i];
	return a;
}

/* Is any GPU in both? */
static inline bool gpu_set_meet(const struct gpu_set *a, const struct gpu_set *b)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < GPU_SET_WORDS; i++)
		any |= a->words[i] & b->words[i];
	return any != 0;
}

/* The first slot >= from that is in the set, or GPU_MAX. */
static inline unsigned gpu_set_next(const struct gpu_set *set, unsigned from)
{
	for (unsigned i = from / 64; i < GPU_SET_WORDS; i++) {
		uint64_t word = set->words[i];

		if (i == from / 64)
			word &= ~UINT64_C(0) << from % 64;
		if (word)
			return i * 64 + (unsigned)__builtin_ctzll(word);
	}
	return GPU_MAX;
}

#define gpu_set_foreach(slot, set)                                   \
	for (unsigned slot = gpu_set_next((set), 0); slot < GPU_MAX; \
		slot = gpu_set_next((set), slot + 1))
