/* SPDX-License-Identifier: MIT */
/*
 * A request that waits for what can never be blocks its user for ever, so every condition is
 * checked against the GPUs that exist, in the order in which people give them: which GPUs, how
 * many, for how long, of what kind; last come the limits of number, which may change by tomorrow.
 * The first that fails makes the sentence. What was typed is shown cut and sanitized: it may hold
 * anything.
 */
#include "policy/admit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "base/text.h"

#define SHOWN_SIZE 64

static const char *shown(char dst[SHOWN_SIZE], const char *typed)
{
	text_copy(dst, SHOWN_SIZE, typed);
	text_sanitize(dst);
	return dst;
}

/* "this machine has 0-7": the indices in use, or that there are none. */
static struct verdict no_such_gpu(const struct pool *pool, const char *typed)
{
	char list[GPU_LIST_SIZE], name[SHOWN_SIZE];
	struct gpu_set all = { 0 };
	int lowest = INT32_MAX, highest = -1;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		gpu_set_add(&all, slot);
		lowest = MIN(lowest, pool->gpus[slot].index);
		highest = MAX(highest, pool->gpus[slot].index);
	}
	if (pool->n_gpus == 0)
		snprintf(list, sizeof(list), "no GPUs");
	else if (highest - lowest + 1 == (int)pool->n_gpus && highest > lowest)
		snprintf(list, sizeof(list), "%d-%d", lowest, highest);
	else
		pool_format_gpus(pool, &all, list, sizeof(list));
	return verdict_make(VERDICT_INVALID, "request.unknown-gpu",
		"GPU %s does not exist; this machine has %s", shown(name, typed), list);
}

/* Finds the GPU that people call name. */
static struct verdict resolve_one(const struct pool *pool, const char *name, unsigned *ret_slot)
{
	char text[SHOWN_SIZE];
	struct gpu_set found = { 0 };
	uint64_t index;
	int r = parse_uint(name, 0, INT32_MAX, &index);

	if (*name == '\0')
		return verdict_make(VERDICT_INVALID, "request.empty-gpu",
			"the list of GPUs has an empty place; write it like 0,3");
	if (r != -EINVAL) {
		int slot = r < 0 ? r : pool_slot_by_index(pool, (int)index);

		if (slot < 0)
			return no_such_gpu(pool, name);
		*ret_slot = (unsigned)slot;
		return verdict_ok();
	}
	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		if (strcasecmp(pool->gpus[slot].uuid, name) == 0) {
			*ret_slot = slot;
			return verdict_ok();
		}
		if (strncasecmp(pool->gpus[slot].uuid, name, strlen(name)) == 0)
			gpu_set_add(&found, slot);
	}
	if (gpu_set_empty(&found))
		return no_such_gpu(pool, name);
	if (gpu_set_count(&found) > 1)
		return verdict_make(VERDICT_INVALID, "request.ambiguous-gpu",
			"'%s' is the beginning of %u GPUs; type more of it", shown(text, name),
			gpu_set_count(&found));
	*ret_slot = gpu_set_next(&found, 0);
	return verdict_ok();
}

/* Adds uuid to the list in dst, which has room for it; returns the new length. */
static size_t append(char *dst, size_t length, const char *uuid)
{
	if (length)
		dst[length++] = ',';
	memcpy(dst + length, uuid, strlen(uuid) + 1);
	return length + strlen(uuid);
}

struct verdict admit_resolve(const struct pool *pool, const char *typed, char **ret_uuids)
{
	_cleanup_(freep) char *copy = strdup(typed);
	_cleanup_(freep) char *uuids = malloc((size_t)GPU_UUID_SIZE * (pool->n_gpus + 1));
	struct gpu_set listed = { 0 };
	char *cursor = copy;
	size_t length = 0;

	*ret_uuids = NULL;
	if (!copy || !uuids)
		return verdict_ok();
	for (const char *name; (name = text_next(&cursor));) {
		unsigned slot = 0;
		struct verdict v = resolve_one(pool, name, &slot);

		if (v.kind != VERDICT_OK)
			return v;
		if (gpu_set_has(&listed, slot))
			return verdict_make(VERDICT_INVALID, "request.gpu-twice",
				"GPU %d is listed twice", pool->gpus[slot].index);
		gpu_set_add(&listed, slot);
		length = append(uuids, length, pool->gpus[slot].uuid);
	}
	*ret_uuids = TAKE_PTR(uuids);
	return verdict_ok();
}

