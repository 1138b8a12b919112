/* SPDX-License-Identifier: MIT */
#include "policy/idle.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

#define STEP   (5 * SEC) /* between two samples */
#define AFTER  HOUR
#define GRACE  (10 * MINUTE)
#define WINDOW 8 /* samples in which memory is looked at */

static const struct idle_limits limits = {
	.after_us = { [LEASE_RUN] = 2 * AFTER, [LEASE_HOLD] = AFTER },
	.grace_us = GRACE,
};

static int64_t now_us;

/* A GPU that does nothing and tells everything, under a hold. */
static struct pool *idle_pool(unsigned n)
{
	struct pool *pool = pool_of(n);

	now_us = NOW;
	for (unsigned slot = 0; slot < n; slot++) {
		pool->gpus[slot].utilization = 0;
		pool->gpus[slot].memory_used_mib = 500;
	}
	return pool;
}

static void note_all(struct pool *pool)
{
	now_us += STEP;
	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		idle_note(&pool->gpus[slot], now_us);
}

static void put_process(struct gpu *gpu, enum standing standing)
{
	free(gpu->processes);
	gpu->processes = calloc(1, sizeof(*gpu->processes));
	assert(gpu->processes);
	gpu->processes->standing = standing;
	gpu->n_processes = 1;
}

/* Is it warned after so much time with samples? */
static bool is_idle(struct pool *pool, struct lease *lease, int64_t for_us)
{
	bool warned = false;

	for (int64_t end_us = now_us + for_us; now_us < end_us;) {
		note_all(pool);
		warned = warned || idle_judge(pool, lease, &limits, now_us) == IDLE_WARN;
	}
	return warned;
}

/* Everything that a GPU can tell or not tell, in all combinations. */
static void matrix(void)
{
	static const int utilizations[] = { GPU_UNKNOWN, 0, 1, 100 };
	enum memory { UNTOLD, STILL, STEP_ONCE, BLIP, MOVING, MEMORIES };
	enum processes { NONE, OWN, IGNORED, FOREIGN, UNLISTED, OWN_UNLISTED, PROCESSES };

	for (unsigned u = 0; u < ELEMENTSOF(utilizations); u++)
		for (enum memory memory = 0; memory < MEMORIES; memory++)
			for (enum processes who = 0; who < PROCESSES; who++) {
				_cleanup_(pool_freep) struct pool *pool = idle_pool(1);
				struct lease *lease = add_active(pool, LEASE_HOLD, 1, TIME_NEVER);
				struct gpu *gpu = &pool->gpus[0];
				bool own = who == OWN || who == OWN_UNLISTED;
				bool unlisted = who == UNLISTED || who == OWN_UNLISTED;
				bool busy = own || memory == MOVING || utilizations[u] > 0 ||
					    (unlisted && utilizations[u] == GPU_UNKNOWN);
				bool warned = false;

				if (who != NONE && who != UNLISTED)
					put_process(gpu, own              ? STANDING_LEASE
							 : who == IGNORED ? STANDING_IGNORED
									  : STANDING_NO_LEASE);
				gpu->processes_unknown = unlisted;
				gpu->utilization = utilizations[u];
				if (memory == UNTOLD)
					gpu->memory_used_mib = GPU_UNKNOWN;
				for (int i = 0; i < AFTER / STEP + 2; i++) {
					if (memory == MOVING && i % 3 == 0)
						gpu->memory_used_mib++;
					if (memory == STEP_ONCE && i == 99)
						gpu->memory_used_mib = 900;
					if (memory == BLIP && (i == 99 || i == 100))
						gpu->memory_used_mib = i == 99 ? 900 : 500;
					warned = warned || is_idle(pool, lease, STEP);
				}
				CHECK_INT(warned, !busy);
				if (warned == busy)
					printf("# utilisation %d, memory %d, processes %d\n",
						utilizations[u], memory, who);
			}
}

