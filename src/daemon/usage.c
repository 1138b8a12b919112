/* SPDX-License-Identifier: MIT */
/*
 * Lines are mostly stored together with the change of the lease that closes them. Those that are
 * cut every hour have a transaction of their own, made after a sample: while nothing is held there
 * is nothing to do, and no timer.
 */
#include "daemon/usage.h"

#include <errno.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/batch.h"
#include "daemon/idle.h"
#include "policy/usage.h"

#define CUT_US   (INT64_C(3600) * USEC_PER_SEC)
#define AGAIN_US (60 * USEC_PER_SEC) /* after the store failed */

struct usage_account {
	struct usage_book book;
	int64_t failed_us; /* ledger time when the store failed to take a cut; 0 = it did not */
};

int usage_follow(struct manager *m, const struct lease *lease, struct error *err)
{
	int r = usage_book_follow(&m->usage->book, m->pool, lease, clock_now(&m->clock));

	return r < 0 ? error_errno(err, r, "usage.memory", "cannot keep the account") : 0;
}

int usage_put(struct manager *m, struct error *err)
{
	const struct usage_book *book = &m->usage->book;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < book->n; i++)
		if (usage_span_is_due(&book->spans[i]))
			r = m->store->ops->add_usage(m->store, &book->spans[i].row, err);
	return r;
}

void usage_settle(struct manager *m, bool stored)
{
	usage_book_settle(&m->usage->book, stored);
}

/* Files what is open since before_us, in a transaction of its own. */
static int cut(struct manager *m, int64_t before_us, struct error *err)
{
	const struct store_ops *ops = m->store->ops;
	struct clock_mark mark;
	int r = ops->begin(m->store, err);

	usage_book_cut(&m->usage->book, before_us, clock_now(&m->clock));
	clock_mark(&m->clock, &mark);
	if (r >= 0)
		r = ops->put_mark(m->store, &mark, err);
	if (r >= 0)
		r = usage_put(m, err);
	if (r >= 0)
		r = ops->commit(m->store, err);
	if (r < 0)
		ops->rollback(m->store);
	usage_settle(m, r >= 0);
	return r;
}

void usage_sample(struct manager *m, bool told)
{
	struct usage_account *account = m->usage;
	int64_t now_us = clock_now(&m->clock);
	struct error err = { 0 };

	if (told && now_us - m->sampled_us <= idle_gap_us(m))
		usage_book_sample(&account->book, m->pool, m->sampled_us, now_us);
	if (!usage_book_is_old(&account->book, now_us - CUT_US) || batch_pending(m) ||
		(account->failed_us && now_us < account->failed_us + AGAIN_US))
		return;
	account->failed_us = cut(m, now_us - CUT_US, &err) < 0 ? now_us : 0;
	if (account->failed_us)
		log_warning("%s; what is held is accounted later", err.text);
}

void usage_stop(struct manager *m)
{
	struct error err = { 0 };

	if (m->usage->book.n > 0 && cut(m, TIME_NEVER, &err) < 0)
		log_warning("%s; what was used of late is not in the account", err.text);
}

int usage_open(const struct manager *m, int (*fn)(const struct usage *usage, void *userdata),
	void *userdata)
{
	const struct usage_book *book = &m->usage->book;
	int64_t now_us = clock_now(&m->clock);
	int r = 0;

	for (size_t i = 0; r >= 0 && i < book->n; i++) {
		struct usage row = book->spans[i].row;

		row.to_us = MAX(now_us, row.from_us);
		r = fn(&row, userdata);
	}
	return r;
}

struct sum {
	int64_t lease, held_us, used_us, peak_mib;
};

static int add(const struct usage *usage, void *userdata)
{
	struct sum *sum = userdata;

	if (usage->lease != sum->lease)
		return 0;
	sum->held_us += usage->to_us - usage->from_us;
	sum->used_us += usage->used_us;
	sum->peak_mib = MAX(sum->peak_mib, usage->peak_mib);
	return 0;
}

int usage_show(struct manager *m, const struct lease *lease, json_t *view, struct error *err)
{
	json_t *job = json_object_get(view, "job");
	struct sum sum = { .lease = lease->id };
	struct usage filed;
	int r;

	if (!json_is_object(job))
		return 0;
	r = m->store->ops->usage_of_lease(m->store, lease->id, &filed, &sum.held_us, err);
	if (r < 0)
		return r;
	sum.used_us = filed.used_us;
	sum.peak_mib = filed.peak_mib;
	usage_open(m, add, &sum);
	if (json_object_set_new(job, "held_us", json_integer(sum.held_us)) < 0 ||
		json_object_set_new(job, "used_us", json_integer(sum.used_us)) < 0 ||
		(sum.peak_mib != GPU_UNKNOWN && json_object_set_new(job, "peak_memory_mib",
							json_integer(sum.peak_mib)) < 0))
		return -ENOMEM;
	return 0;
}

static int take_up(struct manager *m, const struct lease *lease, struct error *err)
{
	struct usage filed;
	int64_t held_us;
	int r = m->store->ops->usage_of_lease(m->store, lease->id, &filed, &held_us, err);

	if (r < 0)
		return r;
	r = usage_book_take_up(&m->usage->book, m->pool, lease, filed.to_us);
	return r < 0 ? error_errno(err, r, "usage.memory", "cannot keep the account") : 0;
}

int usage_new(struct manager *m, struct usage_account **ret, struct error *err)
{
	int r = 0;

	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; r >= 0 && i < m->pool->n_leases; i++)
		if (lease_holds(m->pool->leases[i]))
			r = take_up(m, m->pool->leases[i], err);
	return r;
}

struct usage_account *usage_free(struct usage_account *account)
{
	if (!account)
		return NULL;
	usage_book_clear(&account->book);
	free(account);
	return NULL;
}