/* Takes the next piece of a comma-separated list that must not be written to. Returns its length,
 * or -1 at the end. */
static int next_piece(const char **cursor, const char **ret)
{
	size_t n;

	if (!*cursor)
		return -1;
	n = strcspn(*cursor, ",");
	*ret = *cursor;
	*cursor = (*cursor)[n] ? *cursor + n + 1 : NULL;
	return (int)n;
}

/* Is part, of n > 0 characters, somewhere in model, in any case? */
static bool is_part_of(const char *model, const char *part, int n)
{
	for (; *model; model++)
		if (strncasecmp(model, part, (size_t)n) == 0)
			return n > 0;
	return false;
}

static bool is_of_type(const struct gpu *gpu, const char *types)
{
	const char *part;

	for (int n; (n = next_piece(&types, &part)) >= 0;)
		if (is_part_of(gpu->model, part, n))
			return true;
	return false;
}

static bool is_listed(const struct gpu *gpu, const char *uuids)
{
	const char *uuid;

	for (int n; (n = next_piece(&uuids, &uuid)) >= 0;)
		if (strlen(gpu->uuid) == (size_t)n && strncasecmp(gpu->uuid, uuid, (size_t)n) == 0)
			return true;
	return false;
}

/* What a card must have in all: also a share is not of more than one card. */
static uint64_t least_memory(const struct request *request)
{
	return MAX(request->min_memory_mib, request->share_mib);
}

static bool has_memory(const struct gpu *gpu, uint64_t min_memory_mib)
{
	return min_memory_mib == 0 ||
	       (gpu->memory_mib > 0 && (uint64_t)gpu->memory_mib >= min_memory_mib);
}

struct gpu_set admit_eligible(const struct pool *pool, const struct request *request)
{
	struct gpu_set eligible = { 0 };

	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		const struct gpu *gpu = &pool->gpus[slot];

		if ((!request->gpus || is_listed(gpu, request->gpus)) &&
			(!request->types || is_of_type(gpu, request->types)) &&
			has_memory(gpu, least_memory(request)))
			gpu_set_add(&eligible, slot);
	}
	return eligible;
}

/* Requests that have not ended, of uid and of everybody. An array is one for everybody, however
 * many of its elements wait for another attempt: nobody keeps others out by those. */
static unsigned count_own(const struct pool *pool, uid_t uid, unsigned *ret_all)
{
	unsigned all = 0, own = 0;

	for (size_t i = 0; i < pool->n_leases; i++) {
		if (pool->leases[i]->state == LEASE_ENDED)
			continue;
		all += !pool->leases[i]->job || !pool->leases[i]->job->array;
		own += pool->leases[i]->uid == uid;
	}
	*ret_all = all;
	return own;
}

struct verdict admit_receiver(const struct pool *pool, const struct admit_limits *limits, uid_t uid)
{
	unsigned all, own = count_own(pool, uid, &all);

	if (own < limits->requests_per_user)
		return verdict_ok();
	return verdict_make(VERDICT_REFUSED, "limit.requests-per-user",
		"uid %u has %u requests here already, at most %u are allowed per user",
		(unsigned)uid, own, limits->requests_per_user);
}

static struct verdict check_limits(
	const struct pool *pool, const struct admit_limits *limits, uid_t uid)
{
	unsigned all, own = count_own(pool, uid, &all);

	if (own >= limits->requests_per_user)
		return verdict_make(VERDICT_REFUSED, "limit.requests-per-user",
			"you have %u requests here, at most %u are allowed per user; release or "
			"cancel some",
			own, limits->requests_per_user);
	if (all >= limits->requests)
		return verdict_make(VERDICT_REFUSED, "limit.requests",
			"all users together have %u requests here, at most %u are allowed; try "
			"again later",
			all, limits->requests);
	return verdict_ok();
}

/* An explicit list: every entry exists, once, and the count agrees. */
static struct verdict check_list(const struct pool *pool, struct request *request)
{
	struct gpu_set listed = { 0 };
	const char *cursor = request->gpus, *piece;
	unsigned n_listed;

