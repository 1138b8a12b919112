/* SPDX-License-Identifier: MIT */
/* Jobs, shares, the account, and what is kept of the past: every implementation does it alike. */
#include "store/store.h"

#include "fixture.h"

static int (*open_store)(const char *directory, struct store **ret, struct error *err);

static int open_memory(const char *directory, struct store **ret, struct error *err)
{
	return store_open_memory(ret, err);
}

#define _store_ _cleanup_(store_closep)
#define _pool_  _cleanup_(pool_freep)
#define _lease_ _cleanup_(lease_freep)

static struct store *new_store(const char *directory)
{
	struct error err = { 0 };
	struct store *store = NULL;

	if (open_store(directory, &store, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return store;
}

static struct lease *get_lease(struct store *store, int64_t id)
{
	_pool_ struct pool *pool = new_pool(0, false);
	struct lease *lease = NULL;

	CHECK_INT(store->ops->get_lease(store, pool, id, &lease, NULL), 0);
	return lease;
}

/* Jobs */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_same(const struct job *a, const struct job *b)
{
	_cleanup_(freep) char *pending_a = indices_format(&a->pending);
	_cleanup_(freep) char *pending_b = indices_format(&b->pending);

	CHECK_STR(a->name, b->name);
	CHECK_INT(a->on_limit, b->on_limit);
	CHECK_INT(a->grace_us, b->grace_us);
	CHECK_INT(a->warn_signal, b->warn_signal);
	CHECK_INT(a->warn_us, b->warn_us);
	CHECK_INT(a->nice, b->nice);
	CHECK_INT(a->retries, b->retries);
	CHECK_INT(a->n_needs, b->n_needs);
	for (size_t i = 0; i < MIN(a->n_needs, b->n_needs); i++) {
		CHECK_INT(a->needs[i].id, b->needs[i].id);
		CHECK_INT(a->needs[i].on, b->needs[i].on);
	}
	CHECK_INT(a->begin_us, b->begin_us);
	CHECK_INT(a->held, b->held);
	CHECK_STR(pending_a, pending_b);
	CHECK_INT(a->is_array, b->is_array);
	CHECK_INT(a->parallel, b->parallel);
	CHECK_INT(a->n_active, b->n_active);
	CHECK_INT(a->n_ok, b->n_ok);
	CHECK_INT(a->n_failed, b->n_failed);
	CHECK_INT(a->array, b->array);
	CHECK_INT(a->index, b->index);
	CHECK_INT(a->restarts, b->restarts);
	CHECK_INT(a->suspended, b->suspended);
	CHECK_INT(a->then, b->then);
	CHECK_INT(a->warned, b->warned);
	CHECK_INT(a->exit_status, b->exit_status);
	CHECK_INT(a->exit_signal, b->exit_signal);
	CHECK_STR(a->reason, b->reason);
	CHECK(same_text(a->log, b->log));
	CHECK_INT(a->log_offset, b->log_offset);
}

/* Every field its own value, so that no two can be swapped; the flags one after the other. */
static struct lease *full_job(int64_t id, unsigned flag)
{
	struct lease *lease = new_lease(id, LEASE_WAITING);
	struct job *job = add_job(lease);

	job->on_limit = JOB_LIMIT_SUSPEND;
	job->grace_us = 201;
	job->warn_signal = 10;
	job->warn_us = 202;
	job->nice = -100;
	job->retries = 203;
	job->n_needs = JOB_NEEDS_MAX;
	job->needs = calloc(job->n_needs, sizeof(*job->needs));
	for (size_t i = 0; i < job->n_needs; i++)
		job->needs[i] = (struct job_need){ INT64_MAX - (int64_t)i,
			(enum job_need_on)(i % JOB_NEED_ON_MAX) };
	job->begin_us = 204;
	CHECK_INT(indices_parse("0-9999,20001,30000-30007", &job->pending), 0);
	job->parallel = 205;
	job->n_active = 206;
	job->n_ok = 207;
	job->n_failed = 208;
	job->array = 209;
	job->index = 210;
	job->restarts = 211;
	job->then = JOB_THEN_REQUEUE;
	job->exit_status = 212;
	job->exit_signal = 9;
	text_copy(job->reason, sizeof(job->reason), "it's \"out of memory\"'); %n $1");
	job->log = strdup("/home/alice/dibs-41.log");
	job->log_offset = INT64_MAX;
	job->held = flag == 0;
	job->is_array = flag == 1;
	job->suspended = flag == 2;
	job->warned = flag == 3;
	return lease;
}

static void keeps_every_field_of_a_job(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);

	for (unsigned flag = 0; flag < 4; flag++) {
		_lease_ struct lease *lease = full_job(41, flag), *got = NULL;
		_pool_ struct pool *loaded = NULL;

		put_lease(store, pool, lease);
		got = get_lease(store, 41);
		CHECK(got && got->job);
		check_same(got->job, lease->job);
		loaded = load(store, NULL);
		CHECK_INT(loaded->n_leases, 1);
		check_same(loaded->leases[0]->job, lease->job);
	}
}

static void keeps_a_bare_job_and_every_word(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);

