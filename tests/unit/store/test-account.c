/* SPDX-License-Identifier: MIT */
/* The account, and what is kept of the past: every implementation does it alike. */
#include "store/store.h"

#include "both.h"

/* The account */

static struct usage new_usage(int64_t lease, int64_t from_us, int64_t to_us)
{
	return (struct usage){ .lease = lease,
		.kind = LEASE_JOB,
		.uid = 1000,
		.gid = 1001,
		.gpu = "GPU-0",
		.model = "A100",
		.from_us = from_us,
		.to_us = to_us,
		.peak_mib = GPU_UNKNOWN,
		.waited_us = -1 };
}

static void add_usage(struct store *store, struct usage usage)
{
	begin(store);
	CHECK_INT(store->ops->add_usage(store, &usage, NULL), 0);
	commit(store);
}

struct account {
	struct usage first;
	char leases[64]; /* of what was seen, as text */
	int n, result;
};

static int account(const struct usage *usage, void *userdata)
{
	struct account *a = userdata;
	size_t length = strlen(a->leases);

	if (a->n++ == 0)
		a->first = *usage;
	snprintf(a->leases + length, sizeof(a->leases) - length, "%d", (int)usage->lease);
	return a->result;
}

/* In pages of that size; says the numbers of leases. */
static void check_between(
	struct store *store, int64_t since_us, int64_t until_us, const char *leases)
{
	for (unsigned limit = 1; limit < 12; limit++) {
		struct account seen = { 0 };
		int64_t cursor = 0, last = 0;
		int r;

		do {
			int before = seen.n;

			r = store->ops->usage_between(
				store, since_us, until_us, &cursor, limit, account, &seen, NULL);
			CHECK(seen.n - before <= (int)limit);
			CHECK(r == 0 || cursor > last);
			last = cursor;
		} while (r == 1);
		CHECK_INT(r, 0);
		CHECK_STR(seen.leases, leases);
	}
}

static void keeps_every_field_of_usage(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	struct usage usage = new_usage(41, 301, 302);
	struct account seen = { 0 };
	int64_t cursor = 0;

	usage.uid = (uid_t)-2;
	usage.gid = (gid_t)-3;
	usage.used_us = 303;
	usage.peak_mib = 304;
	usage.waited_us = 305;
	for (usage.kind = 0; usage.kind < LEASE_KIND_MAX; usage.kind++)
		add_usage(store, usage);
	CHECK_INT(store->ops->usage_between(store, 0, 400, &cursor, 9, account, &seen, NULL), 0);
	CHECK_INT(seen.n, LEASE_KIND_MAX);
	CHECK_INT(seen.first.kind, 0);
	CHECK_INT(seen.first.lease, 41);
	CHECK_INT(seen.first.uid, (uid_t)-2);
	CHECK_INT(seen.first.gid, (gid_t)-3);
	CHECK_STR(seen.first.gpu, "GPU-0");
	CHECK_STR(seen.first.model, "A100");
	CHECK_INT(seen.first.from_us, 301);
	CHECK_INT(seen.first.to_us, 302);
	CHECK_INT(seen.first.used_us, 303);
	CHECK_INT(seen.first.peak_mib, 304);
	CHECK_INT(seen.first.waited_us, 305);
}

static void cuts_the_account_at_both_ends(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	struct usage usage = new_usage(1, 0, 0);

	check_between(store, 0, INT64_MAX, "");
	add_usage(store, new_usage(1, 10, 20));
	add_usage(store, new_usage(2, 10, 30));
	add_usage(store, new_usage(3, 12, 18)); /* told late */
	add_usage(store, new_usage(4, 20, 40));
	add_usage(store, new_usage(5, 40, 50));
	add_usage(store, new_usage(6, 41, 45));
	add_usage(store, new_usage(7, 0, 60)); /* and begun long before those around it */
	add_usage(store, new_usage(8, 70, 80));
	begin(store);
	CHECK_INT(store->ops->add_usage(store, &usage, NULL), 0);
	store->ops->rollback(store);
	CHECK_INT(store->ops->add_usage(store, &usage, NULL), -ECANCELED);
	store->ops->rollback(store);

	check_between(store, 0, INT64_MAX, "12345678");
	check_between(store, 0, 10, "7");
	check_between(store, 0, 11, "127");
	check_between(store, 17, 19, "1237");
	check_between(store, 18, 20, "127");
	check_between(store, 20, 40, "247");
	check_between(store, 30, 41, "457");
	check_between(store, 44, 45, "567");
	check_between(store, 50, 51, "7");
	check_between(store, 60, 99, "8");
	check_between(store, 60, 70, "");
	check_between(store, 80, 99, "");
}

static void stops_adding_up_when_told(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	struct account seen = { .result = -ENOMEM };
	int64_t cursor = 0;

	for (int i = 1; i < 4; i++)
		add_usage(store, new_usage(i, 10, 20));
	CHECK_INT(
		store->ops->usage_between(store, 0, 99, &cursor, 9, account, &seen, NULL), -ENOMEM);
	CHECK_INT(seen.n, 1);
	CHECK_INT(cursor, 0);
}

