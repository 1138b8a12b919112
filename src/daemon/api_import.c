/* SPDX-License-Identifier: MIT */
/*
 * What another tool knew becomes leases: those that ended with a line of the account for each GPU,
 * of which nobody measured how it was used; those that go on as holds from now, and what they had
 * before as a lease that ended now.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "daemon/lock_files.h"
#include "daemon/watch.h"
#include "model/usage.h"

#define RECORDS_MAX 500

struct import_parameters {
	json_t *records;
};

static const struct field import_fields[] = {
	{ "records", FIELD_OBJECTS, offsetof(struct import_parameters, records), .required = true,
		.max = RECORDS_MAX },
};

struct record {
	const char *origin, *kind, *note;
	int64_t uid, since, until; /* wall clock */
	json_t *gpus;
	bool active;
};

#define AT(member) offsetof(struct record, member)
static const struct field record_fields[] = {
	{ "origin", FIELD_STRING, AT(origin), .required = true, .min = 1, .max = ORIGIN_MAX },
	{ "kind", FIELD_STRING, AT(kind), .required = true, .max = 16 },
	{ "uid", FIELD_INT, AT(uid), .required = true, .max = UINT32_MAX - 1 },
	{ "gpus", FIELD_INTS, AT(gpus), .required = true, .max = INT32_MAX },
	{ "since", FIELD_INT, AT(since), .required = true, .min = 1, .max = TIME_NEVER - 1 },
	{ "until", FIELD_INT, AT(until), .required = true, .min = 1, .max = TIME_NEVER - 1 },
	{ "active", FIELD_BOOL, AT(active), .required = true },
	{ "note", FIELD_STRING, AT(note), .max = REQUEST_NOTE_MAX },
};
#undef AT

/* What came of the records of one call. */
struct import {
	struct manager *m;
	int64_t now_us;
	json_t *skipped;
	unsigned imported, known, holds;
};

static _printf_(3, 4) void skip(
	struct import *import, const struct record *record, const char *fmt, ...)
{
	char reason[ERROR_TEXT_SIZE];
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	text = text_format("%s: %s", record->origin, reason);
	if (text)
		text_sanitize(text);
	json_array_append_new(import->skipped, json_string(text));
}

/* The GPUs by their indices. False: skipped. */
static bool find_gpus(struct import *import, const struct record *record, struct gpu_set *ret)
{
	json_t *index;
	size_t i;

	*ret = (struct gpu_set){ 0 };
	json_array_foreach (record->gpus, i, index) {
		int slot = pool_slot_by_index(import->m->pool, (int)json_integer_value(index));

		if (slot < 0) {
			skip(import, record, "there is no GPU %" JSON_INTEGER_FORMAT,
				json_integer_value(index));
			return false;
		}
		gpu_set_add(ret, (unsigned)slot);
	}
	if (gpu_set_empty(ret))
		skip(import, record, "it names no GPU");
	return !gpu_set_empty(ret);
}

/* May a hold start on these GPUs now? False: skipped. */
static bool check_free(
	struct import *import, const struct record *record, const struct gpu_set *gpus)
{
	const struct pool *pool = import->m->pool;

	gpu_set_foreach (slot, gpus) {
		const struct lease *holder = pool_holder(pool, slot);
		const struct gpu *gpu = &pool->gpus[slot];

		if (!holder && !gpu->revoking && gpu->present)
			continue;
		if (holder)
			skip(import, record, "GPU %d is leased already (%s #%" PRId64 ", uid %u)",
				gpu->index, lease_kind_to_string(holder->kind), holder->id,
				(unsigned)holder->uid);
		else
			skip(import, record, "GPU %d is not to be had at the moment", gpu->index);
		return false;
	}
	return true;
}

/* A lease as the record has it, not in the pool yet. NULL without memory. */
static struct lease *make(
	struct import *import, const struct record *record, const struct gpu_set *gpus)
{
	_cleanup_(lease_freep) struct lease *lease = lease_new();

	if (!lease)
		return NULL;
	lease->id = lease->turn = import->m->next_id;
	lease->kind = lease_kind_from_string(record->kind);
	lease->uid = (uid_t)record->uid;
	lease->gid = (gid_t)-1;
	lease->request.count = gpu_set_count(gpus);
	lease->request.duration_us = TIME_NEVER;
	lease->request.wait_us = TIME_NEVER;
	lease->eligible = *gpus;
	if (record->note && !(lease->request.note = strdup(record->note)))
		return NULL;
	if (record->note)
		text_sanitize(lease->request.note);
	return TAKE_PTR(lease);
}

/* Puts it into the pool. Without memory pool and store would be apart: ends the daemon. */
static struct lease *add(
	struct import *import, const struct record *record, const struct gpu_set *gpus)
{
	struct lease *lease = make(import, record, gpus);

	if (!lease || watch_new(import->m, lease) < 0 || pool_add(import->m->pool, lease) < 0) {
		log_error("out of memory; leases are safe on disk");
		abort();
	}
	import->m->next_id++;
	return lease;
}