	for (int i = 0; i < 3; i++) {
		_lease_ struct lease *lease = new_lease(1, LEASE_WAITING), *got = NULL;
		struct job *job = add_job(lease);

		job->on_limit = (enum job_limit)(i % JOB_LIMIT_MAX);
		job->then = (enum job_then)(i % JOB_THEN_MAX);
		put_lease(store, pool, lease);
		got = get_lease(store, 1);
		check_same(got->job, job);
		CHECK(!got->job->log && !got->job->spec);
	}
}

static void replaces_and_rolls_back_a_job(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);
	_lease_ struct lease *lease = full_job(41, 0), *other = new_lease(41, LEASE_WAITING),
			     *before = NULL, *after = NULL;

	add_job(other);
	put_lease(store, pool, lease);
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, other, NULL), 0);
	store->ops->rollback(store);
	before = get_lease(store, 41);
	check_same(before->job, lease->job);
	put_lease(store, pool, other);
	after = get_lease(store, 41);
	check_same(after->job, other->job);
}

static void loads_what_is_open_of_an_array(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(1, false), *loaded = NULL;
	_lease_ struct lease *array = new_lease(1, LEASE_ACTIVE),
			     *element = new_lease(2, LEASE_ACTIVE),
			     *ended = new_lease(3, LEASE_ENDED);

	add_job(array)->is_array = true;
	add_job(element)->array = 1;
	add_job(ended)->array = 1;
	ended->job->index = 1;
	gpu_set_add(&element->gpus, 0);
	put_lease(store, pool, array);
	put_lease(store, pool, element);
	put_lease(store, pool, ended);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_leases, 2);
	CHECK(loaded->leases[0]->job->is_array);
	CHECK_INT(loaded->leases[1]->job->array, 1);
}

static int64_t find_element(struct store *store, int64_t array, int64_t index)
{
	int64_t id = -1;

	CHECK_INT(store->ops->find_element(store, array, index, &id, NULL), 0);
	return id;
}

static void finds_elements_and_refuses_a_second(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);
	_lease_ struct lease *second = new_lease(30, LEASE_WAITING);
	struct error err = { 0 };

	for (int i = 0; i < 20; i++) {
		_lease_ struct lease *lease =
			new_lease(10 + i, i % 2 ? LEASE_ENDED : LEASE_WAITING);
		struct job *job = add_job(lease);

		job->array = i < 2 ? 0 : 5 + i % 2;
		job->index = i < 2 ? 0 : i;
		put_lease(store, pool, lease);
		put_lease(store, pool, lease); /* again is no second */
	}
	CHECK_INT(find_element(store, 5, 18), 28);
	CHECK_INT(find_element(store, 6, 19), 29);
	CHECK_INT(find_element(store, 6, 18), 0);
	CHECK_INT(find_element(store, 7, 19), 0);
	CHECK_INT(find_element(store, 0, 0), 0);

	add_job(second)->array = 6;
	second->job->index = 19;
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, second, &err), -EINVAL);
	CHECK_STR(err.id, "store.refused");
	CHECK_INT(store->ops->commit(store, NULL), -ECANCELED);
	store->ops->rollback(store);
	CHECK_INT(find_element(store, 6, 19), 29);
}

/* Specs */

#define SPEC_SIZE (192 * 1024)

static void check_spec(struct store *store, int64_t id, const char *spec, size_t size)
{
	_cleanup_(freep) char *got = NULL;
	size_t got_size = 1;

	CHECK_INT(store->ops->get_spec(store, id, &got, &got_size, NULL), 0);
	CHECK_INT(!got, !spec);
	CHECK_INT(got_size, size);
	CHECK(!got || memcmp(got, spec, size) == 0);
}

