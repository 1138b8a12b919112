/* SPDX-License-Identifier: MIT */
/* What every implementation of the store does alike. */
#include "store/store.h"

#include "both.h"

static struct lease *get_lease(struct store *store, const struct pool *pool, int64_t id)
{
	struct lease *lease = NULL;

	CHECK_INT(store->ops->get_lease(store, pool, id, &lease, NULL), 0);
	return lease;
}

static void begins_empty(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = pool_new();
	struct clock_mark mark = { .boot_id = "x" };
	int64_t next_id = 0;

	CHECK_INT(store->ops->load(store, pool, &next_id, &mark, NULL), 0);
	CHECK_INT(next_id, 1);
	CHECK_STR(mark.boot_id, "");
	CHECK_INT(pool->n_gpus, 0);
	CHECK_INT(pool->n_leases, 0);
	CHECK(!get_lease(store, pool, 1));
}

static void check_same(const struct lease *a, const struct lease *b)
{
	CHECK_INT(a->id, b->id);
	CHECK_INT(a->kind, b->kind);
	CHECK_INT(a->state, b->state);
	CHECK_INT(a->end, b->end);
	CHECK_INT(a->uid, b->uid);
	CHECK_INT(a->request.count, b->request.count);
	CHECK(same_text(a->request.gpus, b->request.gpus));
	CHECK(same_text(a->request.types, b->request.types));
	CHECK_INT(a->request.min_memory_mib, b->request.min_memory_mib);
	CHECK_INT(a->request.duration_us, b->request.duration_us);
	CHECK_INT(a->request.wait_us, b->request.wait_us);
	CHECK_INT(a->request.force, b->request.force);
	CHECK(same_text(a->request.note, b->request.note));
	CHECK(same_text(a->request.command, b->request.command));
	CHECK_INT(a->gid, b->gid);
	CHECK_INT(a->turn, b->turn);
	CHECK_INT(a->started_us, b->started_us);
	CHECK(a->request.share_mib == b->request.share_mib);
	CHECK_INT(!a->job, !b->job);
	CHECK_INT(a->submitted_us, b->submitted_us);
	CHECK_INT(a->wait_until_us, b->wait_until_us);
	CHECK_INT(a->since_us, b->since_us);
	CHECK_INT(a->until_us, b->until_us);
	CHECK_INT(a->kill_us, b->kill_us);
	CHECK_INT(a->ended_us, b->ended_us);
	CHECK_INT(a->pid, b->pid);
	CHECK(a->start_ticks == b->start_ticks);
	CHECK(same_text(a->cgroup, b->cgroup));
}

/* Every field its own value, so that no two can be swapped. */
static struct lease *full_lease(void)
{
	struct lease *lease = new_lease(41, LEASE_GRACE);

	lease->kind = LEASE_HOLD;
	lease->end = LEASE_END_ADMIN;
	lease->uid = (uid_t)-2;
	lease->gid = (gid_t)-3;
	lease->turn = 109;
	lease->started_us = 110;
	lease->request = (struct request){
		.count = 2,
		.gpus = strdup("GPU-1,GPU-2"),
		.types = strdup("a100,h100"),
		.min_memory_mib = 81920,
		.duration_us = 101,
		.wait_us = 102,
		.force = true,
		.note = strdup("it's \"mine\"'); DROP TABLE lease; -- %n $1 \xe2\x9c\x93 "
			       "\xf0\x9f\x90\xb1"),
		.command = strdup("python -c 'print(\"\xc3\xa9\")'"),
	};
	lease->submitted_us = 103;
	lease->wait_until_us = 104;
	lease->since_us = 105;
	lease->until_us = 106;
	lease->kill_us = 107;
	lease->ended_us = 108;
	lease->pid = 4194303;
	lease->start_ticks = UINT64_MAX;
	lease->cgroup = strdup("/sys/fs/cgroup/dibs/41");
	lease->attached = true;
	lease->link = &open_store;
	return lease;
}

