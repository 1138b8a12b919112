/* SPDX-License-Identifier: MIT */
/* main() of a simulation that plays the histories of seeds 1 to SEEDS, or of the only one given. */
#pragma once

#include "base/parse.h"
#include "tests/unit/tap.h"

#define SEEDS 6

/* Plays one history, and tells what was in it; returns its hash. */
static uint64_t play(uint64_t seed, bool tell);

static uint64_t only_seed;

static void promises_are_kept(void)
{
	uint64_t first = only_seed ? only_seed : 1, last = only_seed ? only_seed : SEEDS;

	for (uint64_t seed = first; seed <= last; seed++)
		play(seed, true);
}

static void same_seed_same_history(void)
{
	uint64_t seed = only_seed ? only_seed : 1;

	CHECK(play(seed, false) == play(seed, false));
	CHECK(play(seed, false) != play(seed + 1, false));
}

int main(int argc, char **argv)
{
	if (argc > 1 && parse_uint(argv[1], 1, UINT64_MAX - 1, &only_seed) < 0)
		return 2;
	TEST(promises_are_kept);
	TEST(same_seed_same_history);
	return tap_done();
}