static void times_of_kinds(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(3);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, TIME_NEVER);
	struct lease *run = add_active(pool, LEASE_RUN, 2, TIME_NEVER);
	struct lease *job = add_active(pool, LEASE_JOB, 4, TIME_NEVER);
	struct lease *waiting = add_waiting(pool, 1, 1, HOUR);

	note_all(pool);
	now_us += AFTER - 1;
	CHECK_INT(idle_judge(pool, hold, &limits, now_us), IDLE_NOTHING);
	CHECK_INT(idle_judge(pool, hold, &limits, now_us + 1), IDLE_WARN);
	CHECK_INT(hold->active_us, NOW + STEP);
	CHECK_INT(hold->idle_release_us, now_us + 1 + GRACE);
	CHECK_INT(idle_judge(pool, hold, &limits, now_us + GRACE), IDLE_NOTHING);
	CHECK_INT(idle_judge(pool, hold, &limits, now_us + 1 + GRACE), IDLE_RELEASE);
	/* Until it is done: */
	CHECK_INT(idle_judge(pool, hold, &limits, now_us + 2 * GRACE), IDLE_RELEASE);

	CHECK_INT(idle_judge(pool, run, &limits, now_us + 1), IDLE_NOTHING);
	CHECK_INT(idle_judge(pool, run, &limits, now_us + 1 + AFTER), IDLE_WARN);
	CHECK_INT(idle_judge(pool, job, &limits, now_us + 1000 * HOUR), IDLE_NOTHING);
	CHECK_INT(job->active_us, NOW + STEP);
	CHECK_INT(idle_judge(pool, waiting, &limits, now_us + 1000 * HOUR), IDLE_NOTHING);
	run->state = LEASE_GRACE;
	CHECK_INT(idle_judge(pool, run, &limits, now_us + 1000 * HOUR), IDLE_NOTHING);
}

static void work_takes_the_warning_back(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(1);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, TIME_NEVER);

	CHECK(is_idle(pool, hold, AFTER + 2 * STEP));
	CHECK(hold->idle_release_us != 0);
	pool->gpus[0].utilization = 1;
	note_all(pool);
	CHECK_INT(idle_judge(pool, hold, &limits, now_us), IDLE_NOTHING);
	CHECK_INT(hold->idle_release_us, 0);
	pool->gpus[0].utilization = 0;
	CHECK(!is_idle(pool, hold, AFTER - STEP));
	CHECK(is_idle(pool, hold, 2 * STEP));
}

static void one_busy_gpu_is_enough(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(3);
	struct lease *hold = add_active(pool, LEASE_HOLD, 3, TIME_NEVER);

	pool->gpus[1].utilization = 5;
	CHECK(!is_idle(pool, hold, 2 * AFTER));
	/* It is of somebody else now. */
	hold->gpus = set_of(1);
	CHECK(!is_idle(pool, hold, AFTER - STEP));
	CHECK(is_idle(pool, hold, 2 * STEP));
}

static void what_was_before_the_lease_does_not_count(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(1);
	struct lease *hold;

	note_all(pool);
	now_us += 100 * HOUR;
	hold = add_active(pool, LEASE_HOLD, 1, TIME_NEVER);
	hold->since_us = now_us;
	CHECK(!is_idle(pool, hold, AFTER - STEP));
	CHECK(is_idle(pool, hold, 2 * STEP));
}

static void moves_are_counted_in_a_window(void)
{
	for (int distance = 1; distance < WINDOW; distance++) {
		_cleanup_(pool_freep) struct pool *pool = idle_pool(1);
		struct gpu *gpu = &pool->gpus[0];

		note_all(pool);
		for (int i = 0; i < 3; i++) {
			gpu->memory_used_mib += 100;
			for (int j = 0; j < distance; j++)
				note_all(pool);
		}
		CHECK_INT(gpu->active_us > NOW + STEP, 2 * distance < WINDOW);
	}
}

