/* SPDX-License-Identifier: MIT */
/*
 * What cannot be read is said and left out. Keys are gone through with cursors, in pages, so that a
 * Redis that others work with is not stopped; a cursor that never comes to its end is given up.
 */
#include "import/collect.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"

#define PREFIX      "canhazgpu:"
#define HISTORY     PREFIX "usage_history_sorted"
#define OLD_HISTORY PREFIX "usage_history:*"
#define PAGE        "500"
#define PAGES_MAX   1000000

struct collector {
	struct redis *redis;
	struct plan *plan;
	struct error *err;
};

typedef int page_fn(struct collector *c, const redisReply *page);
typedef int value_fn(struct collector *c, const char *what, const char *text, size_t size);

static int strange(struct collector *c, const char *what)
{
	return error_set(c->err, -EPROTO, "redis",
		"what answers at %s is no Redis: its answer to %s is of another form",
		c->redis->where, what);
}

static int too_much(struct collector *c, int r)
{
	if (r == -ENOMEM)
		return error_set(c->err, r, "import.memory", "out of memory");
	return r < 0 ? error_set(c->err, r, "import.size", "more than %d records", PLAN_RECORDS_MAX)
		     : 0;
}

/* A key of canhazgpu has another type than it gives it: what it should hold is not there. */
static int skip_type(struct collector *c, const char *key, int r)
{
	if (r != -EBADMSG)
		return r;
	reasons_add(&c->plan->skipped, "%s: it is of another type than canhazgpu's", key);
	return 0;
}

/* Calls fn with the value of a key if there is one. */
static int with_value(struct collector *c, const char *key, size_t size, value_fn *fn)
{
	_cleanup_(freeReplyObjectp) redisReply *reply = NULL;
	_cleanup_(freep) char *name = text_format("%.*s", (int)MIN(size, (size_t)200), key);
	int r = name ? redis_call(c->redis, &reply, c->err, "GETRANGE %b 0 %d", key, size,
			       CHG_VALUE_MAX)
		     : too_much(c, -ENOMEM);

	if (r < 0)
		return name ? skip_type(c, name, r) : r;
	if (reply->type != REDIS_REPLY_STRING)
		return strange(c, "GETRANGE");
	if (reply->len > CHG_VALUE_MAX) {
		reasons_add(&c->plan->skipped, "%s: it is longer than a record", name);
		return 0;
	}
	return reply->len > 0 ? fn(c, name, reply->str, reply->len) : 0;
}

static int next_cursor(struct collector *c, const redisReply *reply, uint64_t *cursor)
{
	if (!redis_is_array(reply, 2) || reply->element[0]->type != REDIS_REPLY_STRING ||
		parse_uint(reply->element[0]->str, 0, UINT64_MAX, cursor) < 0 ||
		!redis_is_array(reply->element[1], -1))
		return strange(c, "SCAN");
	for (size_t i = 0; i < reply->element[1]->elements; i++)
		if (reply->element[1]->element[i]->type != REDIS_REPLY_STRING)
			return strange(c, "SCAN");
	return 0;
}

/* Calls fn with each page of what a cursor goes through: strings. zset: the key, or NULL for the
 * keys that match pattern. */
static int each_page(struct collector *c, const char *zset, const char *pattern, page_fn *fn)
{
	uint64_t cursor = 0;

	for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
		_cleanup_(freeReplyObjectp) redisReply *reply = NULL;
		char at[24];
		int r;

		snprintf(at, sizeof(at), "%" PRIu64, cursor);
		r = zset ? redis_call(c->redis, &reply, c->err, "ZSCAN %s %s COUNT " PAGE, zset, at)
			 : redis_call(c->redis, &reply, c->err, "SCAN %s MATCH %s COUNT " PAGE, at,
				   pattern);
		if (r < 0)
			return skip_type(c, zset ? zset : pattern, r);
		r = next_cursor(c, reply, &cursor);
		if (r == 0)
			r = fn(c, reply->element[1]);
		if (r < 0 || cursor == 0)
			return r;
	}
	return error_set(c->err, -EPROTO, "redis", "the Redis at %s does not come to an end",
		c->redis->where);
}

/* --- GPUs --- */