	for (int n; (n = next_piece(&cursor, &piece)) >= 0;) {
		char name[GPU_UUID_SIZE];
		int slot;

		snprintf(name, sizeof(name), "%.*s", MIN(n, GPU_UUID_SIZE - 1), piece);
		slot = pool_slot_by_uuid(pool, name);
		if (slot < 0)
			return no_such_gpu(pool, name);
		if (gpu_set_has(&listed, (unsigned)slot))
			return verdict_make(VERDICT_INVALID, "request.gpu-twice",
				"GPU %d is listed twice", pool->gpus[slot].index);
		gpu_set_add(&listed, (unsigned)slot);
	}
	n_listed = gpu_set_count(&listed);
	if (request->count == 0)
		request->count = n_listed;
	if (request->count != n_listed)
		return verdict_make(VERDICT_INVALID, "request.count-mismatch",
			"%u GPUs asked for, but %u %s listed", request->count, n_listed,
			n_listed == 1 ? "is" : "are");
	return verdict_ok();
}

static struct verdict check_count(const struct pool *pool, const struct request *request)
{
	if (request->count == 0)
		return verdict_make(
			VERDICT_INVALID, "request.no-gpus", "0 GPUs asked for; ask for at least 1");
	if (request->count > pool->n_gpus)
		return verdict_make(VERDICT_INVALID, "request.too-many-gpus",
			"%u GPU%s asked for, but this machine has %u", request->count,
			request->count == 1 ? "" : "s", pool->n_gpus);
	return verdict_ok();
}

static bool model_seen_before(const struct pool *pool, unsigned slot)
{
	for (unsigned i = 0; i < slot; i++)
		if (strcmp(pool->gpus[i].model, pool->gpus[slot].model) == 0)
			return true;
	return false;
}

/* "there are A100-SXM4-80GB and V100" */
static struct verdict no_such_type(const struct pool *pool, const char *types)
{
	char models[200] = "", name[SHOWN_SIZE];
	const char *last = NULL;
	size_t n = 0;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++) {
		if (model_seen_before(pool, slot))
			continue;
		if (last && n < sizeof(models))
			n += (size_t)snprintf(
				models + n, sizeof(models) - n, "%s%s", n ? ", " : "", last);
		last = pool->gpus[slot].model;
	}
	if (last && n < sizeof(models))
		snprintf(models + n, sizeof(models) - n, "%s%s", n ? " and " : "", last);
	return verdict_make(VERDICT_INVALID, "request.unknown-type",
		"no GPU of type '%s' here; there are %s", shown(name, types), models);
}

/* The first of the listed GPUs that is not what the other conditions ask for. */
static struct verdict listed_but_wrong(
	const struct pool *pool, const struct request *request, const struct gpu_set *eligible)
{
	const struct request list_only = { .gpus = request->gpus };
	struct gpu_set listed = admit_eligible(pool, &list_only);
	struct gpu_set wrong = gpu_set_minus(listed, eligible);
	const struct gpu *gpu = &pool->gpus[gpu_set_next(&wrong, 0)];
	char name[SHOWN_SIZE];

	if (request->types && !is_of_type(gpu, request->types))
		return verdict_make(VERDICT_INVALID, "request.wrong-type",
			"GPU %d is listed, but is of type %s, not '%s'", gpu->index, gpu->model,
			shown(name, request->types));
	return verdict_make(VERDICT_INVALID, "request.too-little-memory",
		"GPU %d is listed, but is not known to have the %" PRIu64 " MiB asked for",
		gpu->index, least_memory(request));
}

static struct verdict too_few(
	const struct pool *pool, const struct request *request, unsigned n_eligible)
{
	char of_type[SHOWN_SIZE + 16] = "", of_memory[64] = "", name[SHOWN_SIZE];

	if (request->types)
		snprintf(of_type, sizeof(of_type), " of type '%s'", shown(name, request->types));
	if (least_memory(request) > 0)
		snprintf(of_memory, sizeof(of_memory), " with at least %" PRIu64 " MiB of memory",
			least_memory(request));
	return verdict_make(VERDICT_INVALID,
		least_memory(request) > 0 ? "request.too-little-memory" : "request.too-many-gpus",
		"%u GPU%s%s%s asked for, but this machine has %u", request->count,
		request->count == 1 ? "" : "s", of_type, of_memory, n_eligible);
}