static void gaps_of_the_memory_are_no_moves(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(1);
	struct gpu *gpu = &pool->gpus[0];

	for (int i = 0; i < 20; i++) {
		gpu->memory_used_mib = i % 2 ? GPU_UNKNOWN : 500;
		note_all(pool);
	}
	CHECK_INT(gpu->active_us, NOW + STEP);
	for (int i = 0; i < 8; i++) {
		gpu->memory_used_mib = i % 2 ? GPU_UNKNOWN : 600 + i;
		note_all(pool);
	}
	CHECK(gpu->active_us > NOW + STEP);
}

static void no_evidence_no_idleness(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(2);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, TIME_NEVER);
	struct lease *lost = add_active(pool, LEASE_HOLD, 2, TIME_NEVER);

	/* No sample yet. */
	CHECK_INT(idle_judge(pool, hold, &limits, NOW + 100 * HOUR), IDLE_NOTHING);
	CHECK_INT(hold->active_us, NOW + 100 * HOUR);
	hold->active_us = 0;

	/* Samples that do not come. */
	CHECK(is_idle(pool, hold, AFTER + 2 * STEP));
	now_us += 10 * AFTER;
	idle_forget(pool, now_us);
	CHECK_INT(idle_judge(pool, hold, &limits, now_us), IDLE_NOTHING);
	CHECK_INT(hold->idle_release_us, 0);
	CHECK(!is_idle(pool, hold, AFTER - STEP));
	CHECK(is_idle(pool, hold, 2 * STEP));

	/* A GPU that is not seen, then comes back. */
	pool->gpus[1].present = false;
	for (int i = 0; i < 2 * AFTER / STEP; i++) {
		now_us += STEP;
		CHECK_INT(idle_judge(pool, lost, &limits, now_us), IDLE_NOTHING);
	}
	pool->gpus[1].present = true;
	text_copy(pool->gpus[1].fault, GPU_REASON_SIZE, "XID 79");
	CHECK(!is_idle(pool, lost, 2 * AFTER));
	pool->gpus[1].fault[0] = '\0';
	CHECK(!is_idle(pool, lost, AFTER - STEP));
	CHECK(is_idle(pool, lost, 2 * STEP));
}

/* It is active without GPUs: its elements are looked at. */
static void an_array_is_never_idle(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	const struct idle_limits of_jobs = { .after_us[LEASE_JOB] = MINUTE };
	struct lease *array = add_job(pool, 1, 1);

	array->state = LEASE_ACTIVE;
	array->since_us = NOW - HOUR;
	array->job->is_array = true;
	CHECK_INT(idle_judge(pool, array, &of_jobs, NOW), IDLE_NOTHING);
	array->job->is_array = false;
	CHECK_INT(idle_judge(pool, array, &of_jobs, NOW), IDLE_WARN);
}

/* One that ends with a process is judged as a run. */
static void what_is_bound_is_as_a_run(void)
{
	_cleanup_(pool_freep) struct pool *pool = idle_pool(1);
	struct lease *hold = add_active(pool, LEASE_HOLD, 1, TIME_NEVER);

	hold->request.bound = BOUND_PROCESS;
	CHECK(!is_idle(pool, hold, AFTER + 2 * STEP));
	CHECK_INT(hold->idle_release_us, 0);
	CHECK(is_idle(pool, hold, AFTER + 2 * STEP));
	CHECK(hold->idle_release_us != 0);
}

int main(void)
{
	TEST(matrix);
	TEST(times_of_kinds);
	TEST(work_takes_the_warning_back);
	TEST(one_busy_gpu_is_enough);
	TEST(what_was_before_the_lease_does_not_count);
	TEST(moves_are_counted_in_a_window);
	TEST(gaps_of_the_memory_are_no_moves);
	TEST(no_evidence_no_idleness);
	TEST(an_array_is_never_idle);
	TEST(what_is_bound_is_as_a_run);
	return tap_done();
}