static struct lease *with_spec(int64_t id, const char *spec, size_t size)
{
	struct lease *lease = new_lease(id, LEASE_WAITING);
	struct job *job = add_job(lease);

	job->spec = malloc(size + 1);
	memcpy(job->spec, spec, size);
	job->spec_size = size;
	return lease;
}

static void keeps_specs_with_any_bytes(void)
{
	static const char small[] = "arg=a\0env=X=\xff\0\0dir=/\0";
	static char large[SPEC_SIZE];
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false), *loaded = NULL;
	_lease_ struct lease *first = with_spec(1, small, sizeof(small)),
			     *second = with_spec(2, large, 0), *third = NULL;

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (char)(i % 251);
	third = with_spec(3, large, sizeof(large));
	put_lease(store, pool, first);
	put_lease(store, pool, second);
	put_lease(store, pool, third);
	check_spec(store, 1, small, sizeof(small));
	check_spec(store, 2, "", 0);
	check_spec(store, 3, large, sizeof(large));
	check_spec(store, 4, NULL, 0);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_leases, 3);
	for (size_t i = 0; i < loaded->n_leases; i++)
		CHECK(!loaded->leases[i]->job->spec);
}

static void keeps_a_spec_until_it_is_forgotten(void)
{
	static const char spec[] = "arg=true\0", other[] = "arg=false\0";
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);
	_lease_ struct lease *lease = with_spec(1, spec, sizeof(spec)),
			     *later = with_spec(1, other, sizeof(other)), *bare = NULL;

	put_lease(store, pool, lease);
	bare = get_lease(store, 1);
	bare->job->restarts = 1;
	put_lease(store, pool, bare); /* without it: it is the same still */
	check_spec(store, 1, spec, sizeof(spec));
	bare->state = LEASE_ENDED;
	put_lease(store, pool, bare);
	check_spec(store, 1, spec, sizeof(spec));

	for (int again = 0; again < 2; again++) {
		begin(store);
		CHECK_INT(store->ops->put_lease(store, pool, later, NULL), 0);
		CHECK_INT(store->ops->forget_spec(store, 1, NULL), 0);
		CHECK_INT(store->ops->forget_spec(store, 7, NULL), 0);
		if (again)
			commit(store);
		else
			store->ops->rollback(store);
		check_spec(store, 1, again ? NULL : spec, again ? 0 : sizeof(spec));
	}
	CHECK_INT(store->ops->forget_spec(store, 1, NULL), -ECANCELED);
}

/* Shares */

/* GPUs with 1000 MiB each; of GPU-3 it is not known, and GPU-4 was never stored. */
static struct pool *put_gpus(struct store *store)
{
	struct pool *pool = new_pool(5, false);

	begin(store);
	for (unsigned slot = 0; slot < 4; slot++) {
		pool->gpus[slot].memory_mib = slot < 3 ? 1000 : GPU_UNKNOWN;
		CHECK_INT(store->ops->put_gpu(store, &pool->gpus[slot], NULL), 0);
	}
	commit(store);
	return pool;
}

/* Puts an active lease; what is refused is rolled back. */
static int put_share(struct store *store, const struct pool *pool, int64_t id, uint64_t share_mib,
	unsigned first, unsigned last)
{
	_lease_ struct lease *lease = new_lease(id, LEASE_ACTIVE);
	struct error err = { 0 };
	int r;

	lease->request.share_mib = share_mib;
	for (unsigned slot = first; slot <= last; slot++)
		gpu_set_add(&lease->gpus, slot);
	begin(store);
	r = store->ops->put_lease(store, pool, lease, &err);
	if (r == 0) {
		commit(store);
		return r;
	}
	CHECK_STR(err.id, "store.held");
	CHECK(strstr(err.text, "GPU-") != NULL);
	CHECK_INT(store->ops->commit(store, NULL), -ECANCELED);
	store->ops->rollback(store);
	return r;
}

static void end(struct store *store, const struct pool *pool, int64_t id)
{
	_lease_ struct lease *lease = get_lease(store, id);

	lease->state = LEASE_ENDED;
	put_lease(store, pool, lease);
}

