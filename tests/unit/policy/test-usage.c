/* SPDX-License-Identifier: MIT */
#include "policy/usage.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

static void put_process(struct gpu *gpu, int64_t lease, int64_t memory_mib)
{
	gpu->processes =
		reallocarray(gpu->processes, gpu->n_processes + 1, sizeof(*gpu->processes));
	assert(gpu->processes);
	gpu->processes[gpu->n_processes++] = (struct gpu_process){
		.lease = lease,
		.standing = lease ? STANDING_LEASE : STANDING_NO_LEASE,
		.memory_mib = memory_mib,
	};
}

static void drop_processes(struct gpu *gpu)
{
	gpu->n_processes = 0;
}

static struct lease *activate(struct pool *pool, enum lease_kind kind, uint64_t gpus)
{
	struct lease *lease = add_active(pool, kind, gpus, TIME_NEVER);

	lease->gid = 100;
	lease->started_us = lease->since_us;
	return lease;
}

static void follow(
	struct usage_book *book, const struct pool *pool, const struct lease *lease, int64_t now_us)
{
	int r = usage_book_follow(book, pool, lease, now_us);

	assert(r == 0);
}

/* Files what is due: its number of rows, and the sums of them. */
struct filed {
	size_t n;
	int64_t held_us, used_us, waits;
	struct usage last;
};

static struct filed file(struct usage_book *book)
{
	struct filed filed = { 0 };

	for (size_t i = 0; i < book->n; i++) {
		if (!usage_span_is_due(&book->spans[i]))
			continue;
		filed.n++;
		filed.last = book->spans[i].row;
		filed.held_us += filed.last.to_us - filed.last.from_us;
		filed.used_us += filed.last.used_us;
		filed.waits += filed.last.waited_us >= 0;
	}
	usage_book_settle(book, true);
	return filed;
}

static void a_lease_from_start_to_end(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(3);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_RUN, 1 | 4);
	struct filed filed;

	lease->submitted_us = NOW - MINUTE;
	follow(&book, pool, lease, NOW + 1);
	CHECK_INT(file(&book).n, 0);
	CHECK_INT(book.n, 2);
	pool->gpus[0].utilization = 50;
	pool->gpus[2].utilization = 0;
	usage_book_sample(&book, pool, NOW, NOW + 10 * SEC);
	follow(&book, pool, lease, NOW + 10 * SEC); /* something else of it has changed */
	CHECK_INT(file(&book).n, 0);
	lease->state = LEASE_GRACE;
	follow(&book, pool, lease, NOW + 11 * SEC);
	CHECK_INT(file(&book).n, 0);
	lease->state = LEASE_ENDED;
	lease->ended_us = NOW + 12 * SEC;
	follow(&book, pool, lease, NOW + 20 * SEC);
	filed = file(&book);
	CHECK_INT(filed.n, 2);
	CHECK_INT(filed.held_us, 24 * SEC);
	CHECK_INT(filed.used_us, 5 * SEC);
	CHECK_INT(filed.waits, 2);
	CHECK_INT(filed.last.lease, lease->id);
	CHECK_INT(filed.last.uid, lease->uid);
	CHECK_INT(filed.last.gid, 100);
	CHECK_INT(filed.last.from_us, NOW);
	CHECK_STR(filed.last.gpu, pool->gpus[2].uuid);
	CHECK_STR(filed.last.model, pool->gpus[2].model);
	CHECK_INT(book.n, 0);
	follow(&book, pool, lease, NOW + 30 * SEC);
	CHECK_INT(book.n, 0);
}

static void waits_are_told_once(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_JOB, 1);
	struct filed filed;

	lease->job = job_new();
	assert(lease->job);
	lease->submitted_us = NOW - HOUR;
	lease->job->begin_us = NOW - MINUTE; /* before that it did not wish to start */
	follow(&book, pool, lease, NOW);
	CHECK_INT(file(&book).n, 0);
	usage_book_cut(&book, NOW, NOW + HOUR);
	filed = file(&book);
	CHECK_INT(filed.n, 1);
	CHECK_INT(filed.last.waited_us, MINUTE);
	usage_book_cut(&book, NOW + HOUR, NOW + 2 * HOUR);
	CHECK_INT(file(&book).last.waited_us, -1);
	/* Queued anew, then it has its turn. */
	lease->state = LEASE_WAITING;
	follow(&book, pool, lease, NOW + 3 * HOUR);
	filed = file(&book);
	CHECK_INT(filed.held_us, HOUR);
	CHECK_INT(book.n, 0);
	lease->state = LEASE_ACTIVE;
	lease->since_us = NOW + 5 * HOUR;
	follow(&book, pool, lease, NOW + 5 * HOUR + 1);
	CHECK_INT(file(&book).n, 0);
	/* Both at once, on the same GPU. */
	lease->since_us = NOW + 6 * HOUR;
	follow(&book, pool, lease, NOW + 6 * HOUR + 1);
	filed = file(&book);
	CHECK_INT(filed.n, 1);
	CHECK_INT(filed.held_us, HOUR);
	CHECK_INT(filed.last.waited_us, -1);
	CHECK_INT(book.n, 1);
	CHECK_INT(book.spans[0].row.from_us, NOW + 6 * HOUR);
}

