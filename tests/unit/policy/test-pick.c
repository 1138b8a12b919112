/* SPDX-License-Identifier: MIT */
#include "policy/pick.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

static void link_gpus(struct pool *pool, unsigned a, unsigned b, enum gpu_link link)
{
	pool->gpus[a].link[b] = pool->gpus[b].link[a] = (uint8_t)link;
}

static uint64_t pick(const struct pool *pool, uint64_t candidates, unsigned count)
{
	struct gpu_set set = set_of(candidates);

	return pick_gpus(pool, &set, count, 1000).words[0];
}

static void equals_in_order_of_slot(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(8);

	CHECK_INT(pick(pool, 0xff, 1), 0x01);
	CHECK_INT(pick(pool, 0xf0, 2), 0x30);
	CHECK_INT(pick(pool, 0xf0, 4), 0xf0);
}

static void free_for_the_longest_first(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	for (unsigned slot = 0; slot < 4; slot++)
		pool->gpus[slot].free_since_us = NOW - slot;
	CHECK_INT(pick(pool, 0xf, 1), 0x8);
	CHECK_INT(pick(pool, 0xf, 2), 0xc);
	pool->gpus[1].free_since_us = 0;
	CHECK_INT(pick(pool, 0xf, 1), 0x2);
}

static void best_connected_before_longest_free(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	link_gpus(pool, 0, 2, GPU_LINK_NVLINK);
	link_gpus(pool, 1, 3, GPU_LINK_SINGLE);
	pool->gpus[0].free_since_us = NOW;
	CHECK_INT(pick(pool, 0xf, 2), 0x5);
	CHECK_INT(pick(pool, 0xb, 2), 0xa);
	CHECK_INT(pick(pool, 0xf, 1), 0x2);
}

/* Two islands of NVLink pairs: four GPUs come from one island, not from the strongest pairs. */
static void whole_island(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(8);

	for (unsigned a = 0; a < 8; a++)
		for (unsigned b = a + 1; b < 8; b++)
			link_gpus(
				pool, a, b, a / 4 == b / 4 ? GPU_LINK_HOSTBRIDGE : GPU_LINK_SYSTEM);
	link_gpus(pool, 0, 1, GPU_LINK_NVLINK);
	link_gpus(pool, 4, 5, GPU_LINK_NVLINK);
	link_gpus(pool, 6, 7, GPU_LINK_NVLINK);
	CHECK_INT(pick(pool, 0xff, 4), 0xf0);
	CHECK_INT(pick(pool, 0xff, 2), 0x03);
	CHECK_INT(pick(pool, 0xfe, 2), 0x30);
}

static void own_recent_before_connected(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	link_gpus(pool, 0, 1, GPU_LINK_NVLINK);
	gpu_note_use(&pool->gpus[3], 1000, NOW - 10);
	gpu_note_use(&pool->gpus[2], 1000, NOW - 20);
	gpu_note_use(&pool->gpus[0], 1001, NOW);
	CHECK_INT(pick(pool, 0xf, 1), 0x8);
	CHECK_INT(pick(pool, 0xf, 2), 0xc);
	CHECK_INT(pick(pool, 0xf, 3), 0xd);
}

/* The rest is chosen by its links to the recent ones, too. */
static void connects_to_the_recent(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	gpu_note_use(&pool->gpus[0], 1000, NOW);
	link_gpus(pool, 0, 3, GPU_LINK_NVLINK);
	link_gpus(pool, 1, 2, GPU_LINK_SINGLE);
	CHECK_INT(pick(pool, 0xf, 2), 0x9);
}

static void large_sets(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(GPU_MAX - 1);
	struct gpu_set all = { 0 }, picked;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		gpu_set_add(&all, slot);
	picked = pick_gpus(pool, &all, 100, 1000);
	CHECK_INT(gpu_set_count(&picked), 100);
	CHECK_INT(gpu_set_next(&picked, 99), 99);
	CHECK_INT(gpu_set_next(&picked, 100), GPU_MAX);
}

int main(void)
{
	TEST(equals_in_order_of_slot);
	TEST(free_for_the_longest_first);
	TEST(best_connected_before_longest_free);
	TEST(whole_island);
	TEST(own_recent_before_connected);
	TEST(connects_to_the_recent);
	TEST(large_sets);
	return tap_done();
}