static struct verdict check_conditions(
	const struct pool *pool, const struct request *request, struct gpu_set *ret_eligible)
{
	const struct request type_only = { .types = request->types };
	struct gpu_set of_type = admit_eligible(pool, &type_only);
	struct gpu_set eligible = admit_eligible(pool, request);

	if (gpu_set_empty(&of_type))
		return no_such_type(pool, request->types);
	if (gpu_set_count(&eligible) < request->count)
		return request->gpus ? listed_but_wrong(pool, request, &eligible)
				     : too_few(pool, request, gpu_set_count(&eligible));
	*ret_eligible = eligible;
	return verdict_ok();
}

static struct verdict too_long(enum lease_kind kind, int64_t wanted_us, int64_t most_us)
{
	char most[DURATION_TEXT_SIZE], wanted[DURATION_TEXT_SIZE];
	bool hold = kind == LEASE_HOLD;

	format_duration(most, most_us);
	format_duration(wanted, wanted_us);
	return verdict_make(VERDICT_REFUSED, hold ? "limit.hold-too-long" : "limit.job-too-long",
		"a %s of %s asked for, at most %s is allowed here%s", lease_kind_to_string(kind),
		wanted_us == TIME_NEVER ? "unlimited time" : wanted, most,
		hold ? "; it can be extended later" : "");
}

static struct verdict check_time(
	const struct admit_limits *limits, enum lease_kind kind, struct request *request)
{
	if (kind == LEASE_JOB && request->duration_us == TIME_NEVER)
		request->duration_us = limits->max_job_us;
	if (request->duration_us <= 0)
		return verdict_make(VERDICT_INVALID, "request.no-time",
			"the time asked for must be longer than 0s");
	if (request->bound != BOUND_NOT && kind != LEASE_HOLD)
		return verdict_make(VERDICT_INVALID, "request.bound-without-hold",
			"only a hold can be bound to a process: a %s is bound to its own",
			lease_kind_to_string(kind));
	if (request->bound != BOUND_NOT && request->duration_us == TIME_NEVER)
		return verdict_ok();
	if (kind == LEASE_HOLD && request->duration_us > limits->max_hold_us)
		return too_long(kind, request->duration_us, limits->max_hold_us);
	if (kind == LEASE_JOB && request->duration_us > limits->max_job_us)
		return too_long(kind, request->duration_us, limits->max_job_us);
	return verdict_ok();
}

static struct verdict check_force(enum lease_kind kind, const struct request *request)
{
	if (!request->force || kind == LEASE_HOLD)
		return verdict_ok();
	return verdict_make(VERDICT_INVALID, "request.force-without-hold",
		"--force is for 'dibs reserve' only: a %s never starts on a GPU in use",
		lease_kind_to_string(kind));
}

static struct verdict check_share(
	const struct admit_limits *limits, enum lease_kind kind, const struct request *request)
{
	if (request->share_mib == 0)
		return verdict_ok();
	if (kind != LEASE_JOB)
		return verdict_make(VERDICT_INVALID, "request.share-without-job",
			"only a batch job can have a share of a GPU: a %s has it alone",
			lease_kind_to_string(kind));
	if (!limits->share)
		return verdict_make(VERDICT_REFUSED, "limit.no-share",
			"sharing is not enabled here ([share] enabled); ask for a whole GPU");
	return verdict_ok();
}

struct verdict admit_check(const struct pool *pool, const struct admit_limits *limits,
	enum lease_kind kind, uid_t uid, struct request *request, struct gpu_set *ret_eligible)
{
	struct verdict v = verdict_ok();
	struct gpu_set eligible;

	if (request->gpus)
		v = check_list(pool, request);
	if (v.kind == VERDICT_OK)
		v = check_count(pool, request);
	if (v.kind == VERDICT_OK)
		v = check_time(limits, kind, request);
	if (v.kind == VERDICT_OK)
		v = check_force(kind, request);
	if (v.kind == VERDICT_OK)
		v = check_share(limits, kind, request);
	if (v.kind == VERDICT_OK)
		v = check_conditions(pool, request, &eligible);
	if (v.kind == VERDICT_OK)
		v = check_limits(pool, limits, uid);
	if (v.kind == VERDICT_OK)
		*ret_eligible = eligible;
	return v;
}