static void sums_up_one_lease(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	struct usage usage = new_usage(7, 100, 200), sum;
	int64_t held_us = -1;

	CHECK_INT(store->ops->usage_of_lease(store, 7, &sum, &held_us, NULL), 0);
	CHECK_INT(sum.lease, 0);
	CHECK_INT(sum.peak_mib, GPU_UNKNOWN);
	CHECK_INT(held_us, 0);

	usage.used_us = 50;
	usage.waited_us = 33;
	add_usage(store, usage);
	add_usage(store, new_usage(8, 0, 999));
	usage = new_usage(7, 100, 210);
	usage.used_us = 1;
	usage.peak_mib = 4000;
	usage.uid = 1002;
	add_usage(store, usage);
	usage = new_usage(7, 90, 95);
	usage.peak_mib = 300;
	add_usage(store, usage);

	CHECK_INT(store->ops->usage_of_lease(store, 7, &sum, &held_us, NULL), 0);
	CHECK_INT(sum.lease, 7);
	CHECK_INT(sum.kind, LEASE_JOB);
	CHECK_INT(sum.uid, 1000);
	CHECK_INT(sum.gid, 1001);
	CHECK_STR(sum.gpu, "");
	CHECK_INT(sum.from_us, 90);
	CHECK_INT(sum.to_us, 210);
	CHECK_INT(sum.used_us, 51);
	CHECK_INT(sum.peak_mib, 4000);
	CHECK_INT(sum.waited_us, 33);
	CHECK_INT(held_us, 100 + 110 + 5);
}

/* The past */

static void put_ended(struct store *store, int64_t id, uid_t uid, int64_t ended_us)
{
	_pool_ struct pool *pool = new_pool(0, false);
	_lease_ struct lease *lease = new_lease(id, ended_us > 0 ? LEASE_ENDED : LEASE_WAITING);

	lease->uid = uid;
	lease->ended_us = ended_us;
	if (id % 2)
		add_job(lease);
	put_lease(store, pool, lease);
}

struct past {
	char ids[64];
	int64_t last;
	int n, stop_after;
};

static int see(const struct lease *lease, void *userdata)
{
	struct past *past = userdata;
	size_t length = strlen(past->ids);

	CHECK_INT(lease->state, LEASE_ENDED);
	CHECK_INT(!lease->job, lease->id % 2 == 0);
	snprintf(past->ids + length, sizeof(past->ids) - length, "%d ", (int)lease->id);
	past->last = lease->id;
	return ++past->n == past->stop_after ? 123 : 0;
}

/* In pages of any size. */
static void check_history(struct store *store, uid_t uid, int64_t since_us, const char *ids)
{
	_pool_ struct pool *pool = new_pool(0, false);

	for (unsigned limit = 1; limit < 10; limit++) {
		struct past past = { 0 };
		int before;

		do {
			before = past.n;
			CHECK_INT(store->ops->history(store, pool, past.last, uid, since_us, limit,
					  see, &past, NULL),
				0);
			CHECK(past.n - before <= (int)limit);
		} while (past.n > before);
		CHECK_STR(past.ids, ids);
	}
}

static void tells_what_ended(void)
{
	enum { ALICE = 1000, BOB, ALL = -1 };
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);
	struct past stopped = { .stop_after = 2 };

	check_history(store, (uid_t)ALL, 0, "");
	put_ended(store, 1, ALICE, 50);
	put_ended(store, 2, BOB, 20);
	put_ended(store, 3, ALICE, 0);
	put_ended(store, 4, ALICE, 40);
	put_ended(store, 5, BOB, 30);
	put_ended(store, 6, BOB, 60);
	check_history(store, (uid_t)ALL, 0, "6 5 4 2 1 ");
	check_history(store, (uid_t)ALL, 40, "6 4 1 ");
	check_history(store, ALICE, 0, "4 1 ");
	check_history(store, ALICE, 41, "1 ");
	check_history(store, BOB, 0, "6 5 2 ");
	check_history(store, BOB, 60, "6 ");
	check_history(store, BOB, 61, "");
	check_history(store, 7, 0, "");
	CHECK_INT(store->ops->history(store, pool, 0, (uid_t)ALL, 0, 9, see, &stopped, NULL), 123);
	CHECK_STR(stopped.ids, "6 5 ");
}

/* One step; with just_try it is rolled back. */
static bool prune(struct store *store, int64_t before_us, unsigned limit, bool just_try)
{
	bool more = false;

	begin(store);
	CHECK_INT(store->ops->prune(store, before_us, limit, &more, NULL), 0);
	if (just_try)
		store->ops->rollback(store);
	else
		commit(store);
	return more;
}

static bool is_there(struct store *store, int64_t id)
{
	_lease_ struct lease *lease = look_up(store, id);

	return lease != NULL;
}

