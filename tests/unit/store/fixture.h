/* SPDX-License-Identifier: MIT */
/* What the store tests share: a directory that vanishes, records, and transactions that must
 * work. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "../tap.h"
#include "base/text.h"
#include "store/store.h"

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* Removes the directory and the string. */
static inline void remove_directoryp(char **path)
{
	nftw(*path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(*path);
}

#define _directory_ _cleanup_(remove_directoryp)
#define _store_     _cleanup_(store_closep)
#define _pool_      _cleanup_(pool_freep)
#define _lease_     _cleanup_(lease_freep)

static inline char *new_directory(void)
{
	char *path = text_format("%s/test-store-XXXXXX", getenv("TMPDIR") ?: "/tmp");

	if (!path || !mkdtemp(path))
		abort();
	return path;
}

static inline void begin(struct store *store)
{
	CHECK_INT(store->ops->begin(store, NULL), 0);
}

static inline void commit(struct store *store)
{
	struct error err = { 0 };

	CHECK_INT(store->ops->commit(store, &err), 0);
	if (err.id)
		printf("# %s: %s\n", err.id, err.text);
}

static inline void put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease)
{
	begin(store);
	CHECK_INT(store->ops->put_lease(store, pool, lease, NULL), 0);
	commit(store);
}

/* A pool of n GPUs "GPU-0" ..., in a direction that tells slots and UUIDs apart. */
static inline struct pool *new_pool(int n, bool backwards)
{
	struct pool *pool = pool_new();
	char uuid[GPU_UUID_SIZE];

	for (int i = 0; pool && i < n; i++) {
		snprintf(uuid, sizeof(uuid), "GPU-%d", backwards ? n - 1 - i : i);
		pool_add_gpu(pool, uuid);
	}
	return pool;
}

static inline struct lease *new_lease(int64_t id, enum lease_state state)
{
	struct lease *lease = lease_new();

	if (!lease)
		abort();
	lease->id = id;
	lease->state = state;
	lease->request.count = 1;
	return lease;
}

/* Makes a job of it. */
static inline struct job *add_job(struct lease *lease)
{
	lease->kind = LEASE_JOB;
	lease->job = job_new();
	if (!lease->job || !(lease->job->name = strdup("train")))
		abort();
	return lease->job;
}

static inline struct pool *load(struct store *store, int64_t *ret_next_id)
{
	struct pool *pool = pool_new();
	struct clock_mark mark;
	int64_t next_id = -1;

	CHECK_INT(store->ops->load(store, pool, &next_id, &mark, NULL), 0);
	if (ret_next_id)
		*ret_next_id = next_id;
	return pool;
}