static void keeps_every_field_of_a_lease(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(3, false), *loaded = NULL;
	_lease_ struct lease *lease = full_lease(), *got = NULL;

	gpu_set_add(&lease->gpus, 1);
	gpu_set_add(&lease->gpus, 2);
	gpu_set_add(&lease->eligible, 0);
	put_lease(store, pool, lease);

	got = get_lease(store, pool, 41);
	CHECK(got != NULL);
	check_same(got, lease);
	CHECK(memcmp(&got->gpus, &lease->gpus, sizeof(got->gpus)) == 0);
	CHECK(gpu_set_empty(&got->eligible));
	CHECK(!got->attached && !got->link);

	loaded = load(store, NULL);
	CHECK_INT(loaded->n_leases, 1);
	check_same(loaded->leases[0], lease);
}

static void keeps_nothing_and_never(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false);
	_lease_ struct lease *lease = new_lease(1, LEASE_WAITING), *got = NULL;

	lease->request.duration_us = lease->request.wait_us = TIME_NEVER;
	put_lease(store, pool, lease);
	got = get_lease(store, pool, 1);
	check_same(got, lease);
	CHECK(got->until_us == TIME_NEVER);
	CHECK(!got->request.note);

	/* "" is not NULL. */
	lease->request.note = strdup("");
	put_lease(store, pool, lease);
	lease_free(got);
	got = get_lease(store, pool, 1);
	CHECK_STR(got->request.note, "");
}

static void keeps_every_word(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false), *loaded = NULL;
	struct event event = { .at_us = 1 };
	struct gpu gpu = { .uuid = "GPU-0" };

	for (int i = 1; i <= LEASE_END_MAX; i++) {
		_lease_ struct lease *lease = new_lease(i, LEASE_WAITING), *got = NULL;

		lease->kind = (enum lease_kind)(i % LEASE_KIND_MAX);
		if (lease->kind == LEASE_JOB)
			add_job(lease);
		lease->state = (enum lease_state)(i % LEASE_STATE_MAX);
		lease->end = (enum lease_end)(i % LEASE_END_MAX);
		put_lease(store, pool, lease);
		got = get_lease(store, pool, i);
		check_same(got, lease);
	}
	begin(store);
	for (event.kind = 0; event.kind < EVENT_KIND_MAX; event.kind++)
		CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	commit(store);
	for (gpu.vendor = 0; gpu.vendor < GPU_VENDOR_MAX; gpu.vendor++) {
		begin(store);
		CHECK_INT(store->ops->put_gpu(store, &gpu, NULL), 0);
		commit(store);
		loaded = pool_free(loaded);
		loaded = load(store, NULL);
		CHECK_INT(loaded->gpus[0].vendor, gpu.vendor);
	}
}

static void replaces_a_lease(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(3, false);
	_lease_ struct lease *lease = full_lease(), *other = new_lease(41, LEASE_ACTIVE),
			     *got = NULL;

	gpu_set_add(&lease->gpus, 0);
	gpu_set_add(&lease->gpus, 1);
	gpu_set_add(&other->gpus, 1);
	gpu_set_add(&other->gpus, 2);
	put_lease(store, pool, lease);
	put_lease(store, pool, other);
	got = get_lease(store, pool, 41);
	check_same(got, other);
	CHECK(memcmp(&got->gpus, &other->gpus, sizeof(got->gpus)) == 0);
}

