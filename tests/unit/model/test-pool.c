/* SPDX-License-Identifier: MIT */
#include "model/pool.h"

#include <errno.h>

#include "../tap.h"
#include "base/text.h"

/* GPUs GPU-0, GPU-1, ... present, with their number as index. */
static struct pool *new_pool(unsigned n_gpus)
{
	struct pool *pool = pool_new();

	for (unsigned i = 0; i < n_gpus; i++) {
		char uuid[16];
		int slot;

		snprintf(uuid, sizeof(uuid), "GPU-%u", i);
		slot = pool_add_gpu(pool, uuid);
		pool->gpus[slot].index = (int)i;
		pool->gpus[slot].present = true;
	}
	return pool;
}

static struct lease *add(struct pool *pool, int64_t id, enum lease_state state)
{
	struct lease *lease = lease_new();

	lease->id = id;
	lease->state = state;
	CHECK_INT(pool_add(pool, lease), 0);
	return lease;
}

static void leases_are_found_by_number(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(0);

	CHECK(!pool_find(pool, 1));
	for (int64_t id = 2; id <= 400; id += 2)
		add(pool, id, LEASE_WAITING);
	for (int64_t id = 1; id <= 401; id++)
		CHECK_INT(pool_find(pool, id) ? pool_find(pool, id)->id : 0, id % 2 ? 0 : id);
}

static void the_ended_are_swept_and_the_order_stays(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(0);

	for (int64_t id = 1; id <= 6; id++)
		add(pool, id, id % 3 ? LEASE_WAITING : LEASE_ENDED);
	pool_sweep(pool);
	CHECK_INT(pool->n_leases, 4);
	CHECK(!pool_find(pool, 3));
	CHECK_INT(pool_position(pool, pool_find(pool, 1)), 1);
	CHECK_INT(pool_position(pool, pool_find(pool, 5)), 4);
}

static void only_those_who_wait_have_a_position(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(0);
	struct lease *active = add(pool, 1, LEASE_ACTIVE), *waiting = add(pool, 2, LEASE_WAITING);

	CHECK_INT(pool_position(pool, active), 0);
	CHECK_INT(pool_position(pool, waiting), 1);
}

static void the_holder_is_who_is_active_or_in_grace(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(3);
	struct lease *lease = add(pool, 1, LEASE_WAITING);

	gpu_set_add(&lease->gpus, 1);
	CHECK(!pool_holder(pool, 1));
	lease->state = LEASE_GRACE;
	CHECK(pool_holder(pool, 1) == lease);
	CHECK(!pool_holder(pool, 0));
	lease->state = LEASE_ENDED;
	CHECK(!pool_holder(pool, 1));
}

static void who_shares_a_gpu(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(2);
	struct lease *first = add(pool, 3, LEASE_ACTIVE), *alone = add(pool, 4, LEASE_ACTIVE);
	struct lease *second = add(pool, 7, LEASE_GRACE), *waiting = add(pool, 9, LEASE_WAITING);

	gpu_set_add(&alone->gpus, 1);
	gpu_set_add(&first->gpus, 0);
	gpu_set_add(&second->gpus, 0);
	gpu_set_add(&waiting->gpus, 0); /* should not be */
	first->request.share_mib = 100;
	second->request.share_mib = 30;
	waiting->request.share_mib = 5;
	CHECK(pool_holder(pool, 0) == first);
	CHECK(pool_next_holder(pool, 0, first) == second);
	CHECK(!pool_next_holder(pool, 0, second));
	CHECK(!pool_next_holder(pool, 1, alone));
	first->state = LEASE_ENDED;
	CHECK(pool_holder(pool, 0) == second);
	second->state = LEASE_ENDED;
	CHECK(!pool_holder(pool, 0));
	CHECK(!pool_next_holder(pool, 0, first)); /* also when that one holds it no more */
}

static void the_queue_is_by_niceness_and_turn(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(0);
	struct lease **queue = NULL;
	size_t n = 0;

	CHECK_INT(pool_queue(pool, &queue, &n), 0);
	CHECK_INT(n, 0);
	free(queue);
	for (int64_t id = 1; id <= 300; id++) {
		struct lease *lease = add(pool, id, id % 10 ? LEASE_WAITING : LEASE_ENDED);

		if (id % 3 == 0) {
			lease->job = job_new();
			lease->job->nice = (int)(id % 7) - 3;
		}
		lease->turn = id % 4 ? 0 : 1000 - id;
	}
	CHECK_INT(pool_queue(pool, &queue, &n), 0);
	CHECK_INT(n, 270);
	for (size_t i = 0; i < n; i++) {
		CHECK(i == 0 || pool_before(queue[i - 1], queue[i]));
		CHECK_INT(pool_position(pool, queue[i]), i + 1);
	}
	free(queue);
}