static void account(struct manager *m, const struct lease *lease)
{
	gpu_set_foreach (slot, &lease->gpus) {
		const struct gpu *gpu = &m->pool->gpus[slot];
		struct usage usage = {
			.lease = lease->id,
			.kind = lease->kind,
			.uid = lease->uid,
			.gid = lease->gid,
			.from_us = lease->since_us,
			.to_us = lease->ended_us,
			.used_us = USAGE_UNKNOWN,
			.peak_mib = GPU_UNKNOWN,
			.waited_us = -1,
		};

		text_copy(usage.gpu, sizeof(usage.gpu), gpu->uuid);
		text_copy(usage.model, sizeof(usage.model), gpu->model);
		batch_usage(m, &usage);
	}
}

/* Times are ledger times from here on. */
static void add_ended(struct import *import, const struct record *record,
	const struct gpu_set *gpus, int64_t since_us, int64_t until_us)
{
	struct lease *lease = add(import, record, gpus);

	lease->state = LEASE_ENDED;
	lease->end = lease->kind == LEASE_RUN ? LEASE_END_EXITED : LEASE_END_RELEASED;
	lease->gpus = *gpus;
	lease->submitted_us = lease->since_us = lease->started_us = since_us;
	lease->ended_us = until_us;
	watch_of(lease)->stored = true; /* as one of which nothing is left but the record */
	batch_touch(import->m, lease);
	batch_import(import->m, record->origin, lease->id);
	account(import->m, lease);
}

static void add_hold(struct import *import, const struct record *record, const struct gpu_set *gpus,
	int64_t until_us)
{
	struct lease *lease = add(import, record, gpus);

	lease->submitted_us = import->now_us;
	lease->request.duration_us = until_us - import->now_us;
	lifecycle_grant(import->m, lease, gpus);
	import->holds++;
}

static void take_over(struct import *import, const struct record *record)
{
	int64_t offset_us = clock_to_wall_offset(&import->m->clock);
	int64_t since_us = record->since - offset_us, until_us = record->until - offset_us;
	bool goes_on = record->active && until_us > import->now_us;
	struct gpu_set gpus;

	if (!find_gpus(import, record, &gpus))
		return;
	if (since_us <= 0 || since_us >= MIN(until_us, import->now_us))
		return skip(import, record, "its times make no sense");
	if (!record->active && until_us > import->now_us)
		return skip(import, record, "it says that it ended in the future");
	if (goes_on && strcmp(record->kind, "hold") != 0)
		return skip(import, record, "only a hold can go on");
	if (goes_on && !check_free(import, record, &gpus))
		return;
	if (goes_on && !lock_files_claim(import->m, NULL, &gpus))
		return skip(import, record, "somebody has locked it in %s",
			import->m->config->lock_directory);
	if (goes_on)
		add_hold(import, record, &gpus, until_us);
	add_ended(import, record, &gpus, since_us, MIN(until_us, import->now_us));
	import->imported++;
}

/* 1: it was taken over before, or is about to be. */
static int is_known(struct manager *m, const char *origin, struct error *err)
{
	int64_t id = 0;
	int r;

	if (batch_has_import(m, origin))
		return 1;
	r = m->store->ops->find_import(m->store, origin, &id, err);
	return r < 0 ? r : id != 0;
}

/* -EINVAL: the sentence is in err. */
static int decode(json_t *object, struct record *record, struct error *err)
{
	const char *name;
	int r = fields_decode(record_fields, ELEMENTSOF(record_fields), object, record, &name, err);
	enum lease_kind kind;

	if (r < 0)
		return r;
	kind = lease_kind_from_string(record->kind);
	if (kind != LEASE_RUN && kind != LEASE_HOLD)
		return error_set(err, -EINVAL, "import.kind", "kind must be run or hold");
	return 0;
}

static int import(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct import_parameters *p = parameters;
	struct import import = { .m = m, .now_us = clock_now(&m->clock) };
	struct record records[RECORDS_MAX] = { 0 };
	bool known[RECORDS_MAX];
	size_t n = json_array_size(p->records);

	/* All are looked at before the first is taken over. */
	for (size_t i = 0; i < n; i++) {
		int r = decode(json_array_get(p->records, i), &records[i], err);

		if (r == -EINVAL) {
			struct verdict v = verdict_make(
				VERDICT_INVALID, "import.record", "record %zu: %s", i, err->text);

			connection_refuse(c, &v);
			return 0;
		}
		r = r < 0 ? r : is_known(m, records[i].origin, err);
		if (r < 0)
			return r;
		known[i] = r > 0;
	}
	import.skipped = json_array();
	for (size_t i = 0; i < n; i++) {
		if (known[i] || batch_has_import(m, records[i].origin))
			import.known++;
		else
			take_over(&import, &records[i]);
	}
	if (import.imported > 0) {
		_cleanup_(freep) char *detail = text_format(
			"%u records, %u of them holds that go on", import.imported, import.holds);

		batch_event(m, EVENT_IMPORTED, 0, c->uid, NULL, detail);
	}
	connection_reply(c, json_pack("{s:i, s:i, s:o}", "imported", (int)import.imported, "known",
				    (int)import.known, "skipped", import.skipped));
	return 0;
}

const struct method api_import_methods[] = {
	{ "org.dibs.Import", true, true, import_fields, ELEMENTSOF(import_fields),
		sizeof(struct import_parameters), NULL, import },
	{ 0 },
};