static void remembers_the_ended_and_never_reuses_their_number(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(1, false), *loaded = NULL;
	_lease_ struct lease *lease = new_lease(7, LEASE_ACTIVE),
			     *waiting = new_lease(3, LEASE_WAITING), *got = NULL;
	int64_t next_id;

	gpu_set_add(&lease->gpus, 0);
	put_lease(store, pool, waiting);
	put_lease(store, pool, lease);
	lease->state = LEASE_ENDED;
	lease->end = LEASE_END_EXITED;
	put_lease(store, pool, lease);

	loaded = load(store, &next_id);
	CHECK_INT(loaded->n_leases, 1);
	CHECK_INT(loaded->leases[0]->id, 3);
	CHECK_INT(next_id, 8);
	got = get_lease(store, pool, 7);
	CHECK_INT(got->end, LEASE_END_EXITED);
	CHECK(gpu_set_has(&got->gpus, 0));
}

static void never_reuses_a_number_that_was_only_journaled(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *loaded = NULL;
	struct event event = { .kind = EVENT_ENDED, .lease = 12 };
	int64_t next_id;

	begin(store);
	CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	commit(store);
	loaded = load(store, &next_id);
	CHECK_INT(next_id, 13);
}

static void loads_by_rising_number(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(0, false), *loaded = NULL;

	begin(store);
	for (int i = 0; i < 101; i++) {
		_lease_ struct lease *lease = new_lease(1 + i * 37 % 101, LEASE_WAITING);

		lease->uid = (uid_t)i;
		CHECK_INT(store->ops->put_lease(store, pool, lease, NULL), 0);
	}
	commit(store);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_leases, 101);
	for (int i = 0; i < 101; i++)
		CHECK_INT(loaded->leases[i]->id, i + 1);
}

static void keeps_every_field_of_a_gpu(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *loaded = NULL;
	const struct gpu *got;
	struct gpu gpu = {
		.uuid = "GPU-0",
		.model = "NVIDIA A100-SXM4-80GB",
		.pci = "00000000:07:00.0",
		.index = 5,
		.minor = GPU_UNKNOWN,
		.memory_mib = 81920,
		.present = true,
		.fault = "XID 79",
		.drained = true,
		.drain_reason = "fan; it's loud",
		.revoking = 12,
		.trusted_since_us = 76,
		.free_since_us = 77,
	};

	for (unsigned i = 0; i < GPU_RECENT_MAX + 5; i++)
		gpu_note_use(&gpu, 1000 + i, 50 + i);
	begin(store);
	CHECK_INT(store->ops->put_gpu(store, &gpu, NULL), 0);
	commit(store);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_gpus, 1);
	got = &loaded->gpus[0];
	CHECK_STR(got->uuid, gpu.uuid);
	CHECK_STR(got->model, gpu.model);
	CHECK_STR(got->pci, gpu.pci);
	CHECK_INT(got->index, 5);
	CHECK_INT(got->minor, GPU_UNKNOWN);
	CHECK_INT(got->memory_mib, 81920);
	CHECK(got->drained);
	CHECK_STR(got->drain_reason, gpu.drain_reason);
	CHECK_INT(got->revoking, 12);
	CHECK_INT(got->trusted_since_us, 76);
	CHECK_INT(got->free_since_us, 77);
	CHECK_INT(got->n_recent, GPU_RECENT_MAX);
	CHECK_INT(gpu_last_use(got, 1000), 0);
	CHECK_INT(gpu_last_use(got, 1036), 86);
	/* Of a sample, not of the store: */
	CHECK(!got->present);
	CHECK_STR(got->fault, "");
	CHECK_INT(got->utilization, GPU_UNKNOWN);

	gpu.n_recent = 1;
	gpu.drained = false;
	begin(store);
	CHECK_INT(store->ops->put_gpu(store, &gpu, NULL), 0);
	commit(store);
	loaded = pool_free(loaded);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_gpus, 1);
	CHECK_INT(loaded->gpus[0].n_recent, 1);
	CHECK(!loaded->gpus[0].drained);
}