static void shares_a_gpu_up_to_its_memory(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = put_gpus(store), *loaded = NULL;

	CHECK_INT(put_share(store, pool, 1, 400, 0, 1), 0);
	CHECK_INT(put_share(store, pool, 2, 600, 0, 0), 0); /* just all of it */
	CHECK_INT(put_share(store, pool, 3, 1, 0, 0), -EEXIST);
	CHECK_INT(put_share(store, pool, 3, 601, 1, 1), -EEXIST);
	CHECK_INT(put_share(store, pool, 3, 600, 1, 1), 0);
	CHECK_INT(put_share(store, pool, 4, 1001, 2, 2), -EEXIST);
	CHECK_INT(put_share(store, pool, 4, 1000, 2, 2), 0);
	CHECK_INT(put_share(store, pool, 1, 400, 0, 1), 0); /* again is nobody else */
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_leases, 4);
	CHECK_INT(gpu_set_count(&loaded->leases[0]->gpus), 2);
	CHECK(loaded->leases[0]->request.share_mib == 400);

	end(store, pool, 2);
	CHECK_INT(put_share(store, pool, 5, 601, 0, 0), -EEXIST);
	CHECK_INT(put_share(store, pool, 5, 300, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 6, 300, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 7, 1, 0, 0), -EEXIST);
}

static void gives_no_share_beside_one_who_has_it_alone(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = put_gpus(store);

	CHECK_INT(put_share(store, pool, 1, 0, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 2, 1, 0, 0), -EEXIST);
	CHECK_INT(put_share(store, pool, 2, 1, 1, 1), 0);
	CHECK_INT(put_share(store, pool, 3, 0, 1, 1), -EEXIST);
	CHECK_INT(put_share(store, pool, 3, 0, 1, 2), -EEXIST); /* and nothing of GPU-2 is kept */
	CHECK_INT(put_share(store, pool, 4, 0, 2, 2), 0);
	end(store, pool, 1);
	end(store, pool, 2);
	CHECK_INT(put_share(store, pool, 5, 1000, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 6, 0, 1, 1), 0);
}

static void gives_no_share_of_what_is_not_known(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = put_gpus(store);

	CHECK_INT(put_share(store, pool, 1, 1, 3, 3), -EEXIST);
	CHECK_INT(put_share(store, pool, 1, 1, 4, 4), -EEXIST);
	CHECK_INT(put_share(store, pool, 1, 0, 3, 4), 0);
}

static void changes_a_share(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = put_gpus(store);

	CHECK_INT(put_share(store, pool, 1, 600, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 2, 400, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 1, 601, 0, 0), -EEXIST);
	CHECK_INT(put_share(store, pool, 1, 0, 0, 0), -EEXIST);
	CHECK_INT(put_share(store, pool, 1, 500, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 2, 500, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 3, 1, 0, 0), -EEXIST);
	end(store, pool, 2);
	CHECK_INT(put_share(store, pool, 1, 0, 0, 0), 0);
	CHECK_INT(put_share(store, pool, 2, 1, 0, 0), -EEXIST);

	/* A card that has less than it had: who is on it stays. */
	CHECK_INT(put_share(store, pool, 4, 900, 1, 1), 0);
	pool->gpus[1].memory_mib = 800;
	begin(store);
	CHECK_INT(store->ops->put_gpu(store, &pool->gpus[1], NULL), 0);
	commit(store);
	CHECK_INT(put_share(store, pool, 4, 900, 1, 1), 0);
}

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
	_lease_ struct lease *lease = get_lease(store, id);

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
	TEST(keeps_every_field_of_a_job);
	TEST(keeps_a_bare_job_and_every_word);
	TEST(replaces_and_rolls_back_a_job);
	TEST(loads_what_is_open_of_an_array);
	TEST(finds_elements_and_refuses_a_second);
	TEST(keeps_specs_with_any_bytes);
	TEST(keeps_a_spec_until_it_is_forgotten);
	TEST(shares_a_gpu_up_to_its_memory);
	TEST(gives_no_share_beside_one_who_has_it_alone);
	TEST(gives_no_share_of_what_is_not_known);
	TEST(changes_a_share);
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
	printf("# memory\n");
	open_store = open_memory;
	all_of();
	printf("# sqlite\n");
	open_store = store_open_sqlite;
	all_of();
	return tap_done();
}
