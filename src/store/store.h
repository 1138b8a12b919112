/* SPDX-License-Identifier: MIT */
/*
 * What must outlive the daemon: leases, GPUs, journal, clock. One table of functions, several
 * implementations; the same tests run on all of them.
 *
 * Writes happen between begin and commit; when commit returns 0 they are on disk
 * (synchronous=FULL). Any failure of a write or of commit means that nothing since begin was kept:
 * call rollback, then go back to what load gives; until then, and outside a transaction, writes and
 * commit are refused with -ECANCELED. All functions return 0 or a negative errno with err filled;
 * -EUCLEAN means that the database is damaged, -ENOSPC that the disk is full, -EROFS/-EACCES that
 * it cannot be written, -EBUSY that another program has it, -EINVAL that a record breaks a rule of
 * the schema, -EIO the rest. One thread.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "model/event.h"
#include "model/pool.h"
#include "model/usage.h"

struct store;

#define ORIGIN_MAX 200

struct store_ops {
	void (*close)(struct store *store); /* NULL-safe */

	int (*begin)(struct store *store, struct error *err);
	int (*commit)(struct store *store, struct error *err);
	void (*rollback)(struct store *store);

	/* Fills an empty pool: all GPUs ever seen that are not forgotten (not present, their
	 * decisions and history), and all leases that have not ended, by rising id, with gpus
	 * filled and eligible left empty; jobs without their spec. *ret_next_id is larger than
	 * every id ever stored or journaled. mark->boot_id is empty if there never was one. */
	int (*load)(struct store *store, struct pool *pool, int64_t *ret_next_id,
		struct clock_mark *ret_mark, struct error *err);

	/* Inserts or replaces; GPU sets are stored by UUID, looked up in pool. An ended lease stays
	 * as history. A GPU that another stored lease holds is refused with -EEXIST: the last line
	 * of defence against a double grant. Leases with shares may be on one GPU together, if the
	 * sum of their shares is not more than its stored memory; what is more, and any share of a
	 * GPU whose memory is not known, is -EEXIST, too. A second lease for one element of an
	 * array is -EINVAL. A lease has a job just if its kind says so. Within a transaction put
	 * the leases that ended before those that gave GPUs back, and these before those that
	 * start. A lease that holds GPUs may change its uid, and give GPUs back. */
	int (*put_lease)(struct store *store, const struct pool *pool, const struct lease *lease,
		struct error *err);

	/* The spec of a job (see model/job.h), stored with its lease by put_lease when job->spec is
	 * there; kept until forget_spec. *ret is the caller's; NULL (and 0): there is none. */
	int (*get_spec)(
		struct store *store, int64_t id, char **ret, size_t *ret_size, struct error *err);
	int (*forget_spec)(struct store *store, int64_t id, struct error *err);

	/* The lease of an element that was started, also an ended one: *ret_id, 0 = there is none.
	 */
	int (*find_element)(struct store *store, int64_t array, int64_t index, int64_t *ret_id,
		struct error *err);

	/* What was taken over from another tool: origin (at most ORIGIN_MAX bytes) is what the
	 * record is called there, lease what it became. Put once, else -EEXIST. find gives 0 in
	 * *ret_id for what is not there; so it outlives the lease, which may be pruned. */
	int (*put_import)(
		struct store *store, const char *origin, int64_t lease, struct error *err);
	int (*find_import)(
		struct store *store, const char *origin, int64_t *ret_id, struct error *err);

	/* Appends to the account of what was held and used. */
	int (*add_usage)(struct store *store, const struct usage *usage, struct error *err);

	/* What was held between since_us and until_us, also in part, by rising rowid after *cursor
	 * (0: from the start): looks at limit rows at most (>= 1), calls fn for those of them, and
	 * moves *cursor. Returns 1 if there may be more, else 0; what fn returns if that is
	 * negative. */
	int (*usage_between)(struct store *store, int64_t since_us, int64_t until_us,
		int64_t *cursor, unsigned limit,
		int (*fn)(const struct usage *usage, void *userdata), void *userdata,
		struct error *err);

	/* All rows of one lease, summed up: *ret has its ids, from_us the earliest, to_us the
	 * latest, and an empty gpu; used_us is the sum and peak_mib the largest. *ret_held_us is
	 * the sum of to_us - from_us, so GPU time. uid and gid are those of who had it last, model
	 * is empty, waited_us that of its first row. No row: all 0, peak_mib GPU_UNKNOWN. */
	int (*usage_of_lease)(struct store *store, int64_t id, struct usage *ret,
		int64_t *ret_held_us, struct error *err);

	/* Ended leases by falling id below before_id (0: from the newest), of uid ((uid_t)-1: of
	 * all) and not ended before since_us: calls fn for at most limit, as load makes them; stops
	 * if fn returns nonzero and returns that. */
	int (*history)(struct store *store, const struct pool *pool, int64_t before_id, uid_t uid,
		int64_t since_us, unsigned limit,
		int (*fn)(const struct lease *lease, void *userdata), void *userdata,
		struct error *err);

	/* Deletes at most limit each of journal lines, usage and leases (with their jobs) that
	 * ended before before_us. The newest journal line stays, as do all of leases that have not
	 * ended, and those by which load knows the largest number that was ever given; an array
	 * goes after its elements; a line that was added after a younger one goes after that.
	 * *ret_more: there is more to delete. Inside a transaction. */
	int (*prune)(struct store *store, int64_t before_us, unsigned limit, bool *ret_more,
		struct error *err);

	/* Identity, decisions and history of one GPU. */
	int (*put_gpu)(struct store *store, const struct gpu *gpu, struct error *err);

	/* A GPU that is not there any more: load leaves it out from now on. Leases keep naming it.
	 */
	int (*forget_gpu)(struct store *store, const char *uuid, struct error *err);

	/* What an administrator said at run time, above the configuration; value NULL: takes that
	 * back. */
	int (*put_override)(
		struct store *store, const char *name, const char *value, struct error *err);

	/* The value, "" if there is none; cut if dst is too small. */
	int (*get_override)(
		struct store *store, const char *name, char *dst, size_t size, struct error *err);

	/* Where the clock is. The two times that load gives may be those of a journal line of the
	 * same transaction instead, if they are not more than a second older. */
	int (*put_mark)(struct store *store, const struct clock_mark *mark, struct error *err);

	/* Appends to the journal; the store gives the id. */
	int (*add_event)(struct store *store, const struct event *event, struct error *err);

	/* One lease, also an ended one: a new object in *ret_lease (NULL if there is none). UUIDs
	 * that pool does not know are left out of gpus. */
	int (*get_lease)(struct store *store, const struct pool *pool, int64_t id,
		struct lease **ret_lease, struct error *err);

	/* The number of the newest event; 0 = there is none. */
	int (*last_event)(struct store *store, int64_t *ret_id, struct error *err);

	/* Calls fn for each event with a number above after, by rising number, at most limit; of
	 * one lease, unless that is 0. Stops if fn returns nonzero and returns that. */
	int (*events_after)(struct store *store, int64_t after, int64_t lease, unsigned limit,
		int (*fn)(const struct event *event, void *userdata), void *userdata,
		struct error *err);

	/* Calls fn for each event of a lease, oldest first, at most limit (the newest ones); stops
	 * if fn returns nonzero and returns that. */
	int (*events_of_lease)(struct store *store, int64_t id, unsigned limit,
		int (*fn)(const struct event *event, void *userdata), void *userdata,
		struct error *err);
};

/* Every implementation embeds this first. */
struct store {
	const struct store_ops *ops;
};

/* directory/dibs.db, made with mode 0600 and migrated if needed (a copy stays in dibs.db.vN).
 * Refuses
 * (-EUCLEAN) a damaged file, naming it and leaving it as it is; refuses (-EPROTO) a schema newer
 * than this program knows, (-ELOOP) a symbolic link, (-EBUSY) a second user. */
int store_open_sqlite(const char *directory, struct store **ret, struct error *err);

/* Nothing outlives the process. For tests and simulations. */
int store_open_memory(struct store **ret, struct error *err);

static inline void store_closep(struct store **store)
{
	if (*store)
		(*store)->ops->close(*store);
}
