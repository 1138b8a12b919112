/* SPDX-License-Identifier: MIT */
#include "policy/overuse.h"

#include "../tap.h"
#include "fixture.h"

#define GRACE (30 * SEC)

static void use(struct pool *pool, unsigned slot, int64_t lease, int64_t memory_mib)
{
	struct gpu *gpu = &pool->gpus[slot];

	gpu->processes =
		reallocarray(gpu->processes, gpu->n_processes + 1, sizeof(*gpu->processes));
	assert(gpu->processes);
	gpu->processes[gpu->n_processes++] = (struct gpu_process){
		.lease = lease, .standing = STANDING_LEASE, .memory_mib = memory_mib
	};
}

static struct lease *add_sharer(struct pool *pool, uint64_t gpus, uint64_t share_mib)
{
	struct lease *lease = add_active(pool, LEASE_JOB, gpus, TIME_NEVER);

	lease->job = job_new();
	assert(lease->job);
	lease->request.share_mib = share_mib;
	return lease;
}

static void the_tolerance_is_a_sixteenth(void)
{
	CHECK_INT(overuse_tolerance_mib(1), 64);
	CHECK_INT(overuse_tolerance_mib(512), 64);
	CHECK_INT(overuse_tolerance_mib(4096), 256);
	CHECK_INT(overuse_tolerance_mib(8192), 512);
	CHECK_INT(overuse_tolerance_mib(81920), 512);
}

static void who_is_within_is_let_be(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_sharer(pool, 1, 8192), *other = add_sharer(pool, 1, 8192);
	struct overuse over;

	use(pool, 0, lease->id, 4096);
	use(pool, 0, lease->id, 4096 + 512);
	use(pool, 0, lease->id, GPU_UNKNOWN);
	use(pool, 0, other->id, 8192);
	CHECK_INT(overuse_used_mib(&pool->gpus[0], lease->id), 8704);
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_NOTHING);
	CHECK_INT(overuse_judge(pool, other, GRACE, NOW, &over), OVERUSE_NOTHING);
	CHECK_INT(lease->share_end_us, 0);
}

static void who_is_above_is_warned_and_ended(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *lease = add_sharer(pool, 3, 8192), *other = add_sharer(pool, 3, 8192);
	struct overuse over = { 0 };

	use(pool, 0, lease->id, 8000);
	use(pool, 1, lease->id, 8705);
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_WARN);
	CHECK_INT(over.slot, 1);
	CHECK_INT(over.used_mib, 8705);
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + GRACE - 1, &over), OVERUSE_NOTHING);
	CHECK_INT(overuse_judge(pool, other, GRACE, NOW + GRACE, &over), OVERUSE_NOTHING);
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + GRACE, &over), OVERUSE_END);
	/* Also when it could not be ended at once. */
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + GRACE + 1, &over), OVERUSE_END);
}

static void who_is_within_in_the_end_is_forgiven(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_sharer(pool, 1, 1024);
	struct overuse over;

	use(pool, 0, lease->id, 2048);
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_WARN);
	pool->gpus[0].processes[0].memory_mib = 1000;
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + GRACE, &over), OVERUSE_NOTHING);
	CHECK_INT(lease->share_end_us, 0);
	pool->gpus[0].processes[0].memory_mib = 2048;
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + GRACE + 1, &over), OVERUSE_WARN);
}

/* One warning for each grace, however often it goes up and down. */
static void going_below_for_a_moment_is_no_excuse(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct lease *lease = add_sharer(pool, 1, 1024);
	struct overuse over;

	use(pool, 0, lease->id, 2048);
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_WARN);
	for (int64_t at = SEC; at < GRACE; at += SEC) {
		pool->gpus[0].processes[0].memory_mib = at / SEC % 2 ? 0 : 2048;
		CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + at, &over), OVERUSE_NOTHING);
	}
	pool->gpus[0].processes[0].memory_mib = 2048;
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW + GRACE, &over), OVERUSE_END);
}

static void others_are_not_judged(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	struct lease *whole = add_sharer(pool, 1, 0), *lease = add_sharer(pool, 2, 1024);
	struct overuse over;

	use(pool, 0, whole->id, 81920);
	use(pool, 1, lease->id, 81920);
	CHECK_INT(overuse_judge(pool, whole, GRACE, NOW, &over), OVERUSE_NOTHING);
	pool->gpus[1].processes_unknown = true; /* those have it open: nothing is known of memory */
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_NOTHING);
	pool->gpus[1].processes_unknown = false;
	lease->state = LEASE_GRACE;
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_NOTHING);
	lease->state = LEASE_ACTIVE;
	lease->share_end_us = 5; /* of an earlier attempt */
	lease->state = LEASE_WAITING;
	CHECK_INT(overuse_judge(pool, lease, GRACE, NOW, &over), OVERUSE_NOTHING);
	CHECK_INT(lease->share_end_us, 0);
}

int main(void)
{
	TEST(the_tolerance_is_a_sixteenth);
	TEST(who_is_within_is_let_be);
	TEST(who_is_above_is_warned_and_ended);
	TEST(who_is_within_in_the_end_is_forgiven);
	TEST(going_below_for_a_moment_is_no_excuse);
	TEST(others_are_not_judged);
	return tap_done();
}