static void state_of_a_gpu_in_falling_precedence(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(1);
	struct gpu *gpu = &pool->gpus[0];
	char reason[GPU_REASON_SIZE];
	struct lease *lease;

	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_FREE);
	gpu->processes = calloc(1, sizeof(*gpu->processes));
	gpu->processes->standing = STANDING_ANOTHERS;
	gpu->n_processes = 1;
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_FOREIGN);
	CHECK_STR(reason, "in use without a lease");
	gpu->revoking = 12;
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_FOREIGN);
	CHECK_STR(reason, "processes of lease #12, which has ended, still have it open");
	lease = add(pool, 12, LEASE_ACTIVE);
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_FOREIGN);
	CHECK_STR(reason, "processes of lease #12, which gave it back, still have it open");
	gpu_set_add(&lease->gpus, 0);
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_LEASED);
	gpu->drained = true;
	text_copy(gpu->drain_reason, sizeof(gpu->drain_reason), "fan");
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_DRAINING);
	CHECK_STR(reason, "fan");
	text_copy(gpu->fault, sizeof(gpu->fault), "XID 79");
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_LOST);
	CHECK_STR(reason, "XID 79");
	gpu->fault[0] = '\0';
	gpu->present = false;
	CHECK_INT(pool_gpu_state(pool, 0, reason), GPU_STATE_LOST);
	CHECK(*reason);
}

static void gpus_are_found_by_what_people_type(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(3);

	CHECK_INT(pool_slot_by_uuid(pool, "GPU-2"), 2);
	CHECK_INT(pool_slot_by_uuid(pool, "GPU-9"), -ENOENT);
	CHECK_INT(pool_slot_by_index(pool, 7), -ENOENT);
	/* After a renumbering the one that is there is meant. */
	pool->gpus[0].present = false;
	pool->gpus[2].index = 0;
	CHECK_INT(pool_slot_by_index(pool, 0), 2);
}

static void lists_are_by_index(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(3);
	struct gpu_set set = { 0 };
	char text[GPU_LIST_SIZE];

	pool_format_gpus(pool, &set, text, sizeof(text));
	CHECK_STR(text, "");
	pool->gpus[0].index = 12;
	for (unsigned slot = 0; slot < 3; slot++)
		gpu_set_add(&set, slot);
	pool_format_gpus(pool, &set, text, sizeof(text));
	CHECK_STR(text, "1,2,12");
	pool->gpus[1].index = 9998;
	pool->gpus[2].index = 9999;
	pool_format_gpus(pool, &set, text, sizeof(text));
	CHECK_STR(text, "12,9998,9999");
}

static void a_removed_gpu_leaves_the_sets_right(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(4);
	struct lease *lease = add(pool, 1, LEASE_ACTIVE);

	gpu_set_add(&lease->gpus, 3);
	gpu_set_add(&lease->eligible, 0);
	gpu_set_add(&lease->eligible, 1);
	gpu_set_add(&lease->eligible, 3);
	pool->gpus[0].link[3] = GPU_LINK_NVLINK;
	pool_remove_gpu(pool, 1); /* GPU-3 moves into its slot */
	CHECK_INT(pool->n_gpus, 3);
	CHECK_INT(pool_slot_by_uuid(pool, "GPU-3"), 1);
	CHECK_INT(pool_slot_by_uuid(pool, "GPU-1"), -ENOENT);
	CHECK_INT(gpu_set_count(&lease->gpus), 1);
	CHECK(gpu_set_has(&lease->gpus, 1));
	CHECK_INT(gpu_set_count(&lease->eligible), 2);
	CHECK(gpu_set_has(&lease->eligible, 0) && gpu_set_has(&lease->eligible, 1));
	CHECK_INT(pool->gpus[0].link[1], GPU_LINK_NVLINK);
	pool_remove_gpu(pool, 2); /* the last one */
	CHECK_INT(pool->n_gpus, 2);
	CHECK_INT(gpu_set_count(&lease->eligible), 2);
}

static void there_is_a_limit_of_gpus(void)
{
	_cleanup_(pool_freep) struct pool *pool = new_pool(GPU_MAX);

	CHECK_INT(pool_add_gpu(pool, "GPU-x"), -ENOSPC);
	CHECK_INT(pool_slot_by_uuid(pool, "GPU-255"), 255);
}

int main(void)
{
	TEST(leases_are_found_by_number);
	TEST(the_ended_are_swept_and_the_order_stays);
	TEST(only_those_who_wait_have_a_position);
	TEST(the_holder_is_who_is_active_or_in_grace);
	TEST(who_shares_a_gpu);
	TEST(the_queue_is_by_niceness_and_turn);
	TEST(state_of_a_gpu_in_falling_precedence);
	TEST(gpus_are_found_by_what_people_type);
	TEST(lists_are_by_index);
	TEST(a_removed_gpu_leaves_the_sets_right);
	TEST(there_is_a_limit_of_gpus);
	return tap_done();
}