static void knows_gpus_by_uuid_not_by_slot(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(4, false), *reversed = new_pool(4, true),
			   *fewer = new_pool(1, false);
	_lease_ struct lease *lease = new_lease(1, LEASE_ACTIVE), *got = NULL, *less = NULL;

	gpu_set_add(&lease->gpus, 0);
	gpu_set_add(&lease->gpus, 1);
	put_lease(store, pool, lease);
	got = get_lease(store, reversed, 1);
	CHECK_INT(gpu_set_count(&got->gpus), 2);
	CHECK(gpu_set_has(&got->gpus, 3) && gpu_set_has(&got->gpus, 2));
	less = get_lease(store, fewer, 1);
	CHECK_INT(gpu_set_count(&less->gpus), 1);
}

struct seen {
	struct event events[8];
	int n, stop_after;
};

static int see(const struct event *event, void *userdata)
{
	struct seen *seen = userdata;

	seen->events[seen->n++] = *event;
	return seen->n == seen->stop_after ? 123 : 0;
}

static void forgets_a_gpu_but_not_who_had_it(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(2, false), *loaded = NULL;
	_lease_ struct lease *lease = new_lease(1, LEASE_ENDED), *got = NULL;
	struct gpu *gone = &pool->gpus[1];

	gpu_note_use(gone, 1000, 5);
	gpu_set_add(&lease->gpus, 1);
	begin(store);
	CHECK_INT(store->ops->put_gpu(store, &pool->gpus[0], NULL), 0);
	CHECK_INT(store->ops->put_gpu(store, gone, NULL), 0);
	CHECK_INT(store->ops->put_lease(store, pool, lease, NULL), 0);
	commit(store);
	begin(store);
	CHECK_INT(store->ops->forget_gpu(store, gone->uuid, NULL), 0);
	store->ops->rollback(store);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_gpus, 2);
	loaded = pool_free(loaded);
	begin(store);
	CHECK_INT(store->ops->forget_gpu(store, gone->uuid, NULL), 0);
	commit(store);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_gpus, 1);
	got = get_lease(store, pool, 1);
	CHECK(got && gpu_set_has(&got->gpus, 1));
}

static void keeps_the_journal_in_order(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	struct event event = { .uid = 1000, .gpu = "GPU-3", .detail = "it's done; 100 %n" };
	struct seen all = { 0 }, two = { 0 }, stopped = { .stop_after = 1 }, none = { 0 };

	begin(store);
	for (int i = 0; i < 10; i++) {
		event.kind = i % 2 ? EVENT_GRANTED : EVENT_ENDED;
		event.lease = i % 2 ? 5 : 0;
		event.at_us = 100 - i;
		event.wall_us = 200 + i;
		CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	}
	event = (struct event){ .kind = EVENT_WARNED, .lease = 5, .uid = EVENT_NOBODY };
	CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	commit(store);

	CHECK_INT(store->ops->events_of_lease(store, 5, 8, see, &all, NULL), 0);
	CHECK_INT(all.n, 6);
	for (int i = 1; i < 6; i++)
		CHECK(all.events[i - 1].id < all.events[i].id);
	CHECK_INT(all.events[0].kind, EVENT_GRANTED);
	CHECK_INT(all.events[0].lease, 5);
	CHECK_INT(all.events[0].at_us, 99);
	CHECK_INT(all.events[0].wall_us, 201);
	CHECK_INT(all.events[0].uid, 1000);
	CHECK_STR(all.events[0].gpu, "GPU-3");
	CHECK_STR(all.events[0].detail, "it's done; 100 %n");
	CHECK_INT(all.events[5].kind, EVENT_WARNED);
	CHECK(all.events[5].uid == EVENT_NOBODY);
	CHECK_STR(all.events[5].gpu, "");

	CHECK_INT(store->ops->events_of_lease(store, 5, 2, see, &two, NULL), 0);
	CHECK_INT(two.n, 2);
	CHECK_INT(two.events[1].id, all.events[5].id);
	CHECK_INT(store->ops->events_of_lease(store, 5, 8, see, &stopped, NULL), 123);
	CHECK_INT(stopped.n, 1);
	CHECK_INT(store->ops->events_of_lease(store, 6, 8, see, &none, NULL), 0);
	CHECK_INT(none.n, 0);
}