static int take_gpu(struct collector *c, const char *what, const char *text, size_t size)
{
	unsigned index = (unsigned)strtoul(what + strlen(PREFIX "gpu:"), NULL, 10);
	struct chg_record record;
	struct error err = { 0 };

	if (chg_parse_gpu(text, size, &record, &err) < 0) {
		reasons_add(&c->plan->skipped, "%s: %s", what, err.text);
		return 0;
	}
	return too_much(c, plan_gpu(c->plan, index, &record));
}

static int count_gpus(struct collector *c, uint64_t *ret)
{
	_cleanup_(freeReplyObjectp) redisReply *reply = NULL;
	int r = redis_call(c->redis, &reply, c->err, "GET " PREFIX "gpu_count");

	if (r < 0)
		return r;
	if (reply->type == REDIS_REPLY_NIL)
		return error_set(c->err, -ENOENT, "redis",
			"there is nothing of canhazgpu in this database of the Redis at %s; see "
			"--db",
			c->redis->where);
	if (reply->type != REDIS_REPLY_STRING || parse_uint(reply->str, 0, GPU_MAX, ret) < 0)
		return error_set(c->err, -EINVAL, "redis",
			"canhazgpu:gpu_count in the Redis at %s is no number of GPUs (up to %d)",
			c->redis->where, GPU_MAX);
	return 0;
}

static int collect_gpus(struct collector *c)
{
	uint64_t n = 0;
	int r = count_gpus(c, &n);

	for (unsigned i = 0; r == 0 && i < n; i++) {
		char key[48];

		snprintf(key, sizeof(key), PREFIX "gpu:%u", i);
		r = with_value(c, key, strlen(key), take_gpu);
	}
	return r;
}

/* --- history --- */

static int take_usage(struct collector *c, const char *what, const char *text, size_t size)
{
	struct chg_record record;
	struct error err = { 0 };

	if (chg_parse_usage(text, size, &record, &err) < 0) {
		reasons_add(&c->plan->skipped, "a record of the history: %s", err.text);
		return 0;
	}
	return too_much(c, plan_usage(c->plan, &record));
}

/* Members, each before its score. */
static int take_members(struct collector *c, const redisReply *page)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i + 1 < page->elements; i += 2)
		r = take_usage(c, HISTORY, page->element[i]->str, page->element[i]->len);
	return r;
}

static int take_keys(struct collector *c, const redisReply *page)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < page->elements; i++)
		r = with_value(c, page->element[i]->str, page->element[i]->len, take_usage);
	return r;
}

/* --- who waits --- */

static int take_waiter(struct collector *c, const char *what, const char *text, size_t size)
{
	struct chg_waiter waiter;
	struct error err = { 0 };

	if (chg_parse_waiter(text, size, &waiter, &err) < 0)
		reasons_add(&c->plan->skipped, "%.100s: %s", what, err.text);
	else
		reasons_add(&c->plan->waiting,
			"%s waits for %u GPU%s; to ask again: dibs %s -g %u%s", waiter.user,
			waiter.n_gpus, waiter.n_gpus == 1 ? "" : "s",
			waiter.kind == LEASE_HOLD ? "reserve" : "run", waiter.n_gpus,
			waiter.kind == LEASE_HOLD ? "" : " -- COMMAND");
	return 0;
}

static int take_waiters(struct collector *c, const redisReply *page)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i + 1 < page->elements; i += 2) {
		_cleanup_(freep) char *key =
			text_format(PREFIX "queue:entry:%.200s", page->element[i]->str);

		r = key ? with_value(c, key, strlen(key), take_waiter) : too_much(c, -ENOMEM);
	}
	return r;
}

int collect(struct redis *redis, struct plan *plan, struct error *err)
{
	struct collector c = { redis, plan, err };
	int r = collect_gpus(&c);

	if (r == 0)
		r = each_page(&c, HISTORY, NULL, take_members);
	if (r == 0)
		r = each_page(&c, NULL, OLD_HISTORY, take_keys);
	if (r == 0)
		r = each_page(&c, PREFIX "queue", NULL, take_waiters);
	if (r == 0)
		plan_sort(plan);
	return r;
}