static void a_shrink_cuts_the_others_too(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_HOLD, 1 | 2);
	struct filed filed;

	follow(&book, pool, lease, NOW);
	file(&book);
	lease->gpus = set_of(2);
	follow(&book, pool, lease, NOW + HOUR);
	filed = file(&book);
	CHECK_INT(filed.n, 2);
	CHECK_INT(filed.held_us, 2 * HOUR);
	CHECK_INT(book.n, 1);
	CHECK_INT(book.spans[0].row.from_us, NOW + HOUR);
	CHECK_STR(book.spans[0].row.gpu, pool->gpus[1].uuid);
}

static void a_gift_is_of_the_other_from_then_on(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_HOLD, 1);
	struct filed filed;
	uid_t giver = lease->uid;

	follow(&book, pool, lease, NOW);
	file(&book);
	lease->uid = 77;
	follow(&book, pool, lease, NOW + HOUR);
	filed = file(&book);
	CHECK_INT(filed.n, 1);
	CHECK_INT(filed.last.uid, giver);
	CHECK_INT(filed.last.to_us, NOW + HOUR);
	CHECK_INT(book.n, 1);
	CHECK_INT(book.spans[0].row.uid, 77);
	CHECK_INT(book.spans[0].row.from_us, NOW + HOUR);
	CHECK_INT(book.spans[0].row.waited_us, -1);
}

static void what_is_not_stored_is_not_lost(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_HOLD, 1 | 2);
	struct filed filed;

	follow(&book, pool, lease, NOW);
	usage_book_settle(&book, false);
	CHECK_INT(book.n, 0);
	follow(&book, pool, lease, NOW);
	usage_book_settle(&book, true);
	CHECK_INT(book.n, 2);
	pool->gpus[0].utilization = 100;
	usage_book_sample(&book, pool, NOW, NOW + HOUR);

	lease->gpus = set_of(1);
	follow(&book, pool, lease, NOW + HOUR);
	usage_book_settle(&book, false);
	lease->gpus = set_of(3);
	usage_book_cut(&book, NOW, NOW + 2 * HOUR);
	usage_book_settle(&book, false);
	CHECK_INT(book.n, 2);
	usage_book_sample(&book, pool, NOW + HOUR, NOW + 2 * HOUR);

	lease->state = LEASE_ENDED;
	lease->ended_us = NOW + 3 * HOUR;
	follow(&book, pool, lease, NOW + 3 * HOUR);
	filed = file(&book);
	CHECK_INT(filed.n, 2);
	CHECK_INT(filed.held_us, 6 * HOUR);
	CHECK_INT(filed.used_us, 2 * HOUR);
	CHECK_INT(filed.waits, 2);
}

static void cuts(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *old = activate(pool, LEASE_HOLD, 1), *young = activate(pool, LEASE_HOLD, 2);
	struct filed filed;

	young->since_us = young->started_us = NOW + HOUR;
	follow(&book, pool, old, NOW);
	follow(&book, pool, young, NOW + HOUR);
	file(&book);
	CHECK(!usage_book_is_old(&book, NOW - 1));
	CHECK(usage_book_is_old(&book, NOW));
	put_process(&pool->gpus[0], old->id, 300);
	pool->gpus[0].utilization = 10;
	usage_book_sample(&book, pool, NOW + HOUR, NOW + HOUR + 10 * SEC);
	usage_book_cut(&book, NOW, NOW + 2 * HOUR);
	filed = file(&book);
	CHECK_INT(filed.n, 1);
	CHECK_INT(filed.held_us, 2 * HOUR);
	CHECK_INT(filed.used_us, SEC);
	CHECK_INT(filed.last.peak_mib, 300);
	CHECK_INT(book.spans[0].row.used_us, 0);
	CHECK_INT(book.spans[0].row.peak_mib, GPU_UNKNOWN);
	/* Twice at the same moment: no empty line. */
	usage_book_cut(&book, NOW + 2 * HOUR, NOW + 2 * HOUR);
	CHECK_INT(file(&book).n, 1);
	usage_book_cut(&book, NOW + 2 * HOUR, NOW + 2 * HOUR);
	CHECK_INT(file(&book).n, 0);
	CHECK_INT(book.n, 2);
}

/* An end that the clock brought while no daemon ran, but before the latest cut. */
static void ends_in_the_past(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_HOLD, 1);
	struct filed filed;

	CHECK_INT(usage_book_take_up(&book, pool, lease, NOW + HOUR), 0);
	CHECK_INT(book.n, 1);
	CHECK_INT(book.spans[0].row.from_us, NOW + HOUR);
	CHECK_INT(book.spans[0].row.waited_us, -1);
	lease->state = LEASE_ENDED;
	lease->ended_us = NOW + MINUTE;
	follow(&book, pool, lease, NOW + 2 * HOUR);
	filed = file(&book);
	CHECK_INT(filed.n, 1);
	CHECK_INT(filed.held_us, 0);
}