static void reads_the_journal_on_from_a_line(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	struct event event = { .kind = EVENT_GRANTED };
	struct seen all = { 0 }, some = { 0 }, of_one = { 0 }, none = { 0 };
	int64_t last = -1;

	CHECK_INT(store->ops->last_event(store, &last, NULL), 0);
	CHECK_INT(last, 0);
	begin(store);
	for (int i = 0; i < 6; i++) {
		event.lease = i % 2 ? 5 : 0;
		CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	}
	commit(store);
	CHECK_INT(store->ops->last_event(store, &last, NULL), 0);
	CHECK_INT(store->ops->events_after(store, 0, 0, 8, see, &all, NULL), 0);
	CHECK_INT(all.n, 6);
	CHECK_INT(all.events[5].id, last);
	CHECK_INT(store->ops->events_after(store, all.events[1].id, 0, 3, see, &some, NULL), 0);
	CHECK_INT(some.n, 3);
	CHECK_INT(some.events[0].id, all.events[2].id);
	CHECK_INT(store->ops->events_after(store, all.events[1].id, 5, 8, see, &of_one, NULL), 0);
	CHECK_INT(of_one.n, 2);
	CHECK_INT(of_one.events[0].id, all.events[3].id);
	CHECK_INT(store->ops->events_after(store, last, 0, 8, see, &none, NULL), 0);
	CHECK_INT(none.n, 0);
}

static void takes_nothing_over_twice(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	int64_t id = -1;

	begin(store);
	CHECK_INT(store->ops->put_import(store, "it's 7", 41, NULL), 0);
	store->ops->rollback(store);
	CHECK_INT(store->ops->find_import(store, "it's 7", &id, NULL), 0);
	CHECK_INT(id, 0);
	begin(store);
	CHECK_INT(store->ops->put_import(store, "it's 7", 42, NULL), 0);
	commit(store);
	begin(store);
	CHECK_INT(store->ops->put_import(store, "it's 7", 43, NULL), -EEXIST);
	store->ops->rollback(store);
	CHECK_INT(store->ops->find_import(store, "it's 7", &id, NULL), 0);
	CHECK_INT(id, 42);
	CHECK_INT(store->ops->put_import(store, "it's 8", 43, NULL), -ECANCELED);
}

static void gives_no_gpu_to_two(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(2, false), *loaded = NULL;
	_lease_ struct lease *first = new_lease(1, LEASE_GRACE),
			     *second = new_lease(2, LEASE_ACTIVE),
			     *third = new_lease(3, LEASE_ENDED);
	struct error err = { 0 };

	gpu_set_add(&first->gpus, 1);
	gpu_set_add(&second->gpus, 0);
	gpu_set_add(&second->gpus, 1);
	gpu_set_add(&third->gpus, 1);
	put_lease(store, pool, first);
	put_lease(store, pool, first); /* again is nobody else */
	put_lease(store, pool, third); /* held it once */

	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, second, &err), -EEXIST);
	CHECK_STR(err.id, "store.held");
	CHECK(strstr(err.text, "GPU-1") != NULL);
	CHECK_INT(store->ops->put_lease(store, pool, first, NULL), -ECANCELED);
	CHECK_INT(store->ops->commit(store, NULL), -ECANCELED);
	store->ops->rollback(store);
	loaded = load(store, NULL);
	CHECK_INT(loaded->n_leases, 1);
	CHECK_INT(loaded->leases[0]->id, 1);
}

