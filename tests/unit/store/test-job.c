/* SPDX-License-Identifier: MIT */
/* Jobs and shares: every implementation does it alike. */
#include "store/store.h"

#include "both.h"

/* Jobs */

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
		got = look_up(store, 41);
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
		got = look_up(store, 1);
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
	before = look_up(store, 41);
	check_same(before->job, lease->job);
	put_lease(store, pool, other);
	after = look_up(store, 41);
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
	bare = look_up(store, 1);
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
	_lease_ struct lease *lease = look_up(store, id);

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
}

int main(void)
{
	return test_both(all_of);
}
