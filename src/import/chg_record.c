/* SPDX-License-Identifier: MIT */
#include "import/chg_record.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/text.h"
#include "import/chg_time.h"

#define ID "canhazgpu.record"

/* An object, owned by the caller. */
static int load(const char *text, size_t size, json_t **ret, struct error *err)
{
	json_error_t json_error;
	json_t *object = json_loadb(text, size, 0, &json_error);

	if (!object)
		return error_set(err, -EINVAL, ID, "is not JSON: %.100s", json_error.text);
	if (!json_is_object(object)) {
		json_decref(object);
		return error_set(err, -EINVAL, ID, "is not an object of JSON");
	}
	*ret = object;
	return 0;
}

/* Missing and null are "". What does not fit is cut. */
static int take_text(json_t *object, const char *name, char *dst, size_t size, struct error *err)
{
	json_t *value = json_object_get(object, name);

	if (value && !json_is_string(value) && !json_is_null(value))
		return error_set(err, -EINVAL, ID, "its %s is no text", name);
	text_copy(dst, size, json_is_string(value) ? json_string_value(value) : "");
	text_sanitize(dst);
	return 0;
}

static int take_time(json_t *object, const char *name, int64_t *ret_us, struct error *err)
{
	if (chg_time(json_object_get(object, name), ret_us) == 0)
		return 0;
	return error_set(err, -EINVAL, ID, "its %s is no time", name);
}

/* The account, else the name to show. */
static int take_user(json_t *object, char *dst, struct error *err)
{
	int r = take_text(object, "actual_user", dst, CHG_USER_SIZE, err);

	return r < 0 || *dst ? r : take_text(object, "user", dst, CHG_USER_SIZE, err);
}

/* Its first version did not always write one, and meant a run. */
static int take_kind(json_t *object, const char *name, enum lease_kind *ret, struct error *err)
{
	char text[16];
	int r = take_text(object, name, text, sizeof(text), err);

	if (r < 0)
		return r;
	if (*text && strcmp(text, "run") != 0 && strcmp(text, "manual") != 0)
		return error_set(err, -EINVAL, ID, "its %s is neither run nor manual", name);
	*ret = strcmp(text, "manual") == 0 ? LEASE_HOLD : LEASE_RUN;
	return 0;
}

static int read_gpu(json_t *object, struct chg_record *record, struct error *err)
{
	char shown[CHG_USER_SIZE], waiter[2];
	int r = take_text(object, "user", shown, sizeof(shown), err);

	/* Without a user it tells when the GPU was given back. */
	if (r < 0 || !*shown)
		return r;
	r = take_user(object, record->user, err);
	if (r == 0)
		r = take_kind(object, "type", &record->kind, err);
	if (r == 0)
		r = take_time(object, "start_time", &record->start_us, err);
	if (r == 0)
		r = take_time(object, "last_heartbeat", &record->heartbeat_us, err);
	if (r == 0)
		r = take_time(object, "expiry_time", &record->end_us, err);
	if (r == 0)
		r = take_text(object, "note", record->note, sizeof(record->note), err);
	if (r == 0)
		r = take_text(object, "partial_queue_id", waiter, sizeof(waiter), err);
	record->partial = r == 0 && *waiter;
	if (r == 0 && !record->start_us)
		r = error_set(err, -EINVAL, ID, "it has no start_time");
	return r;
}

static int read_usage(json_t *object, struct chg_record *record, struct error *err)
{
	json_t *gpu = json_object_get(object, "gpu_id");
	int r = take_user(object, record->user, err);

	if (r == 0 && !*record->user)
		r = error_set(err, -EINVAL, ID, "it has no user");
	if (r == 0 && !json_is_integer(gpu))
		r = error_set(err, -EINVAL, ID, "its gpu_id is no number");
	record->gpu = json_integer_value(gpu);
	if (r == 0 && (record->gpu < 0 || record->gpu >= GPU_MAX))
		r = error_set(err, -EINVAL, ID, "its gpu_id is that of no GPU");
	if (r == 0)
		r = take_kind(object, "reservation_type", &record->kind, err);
	if (r == 0)
		r = take_time(object, "start_time", &record->start_us, err);
	if (r == 0)
		r = take_time(object, "end_time", &record->end_us, err);
	if (r == 0 && (!record->start_us || record->end_us < record->start_us))
		r = error_set(err, -EINVAL, ID, "it ends before it starts");
	return r;
}

static int parse(const char *text, size_t size,
	int (*read)(json_t *object, struct chg_record *record, struct error *err),
	struct chg_record *ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *object = NULL;
	struct chg_record record = { .gpu = -1 };
	int r = load(text, size, &object, err);

	if (r == 0)
		r = read(object, &record, err);
	if (r == 0)
		*ret = record;
	return r;
}

int chg_parse_gpu(const char *text, size_t size, struct chg_record *ret, struct error *err)
{
	return parse(text, size, read_gpu, ret, err);
}

int chg_parse_usage(const char *text, size_t size, struct chg_record *ret, struct error *err)
{
	return parse(text, size, read_usage, ret, err);
}

int chg_parse_waiter(const char *text, size_t size, struct chg_waiter *ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *object = NULL;
	struct chg_waiter waiter = { .n_gpus = 0 };
	int r = load(text, size, &object, err);
	json_t *count;
	size_t n;

	if (r == 0)
		r = take_user(object, waiter.user, err);
	if (r == 0)
		r = take_kind(object, "reservation_type", &waiter.kind, err);
	if (r < 0)
		return r;
	count = json_object_get(object, "requested_count");
	n = json_array_size(json_object_get(object, "requested_ids"));
	waiter.n_gpus = (unsigned)MIN(n, GPU_MAX);
	if (n == 0 && json_integer_value(count) > 0)
		waiter.n_gpus = (unsigned)MIN(json_integer_value(count), GPU_MAX);
	*ret = waiter;
	return 0;
}