static void hands_over_in_one_transaction(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(1, false);
	_lease_ struct lease *first = new_lease(1, LEASE_ACTIVE),
			     *second = new_lease(2, LEASE_ACTIVE);

	gpu_set_add(&first->gpus, 0);
	gpu_set_add(&second->gpus, 0);
	put_lease(store, pool, first);
	first->state = LEASE_ENDED;
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, first, NULL), 0);
	CHECK_INT(store->ops->put_lease(store, pool, second, NULL), 0);
	commit(store);

	/* And it is the second that holds it now. */
	first->state = LEASE_ACTIVE;
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, first, NULL), -EEXIST);
	store->ops->rollback(store);
}

static void gives_gpus_back_and_changes_hands(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(3, false), *loaded = NULL;
	_lease_ struct lease *first = new_lease(1, LEASE_ACTIVE),
			     *second = new_lease(2, LEASE_ACTIVE);

	first->uid = 1000;
	for (unsigned slot = 0; slot < 3; slot++) {
		gpu_set_add(&first->gpus, slot);
		begin(store);
		CHECK_INT(store->ops->put_gpu(store, &pool->gpus[slot], NULL), 0);
		commit(store);
	}
	gpu_set_add(&second->gpus, 1);
	put_lease(store, pool, first);

	/* In one transaction, as it is with somebody who waits for it; then again from the start.
	 */
	for (int again = 0; again < 2; again++) {
		first->uid = 1001;
		gpu_set_remove(&first->gpus, 1);
		begin(store);
		CHECK_INT(store->ops->put_lease(store, pool, first, NULL), 0);
		CHECK_INT(store->ops->put_lease(store, pool, second, NULL), 0);
		if (again)
			commit(store);
		else
			store->ops->rollback(store);
		loaded = pool_free(loaded);
		loaded = load(store, NULL);
		CHECK_INT(loaded->n_leases, again ? 2 : 1);
		CHECK_INT(loaded->leases[0]->uid, again ? 1001 : 1000);
		CHECK_INT(gpu_set_count(&loaded->leases[0]->gpus), again ? 2 : 3);
	}
	CHECK_INT(pool_holder(loaded, 0)->id, 1);
	CHECK_INT(pool_holder(loaded, 1)->id, 2);
	CHECK_INT(pool_holder(loaded, 2)->id, 1);

	/* What it keeps, nobody else gets. */
	gpu_set_add(&second->gpus, 2);
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, second, NULL), -EEXIST);
	store->ops->rollback(store);
}

static void check_override(struct store *store, const char *name, const char *value)
{
	char got[8] = "?";

	CHECK_INT(store->ops->get_override(store, name, got, sizeof(got), NULL), 0);
	CHECK_STR(got, value);
}

static void keeps_what_was_said_at_run_time(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);

	check_override(store, "guard", "");
	begin(store);
	CHECK_INT(store->ops->put_override(store, "guard", "deny", NULL), 0);
	CHECK_INT(store->ops->put_override(store, "other", "it's too long", NULL), 0);
	commit(store);
	check_override(store, "guard", "deny");
	check_override(store, "other", "it's to");

	begin(store);
	CHECK_INT(store->ops->put_override(store, "guard", "off", NULL), 0);
	CHECK_INT(store->ops->put_override(store, "other", NULL, NULL), 0);
	store->ops->rollback(store);
	check_override(store, "guard", "deny");
	check_override(store, "other", "it's to");

	begin(store);
	CHECK_INT(store->ops->put_override(store, "guard", "watch", NULL), 0);
	CHECK_INT(store->ops->put_override(store, "other", NULL, NULL), 0);
	CHECK_INT(store->ops->put_override(store, "never", NULL, NULL), 0);
	commit(store);
	check_override(store, "guard", "watch");
	check_override(store, "other", "");
	CHECK_INT(store->ops->put_override(store, "guard", "off", NULL), -ECANCELED);
	store->ops->rollback(store);
	check_override(store, "guard", "watch");
}