static void taken_up_after_a_crash(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_HOLD, 2 | 8);
	struct lease *waiting = add_waiting(pool, 1, 1, HOUR);
	struct filed filed;

	lease->submitted_us = NOW - SEC;
	CHECK_INT(usage_book_take_up(&book, pool, lease, 0), 0);
	CHECK_INT(usage_book_take_up(&book, pool, waiting, 0), 0);
	CHECK_INT(book.n, 2);
	CHECK_INT(book.spans[0].row.waited_us, SEC);
	CHECK_INT(book.spans[1].row.waited_us, SEC);
	/* Another GPU takes the slot of one that is forgotten. */
	pool_remove_gpu(pool, 0);
	CHECK(gpu_set_has(&lease->gpus, 0));
	follow(&book, pool, lease, NOW + MINUTE);
	CHECK_INT(file(&book).n, 0);
	pool->gpus[0].utilization = 100;
	usage_book_sample(&book, pool, NOW, NOW + SEC);
	lease->state = LEASE_ENDED;
	lease->ended_us = NOW + HOUR;
	follow(&book, pool, lease, NOW + HOUR);
	filed = file(&book);
	CHECK_INT(filed.held_us, 2 * HOUR);
	CHECK_INT(filed.used_us, SEC);
}

/* How much of a second a lone lease uses. */
static int64_t used_alone(int utilization, int64_t process_of, bool works)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *lease = activate(pool, LEASE_HOLD, 1);

	follow(&book, pool, lease, NOW);
	file(&book);
	pool->gpus[0].utilization = utilization;
	pool->gpus[0].present = works;
	if (process_of >= 0)
		put_process(&pool->gpus[0], process_of, GPU_UNKNOWN);
	/* What was before it began is not its own. */
	usage_book_sample(&book, pool, NOW - HOUR, NOW + SEC);
	return book.spans[0].row.used_us;
}

static void what_counts_as_used(void)
{
	CHECK_INT(used_alone(40, -1, true), SEC * 40 / 100);
	CHECK_INT(used_alone(40, 1, true), SEC * 40 / 100);
	CHECK_INT(used_alone(40, 0, true), 0); /* by somebody else */
	CHECK_INT(used_alone(0, 1, true), 0);
	CHECK_INT(used_alone(GPU_UNKNOWN, -1, true), 0);
	CHECK_INT(used_alone(GPU_UNKNOWN, 0, true), 0);
	CHECK_INT(used_alone(GPU_UNKNOWN, 1, true), SEC);
	CHECK_INT(used_alone(100, 1, false), 0);
}

static void shared(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	_cleanup_(usage_book_clear) struct usage_book book = { 0 };
	struct lease *leases[3];
	struct gpu *gpu = &pool->gpus[0];

	for (unsigned i = 0; i < ELEMENTSOF(leases); i++) {
		leases[i] = activate(pool, LEASE_JOB, 1);
		follow(&book, pool, leases[i], NOW);
	}
	file(&book);
	gpu->utilization = 80;
	usage_book_sample(&book, pool, NOW, NOW + SEC); /* nobody knows whose it is */
	for (unsigned i = 0; i < ELEMENTSOF(leases); i++)
		CHECK_INT(book.spans[i].row.used_us, 0);
	put_process(gpu, leases[0]->id, 100);
	put_process(gpu, leases[0]->id, 200);
	put_process(gpu, leases[2]->id, GPU_UNKNOWN);
	usage_book_sample(&book, pool, NOW + SEC, NOW + 2 * SEC);
	CHECK_INT(book.spans[0].row.used_us, SEC * 40 / 100);
	CHECK_INT(book.spans[1].row.used_us, 0);
	CHECK_INT(book.spans[2].row.used_us, SEC * 40 / 100);
	CHECK_INT(book.spans[0].row.peak_mib, 300);
	CHECK_INT(book.spans[2].row.peak_mib, GPU_UNKNOWN);
	gpu->utilization = GPU_UNKNOWN;
	usage_book_sample(&book, pool, NOW + 2 * SEC, NOW + 3 * SEC);
	CHECK_INT(book.spans[0].row.used_us, SEC * 90 / 100);
	drop_processes(gpu);
	put_process(gpu, leases[0]->id, 50);
	usage_book_sample(&book, pool, NOW + 3 * SEC, NOW + 4 * SEC);
	CHECK_INT(book.spans[0].row.used_us, SEC * 190 / 100);
	CHECK_INT(book.spans[0].row.peak_mib, 300);
}

int main(void)
{
	TEST(a_lease_from_start_to_end);
	TEST(waits_are_told_once);
	TEST(a_shrink_cuts_the_others_too);
	TEST(a_gift_is_of_the_other_from_then_on);
	TEST(what_is_not_stored_is_not_lost);
	TEST(cuts);
	TEST(ends_in_the_past);
	TEST(taken_up_after_a_crash);
	TEST(what_counts_as_used);
	TEST(shared);
	return tap_done();
}
