/* SPDX-License-Identifier: MIT */
#include "model/gpu.h"

#include "../tap.h"

static void words_go_both_ways(void)
{
	for (enum gpu_vendor v = 0; v < GPU_VENDOR_MAX; v++)
		CHECK_INT(gpu_vendor_from_string(gpu_vendor_to_string(v)), v);
	for (enum gpu_link l = 0; l < GPU_LINK_MAX; l++)
		CHECK_INT(gpu_link_from_string(gpu_link_to_string(l)), l);
	CHECK_INT(gpu_vendor_from_string("matrox"), GPU_VENDOR_INVALID);
	CHECK_INT(gpu_link_from_string(""), GPU_LINK_INVALID);
	for (enum gpu_state s = 0; s < GPU_STATE_MAX; s++)
		CHECK(*gpu_state_to_string(s));
}

static void uses_are_remembered_and_the_oldest_forgotten(void)
{
	struct gpu gpu = { 0 };

	CHECK_INT(gpu_last_use(&gpu, 1000), 0);
	for (uid_t uid = 0; uid < GPU_RECENT_MAX; uid++)
		gpu_note_use(&gpu, uid, 100 + uid);
	gpu_note_use(&gpu, 0, 500); /* again: now the newest */
	CHECK_INT(gpu.n_recent, GPU_RECENT_MAX);
	gpu_note_use(&gpu, 1000, 600);
	CHECK_INT(gpu.n_recent, GPU_RECENT_MAX);
	CHECK_INT(gpu_last_use(&gpu, 1000), 600);
	CHECK_INT(gpu_last_use(&gpu, 0), 500);
	CHECK_INT(gpu_last_use(&gpu, 1), 0);
	CHECK_INT(gpu_last_use(&gpu, 2), 102);
}

static void foreign_is_who_has_no_right(void)
{
	struct gpu_process processes[2] = { { .pid = 1, .lease = 7 }, { .pid = 2 } };
	struct gpu gpu = { .processes = processes, .n_processes = 2 };

	for (enum standing standing = 0; standing < STANDING_MAX; standing++) {
		processes[1].standing = standing;
		CHECK_INT(gpu_is_foreign(&gpu),
			standing != STANDING_LEASE && standing != STANDING_IGNORED);
	}
}

static void healthy_is_present_and_whole_and_wanted(void)
{
	struct gpu gpu = { .present = true };

	CHECK(gpu_is_healthy(&gpu));
	gpu.drained = true;
	CHECK(!gpu_is_healthy(&gpu));
	gpu.drained = false;
	gpu.fault[0] = 'x';
	CHECK(!gpu_is_healthy(&gpu));
	gpu = (struct gpu){ 0 };
	CHECK(!gpu_is_healthy(&gpu));
}

int main(void)
{
	TEST(words_go_both_ways);
	TEST(uses_are_remembered_and_the_oldest_forgotten);
	TEST(foreign_is_who_has_no_right);
	TEST(healthy_is_present_and_whole_and_wanted);
	return tap_done();
}