static void rollback_leaves_nothing(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(2, false), *loaded = pool_new();
	_lease_ struct lease *old = full_lease(), *new = new_lease(99, LEASE_ACTIVE),
			     *changed = full_lease();
	struct clock_mark mark = { .boot_id = "before", .offset_us = 1 }, got;
	struct event event = { .kind = EVENT_GRANTED, .lease = 41 };
	struct seen seen = { 0 };
	int64_t next_id;

	gpu_set_add(&old->gpus, 0);
	gpu_set_add(&new->gpus, 0);
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, old, NULL), 0);
	CHECK_INT(store->ops->put_gpu(store, &pool->gpus[0], NULL), 0);
	CHECK_INT(store->ops->put_mark(store, &mark, NULL), 0);
	CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	commit(store);

	/* Twice the same, so that going back takes more than one step. */
	begin(store);
	changed->state = LEASE_ENDED;
	mark.boot_id[0] = 'B';
	pool->gpus[0].drained = true;
	for (int i = 0; i < 2; i++) {
		CHECK_INT(store->ops->put_lease(store, pool, changed, NULL), 0);
		CHECK_INT(store->ops->put_lease(store, pool, new, NULL), 0);
		CHECK_INT(store->ops->put_gpu(store, &pool->gpus[0], NULL), 0);
		CHECK_INT(store->ops->put_gpu(store, &pool->gpus[1], NULL), 0);
		CHECK_INT(store->ops->put_mark(store, &mark, NULL), 0);
		CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
	}
	store->ops->rollback(store);

	CHECK_INT(store->ops->load(store, loaded, &next_id, &got, NULL), 0);
	CHECK_INT(next_id, 42);
	CHECK_STR(got.boot_id, "before");
	CHECK_INT(loaded->n_gpus, 1);
	CHECK(!loaded->gpus[0].drained);
	CHECK_INT(loaded->n_leases, 1);
	check_same(loaded->leases[0], old);
	CHECK_INT(gpu_set_count(&loaded->leases[0]->gpus), 1);
	CHECK_INT(store->ops->events_of_lease(store, 41, 8, see, &seen, NULL), 0);
	CHECK_INT(seen.n, 1);

	/* Its GPU is still held, and the store still works. */
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, new, NULL), -EEXIST);
	store->ops->rollback(store);
	gpu_set_remove(&new->gpus, 0);
	gpu_set_add(&new->gpus, 1);
	put_lease(store, pool, new);
}

static void keeps_the_mark(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = pool_new();
	struct clock_mark mark = {
		.boot_id = "01234567-89ab-cdef-0123-456789abcdef",
		.offset_us = -5,
		.ledger_us = INT64_MAX - 1,
		.wall_us = 3,
	}, got;
	int64_t next_id;

	for (int i = 0; i < 2; i++) {
		mark.wall_us++;
		begin(store);
		CHECK_INT(store->ops->put_mark(store, &mark, NULL), 0);
		commit(store);
	}
	CHECK_INT(store->ops->load(store, pool, &next_id, &got, NULL), 0);
	CHECK_STR(got.boot_id, mark.boot_id);
	CHECK_INT(got.offset_us, -5);
	CHECK_INT(got.ledger_us, INT64_MAX - 1);
	CHECK_INT(got.wall_us, 5);
}

