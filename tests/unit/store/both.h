/* SPDX-License-Identifier: MIT */
/* What tests of both implementations share: they run once with each. */
#pragma once

#include "fixture.h"

static int (*open_store)(const char *directory, struct store **ret, struct error *err);

static inline int open_memory(const char *directory, struct store **ret, struct error *err)
{
	return store_open_memory(ret, err);
}

static inline struct store *new_store(const char *directory)
{
	struct error err = { 0 };
	struct store *store = NULL;

	if (open_store(directory, &store, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return store;
}

static inline bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Without its GPUs. */
static inline struct lease *look_up(struct store *store, int64_t id)
{
	_pool_ struct pool *pool = new_pool(0, false);
	struct lease *lease = NULL;

	CHECK_INT(store->ops->get_lease(store, pool, id, &lease, NULL), 0);
	return lease;
}

static inline void check_spec(struct store *store, int64_t id, const char *spec, size_t size)
{
	_cleanup_(freep) char *got = NULL;
	size_t got_size = 1;

	CHECK_INT(store->ops->get_spec(store, id, &got, &got_size, NULL), 0);
	CHECK_INT(!got, !spec);
	CHECK_INT(got_size, size);
	CHECK(!got || memcmp(got, spec, size) == 0);
}

static inline struct lease *with_spec(int64_t id, const char *spec, size_t size)
{
	struct lease *lease = new_lease(id, LEASE_WAITING);
	struct job *job = add_job(lease);

	job->spec = malloc(size + 1);
	memcpy(job->spec, spec, size);
	job->spec_size = size;
	return lease;
}

static inline int test_both(void (*all_of)(void))
{
	printf("# memory\n");
	open_store = open_memory;
	all_of();
	printf("# sqlite\n");
	open_store = store_open_sqlite;
	all_of();
	return tap_done();
}
