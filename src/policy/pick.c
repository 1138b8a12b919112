/* SPDX-License-Identifier: MIT */
/*
 * The three wishes are nested, not weighed against each other. How recently uid used a GPU divides
 * the candidates into groups (GPUs of one lease were given back at one moment, those never used
 * are the last group); whole groups are taken while they fit. Only inside the group that does not
 * fit there is a choice: from each of its GPUs in turn a set is grown, always by the GPU with the
 * best links to what is already there, and the best set wins. Growing is greedy; on the trees and
 * cliques that machines are built as it finds the best set, and where it does not, no promise is
 * broken. Among equals the GPU that was free for the longest comes first, then the lowest slot.
 */
#include "policy/pick.h"

#include <assert.h>

/* The GPUs of one group in the order in which equals are preferred. */
struct group {
	unsigned slots[GPU_MAX];
	unsigned n;
};

static bool free_for_longer(const struct pool *pool, unsigned a, unsigned b)
{
	int64_t since_a = pool->gpus[a].free_since_us, since_b = pool->gpus[b].free_since_us;

	return since_a != since_b ? since_a < since_b : a < b;
}

/* Moves the candidates that uid used last out of *left into *ret. */
static void take_latest_group(
	const struct pool *pool, struct gpu_set *left, uid_t uid, struct group *ret)
{
	int64_t latest = -1;

	ret->n = 0;
	gpu_set_foreach (slot, left)
		latest = MAX(latest, gpu_last_use(&pool->gpus[slot], uid));
	gpu_set_foreach (slot, left) {
		unsigned at = ret->n;

		if (gpu_last_use(&pool->gpus[slot], uid) != latest)
			continue;
		for (; at > 0 && free_for_longer(pool, slot, ret->slots[at - 1]); at--)
			ret->slots[at] = ret->slots[at - 1];
		ret->slots[at] = slot;
		ret->n++;
	}
	for (unsigned i = 0; i < ret->n; i++)
		gpu_set_remove(left, ret->slots[i]);
}

/* Adds count GPUs of group to *set, the first of them being seed; returns the sum of the new links.
 * gains: how well each GPU of the group is linked to *set. */
static unsigned grow(const struct pool *pool, const struct group *group, const unsigned *gains,
	unsigned seed, unsigned count, struct gpu_set *set)
{
	unsigned gain[GPU_MAX], sum = 0, next = seed;

	for (unsigned i = 0; i < group->n; i++)
		gain[i] = gains[i];
	while (count-- > 0) {
		unsigned best = group->n;

		sum += gain[next];
		gpu_set_add(set, group->slots[next]);
		for (unsigned i = 0; i < group->n; i++) {
			if (gpu_set_has(set, group->slots[i]))
				continue;
			gain[i] += pool->gpus[group->slots[next]].link[group->slots[i]];
			if (best == group->n || gain[i] > gain[best])
				best = i;
		}
		next = best;
	}
	return sum;
}

/* Adds the best count of group (which has more) to *set. */
static void add_best(
	const struct pool *pool, const struct group *group, unsigned count, struct gpu_set *set)
{
	unsigned gains[GPU_MAX] = { 0 }, best_sum = 0;
	struct gpu_set best = { 0 };

	for (unsigned i = 0; i < group->n; i++)
		gpu_set_foreach (slot, set)
			gains[i] += pool->gpus[slot].link[group->slots[i]];
	for (unsigned seed = 0; seed < group->n; seed++) {
		struct gpu_set grown = *set;
		unsigned sum = grow(pool, group, gains, seed, count, &grown);

		if (seed == 0 || sum > best_sum) {
			best_sum = sum;
			best = grown;
		}
	}
	*set = best;
}

struct gpu_set pick_gpus(
	const struct pool *pool, const struct gpu_set *candidates, unsigned count, uid_t uid)
{
	struct gpu_set left = *candidates, picked = { 0 };
	struct group group;

	assert(gpu_set_count(candidates) >= count);

	while (count > 0) {
		take_latest_group(pool, &left, uid, &group);
		if (group.n > count) {
			add_best(pool, &group, count, &picked);
			break;
		}
		for (unsigned i = 0; i < group.n; i++)
			gpu_set_add(&picked, group.slots[i]);
		count -= group.n;
	}
	return picked;
}