/* A journal line that was stored with the mark may stand for it. */
static void keeps_a_mark_with_journal_lines(void)
{
	enum { SECOND = 1000000 };
	static const struct {
		const char *boot_id;
		int64_t mark_us, event_us, least_us;
	} steps[] = {
		{ "a", 10 * SECOND, 0, 10 * SECOND },
		{ "a", 20 * SECOND, 20 * SECOND - 9, 19 * SECOND },
		{ "a", 30 * SECOND, 30 * SECOND + 9, 30 * SECOND },
		{ "a", 40 * SECOND, 0, 40 * SECOND },
		{ "a", 50 * SECOND, 15 * SECOND, 50 * SECOND }, /* about the past */
		{ "b", 60 * SECOND, 60 * SECOND - 9, 60 * SECOND },
		{ "b", 70 * SECOND, 70 * SECOND, 70 * SECOND },
	};
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);

	for (unsigned i = 0; i < ELEMENTSOF(steps); i++) {
		struct event event = { .kind = EVENT_GRANTED, .at_us = steps[i].event_us };
		struct clock_mark mark = { .ledger_us = steps[i].mark_us }, got;
		_pool_ struct pool *pool = pool_new();
		int64_t next_id;

		text_copy(mark.boot_id, sizeof(mark.boot_id), steps[i].boot_id);
		mark.offset_us = steps[i].boot_id[0];
		mark.wall_us = mark.ledger_us + 7;
		event.wall_us = event.at_us + 7;
		begin(store);
		CHECK_INT(store->ops->put_mark(store, &mark, NULL), 0);
		if (event.at_us != 0)
			CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
		if (i % 2 == 1) { /* as if it had not been there */
			store->ops->rollback(store);
			begin(store);
			CHECK_INT(store->ops->put_mark(store, &mark, NULL), 0);
			if (event.at_us != 0)
				CHECK_INT(store->ops->add_event(store, &event, NULL), 0);
		}
		commit(store);

		CHECK_INT(store->ops->load(store, pool, &next_id, &got, NULL), 0);
		CHECK_STR(got.boot_id, steps[i].boot_id);
		CHECK_INT(got.offset_us, steps[i].boot_id[0]);
		CHECK(got.ledger_us >= steps[i].least_us);
		CHECK_INT(got.wall_us, got.ledger_us + 7);
	}
}

static void writes_only_inside_a_transaction(void)
{
	_directory_ char *directory = new_directory();
	_store_ struct store *store = new_store(directory);
	_pool_ struct pool *pool = new_pool(1, false);
	_lease_ struct lease *lease = new_lease(1, LEASE_WAITING);
	struct clock_mark mark = { 0 };
	struct event event = { 0 };

	CHECK_INT(store->ops->put_lease(store, pool, lease, NULL), -ECANCELED);
	store->ops->rollback(store);
	CHECK_INT(store->ops->put_gpu(store, &pool->gpus[0], NULL), -ECANCELED);
	store->ops->rollback(store);
	CHECK_INT(store->ops->put_mark(store, &mark, NULL), -ECANCELED);
	store->ops->rollback(store);
	CHECK_INT(store->ops->add_event(store, &event, NULL), -ECANCELED);
	store->ops->rollback(store);
	CHECK_INT(store->ops->commit(store, NULL), -ECANCELED);
	store->ops->rollback(store);
	put_lease(store, pool, lease);
}

static void all_of(void)
{
	TEST(begins_empty);
	TEST(keeps_every_field_of_a_lease);
	TEST(keeps_nothing_and_never);
	TEST(keeps_every_word);
	TEST(replaces_a_lease);
	TEST(remembers_the_ended_and_never_reuses_their_number);
	TEST(never_reuses_a_number_that_was_only_journaled);
	TEST(loads_by_rising_number);
	TEST(keeps_every_field_of_a_gpu);
	TEST(knows_gpus_by_uuid_not_by_slot);
	TEST(reads_the_journal_on_from_a_line);
	TEST(takes_nothing_over_twice);
	TEST(forgets_a_gpu_but_not_who_had_it);
	TEST(keeps_the_journal_in_order);
	TEST(gives_no_gpu_to_two);
	TEST(hands_over_in_one_transaction);
	TEST(gives_gpus_back_and_changes_hands);
	TEST(keeps_what_was_said_at_run_time);
	TEST(rollback_leaves_nothing);
	TEST(keeps_the_mark);
	TEST(keeps_a_mark_with_journal_lines);
	TEST(writes_only_inside_a_transaction);
}

int main(void)
{
	return test_both(all_of);
}
