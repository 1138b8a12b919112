/* SPDX-License-Identifier: MIT */
/* Random numbers that are the same everywhere: splitmix64, for which any seed is a good one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

static inline bool rng_percent(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

/* Around mean, at least 1, with a long tail: most things are short, some are very long. */
static inline int64_t rng_time(struct rng *rng, int64_t mean)
{
	int64_t us = 1 + (int64_t)rng_below(rng, (uint64_t)mean);

	while (rng_percent(rng, 40))
		us += (int64_t)rng_below(rng, (uint64_t)mean * 2);
	return us;
}