static void forgets_leases_that_ended_long_ago(void)
{
	static const char spec[] = "arg=true\0";
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);
	_lease_ struct lease *first = with_spec(1, spec, sizeof(spec));
	bool more;

	first->state = LEASE_ENDED;
	first->ended_us = 50;
	put_lease(store, pool, first);
	put_ended(store, 2, 0, 20);
	put_ended(store, 3, 0, 0);
	put_ended(store, 4, 0, 40);
	put_ended(store, 5, 0, 30);
	put_ended(store, 6, 0, 60);
	put_ended(store, 7, 0, 10); /* the last number stays */

	CHECK(!prune(store, 20, 10, false));
	check_history(store, (uid_t)-1, 0, "7 6 5 4 2 1 ");
	CHECK(!prune(store, 60, 10, true));
	CHECK(prune(store, 60, 0, false));
	check_history(store, (uid_t)-1, 0, "7 6 5 4 2 1 ");
	check_spec(store, 1, spec, sizeof(spec));
	CHECK(prune(store, 60, 2, false));
	check_history(store, (uid_t)-1, 0, "7 6 5 4 ");
	check_spec(store, 1, NULL, 0);
	CHECK(!prune(store, 60, 2, false));
	check_history(store, (uid_t)-1, 0, "7 6 ");
	CHECK(is_there(store, 3));
	CHECK(!prune(store, INT64_MAX, 2, false));
	check_history(store, (uid_t)-1, 0, "7 ");
	CHECK(is_there(store, 3));
	CHECK_INT(store->ops->prune(store, 1, 1, &more, NULL), -ECANCELED);
}

static void forgets_an_array_after_its_elements(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);

	for (int i = 1; i < 5; i++) {
		_lease_ struct lease *lease = new_lease(i, LEASE_ENDED);
		struct job *job = add_job(lease);

		lease->ended_us = 10;
		job->is_array = i == 1;
		job->array = i == 1 ? 0 : 1;
		job->index = i;
		put_lease(store, pool, lease);
	}
	put_ended(store, 6, 0, 10);
	for (int steps = 0; prune(store, 20, 2, false); steps++) {
		CHECK(steps < 2);
		CHECK(is_there(store, 1) || !is_there(store, 4));
	}
	CHECK(!is_there(store, 1));
	CHECK(is_there(store, 6));
}

static int count_event(const struct event *event, void *userdata)
{
	++*(int *)userdata;
	return 0;
}

static int count_events(struct store *store, int64_t lease)
{
	int n = 0;

	CHECK_INT(store->ops->events_of_lease(store, lease, 99, count_event, &n, NULL), 0);
	return n;
}

static void forgets_old_lines_but_not_of_what_is_open(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	int64_t next_id;

	put_ended(store, 1, 0, 5);
	put_ended(store, 2, 0, 0);
	put_ended(store, 4, 0, 5);
	begin(store);
	for (int i = 0; i < 12; i++) {
		struct event event = { .kind = EVENT_QUEUED, .at_us = i, .lease = 1 + i % 2 };

		CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	}
	for (int i = 0; i < 2; i++) {
		struct event event = { .kind = EVENT_ENDED, .at_us = 12, .lease = i ? 0 : 9 };

		CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	}
	commit(store);

	CHECK(!prune(store, 1, 2, true));
	CHECK_INT(count_events(store, 1), 6);
	CHECK(prune(store, 8, 2, false)); /* of lease 1: 0, 2, 4, 6 */
	CHECK_INT(count_events(store, 1), 4);
	CHECK(!prune(store, 8, 2, false));
	CHECK_INT(count_events(store, 1), 2);
	CHECK(!prune(store, 100, 9, false));
	CHECK_INT(count_events(store, 1), 0);
	CHECK_INT(count_events(store, 2), 6);
	/* The one with the largest number, and the newest. */
	CHECK_INT(count_events(store, 9), 1);
	pool_free(load(store, &next_id));
	CHECK_INT(next_id, 10);
}

static void forgets_old_usage_but_not_of_what_is_open(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);

	put_ended(store, 2, 0, 0);
	add_usage(store, new_usage(1, 0, 10));
	add_usage(store, new_usage(2, 0, 10));
	add_usage(store, new_usage(3, 0, 20));
	add_usage(store, new_usage(4, 0, 15)); /* as old as the one before it */
	add_usage(store, new_usage(5, 0, 30));
	CHECK(!prune(store, 10, 1, false));
	CHECK(!prune(store, 20, 9, true));
	check_between(store, 0, 99, "12345");
	CHECK(!prune(store, 20, 1, false));
	check_between(store, 0, 99, "2345");
	CHECK(prune(store, 21, 1, false));
	check_between(store, 0, 99, "245");
	CHECK(!prune(store, 99, 9, false));
	check_between(store, 0, 99, "2");
	add_usage(store, new_usage(6, 30, 40));
	check_between(store, 9, 99, "26");
	check_between(store, 10, 99, "6");
}

static void all_of(void)
{
	TEST(keeps_every_field_of_usage);
	TEST(cuts_the_account_at_both_ends);
	TEST(stops_adding_up_when_told);
	TEST(sums_up_one_lease);
	TEST(tells_what_ended);
	TEST(forgets_leases_that_ended_long_ago);
	TEST(forgets_an_array_after_its_elements);
	TEST(forgets_old_lines_but_not_of_what_is_open);
	TEST(forgets_old_usage_but_not_of_what_is_open);
}

int main(void)
{
	return test_both(all_of);
}
