/* SPDX-License-Identifier: MIT */
/*
 * release. Without --gpu-ids what was reserved, but not what runs (of which a hold that ends with a
 * process is, too) nor what waits. With it, just these GPUs: a reservation of more keeps the
 * others.
 */
#include <inttypes.h>
#include <string.h>

#include "cli/lease.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"

static bool is_kind(json_t *lease, const char *kind)
{
	return strcmp(wire_text(lease, "kind"), kind) == 0;
}

static bool has(json_t *ids, json_t *id)
{
	json_t *other;
	size_t i;

	json_array_foreach (ids, i, other)
		if (json_equal(id, other))
			return true;
	return false;
}

static bool is_reserved(json_t *lease)
{
	return is_kind(lease, "hold") && !json_is_integer(json_object_get(lease, "with_process"));
}

/* The GPUs of a lease that are meant (ids NULL: all); a new array, owned by the caller. */
static json_t *meant(json_t *lease, json_t *ids)
{
	json_t *gpus = json_array(), *gpu;
	size_t i;

	json_array_foreach (json_object_get(lease, "gpus"), i, gpu)
		if (!ids || has(ids, gpu))
			json_array_append(gpus, gpu);
	return gpus;
}

/* 0, or the exit status of a failure that is said already. */
static int release_whole(struct chg *chg, json_t *lease)
{
	_cleanup_(json_decrefp) json_t *parameters =
		json_pack("{s[O]}", "ids", json_object_get(lease, "id"));
	_cleanup_(json_decrefp) json_t *reply = chg_call(chg, "org.dibs.Release", parameters);

	if (!reply)
		return 1;
	if (is_kind(lease, "run"))
		fprintf(stderr, "canhazgpu: the processes of run #%" PRId64 " were told to end\n",
			wire_int(lease, "id", 0));
	return 0;
}

static int release_some(struct chg *chg, json_t *lease, json_t *gpus)
{
	_cleanup_(json_decrefp) json_t *names = json_array(), *parameters = NULL, *reply = NULL;
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		json_array_append_new(
			names, json_sprintf("%lld", (long long)json_integer_value(gpu)));
	parameters = json_pack("{sO sO}", "id", json_object_get(lease, "id"), "gpus", names);
	reply = chg_call(chg, "org.dibs.Shrink", parameters);
	return reply ? 0 : 1;
}

/* Adds what was given back to released. */
static int release(struct chg *chg, json_t *lease, json_t *ids, json_t *released)
{
	_cleanup_(json_decrefp) json_t *gpus = meant(lease, ids);
	size_t n = json_array_size(gpus);
	int status = 0;

	if (n == 0)
		return 0;
	if (n == json_array_size(json_object_get(lease, "gpus")))
		status = release_whole(chg, lease);
	else
		status = release_some(chg, lease, gpus);
	if (status == 0)
		json_array_extend(released, gpus);
	return status;
}

static int by_number(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void sort(json_t *ids)
{
	size_t n = json_array_size(ids);
	_cleanup_(freep) int64_t *numbers = calloc(n + 1, sizeof(*numbers));

	for (size_t i = 0; numbers && i < n; i++)
		numbers[i] = json_integer_value(json_array_get(ids, i));
	if (numbers)
		qsort(numbers, n, sizeof(*numbers), by_number);
	for (size_t i = 0; numbers && i < n; i++)
		json_array_set_new(ids, i, json_integer(numbers[i]));
}

static void print(json_t *released, json_t *ids)
{
	_cleanup_(freep) char *text = NULL;

	sort(released);
	text = chg_format_ids(json_array_size(released) > 0 ? released : ids);
	if (json_array_size(released) > 0)
		printf("Released %zu GPU(s): %s\n", json_array_size(released), text ? text : "");
	else if (ids)
		printf("No reservations found for current user on GPU(s): %s\n", text ? text : "");
	else
		puts("No manually reserved GPUs found for current user");
}

int chg_release(struct chg *chg)
{
	const char *text = chg_value(chg, CHG_GPU_IDS);
	_cleanup_(json_decrefp) json_t *reply = chg_call(chg, "org.dibs.GetStatus", NULL);
	_cleanup_(json_decrefp) json_t *ids = *text ? chg_ids(text) : NULL;
	_cleanup_(json_decrefp) json_t *released = json_array();
	int status = 0;
	json_t *lease;
	size_t i;

	if (!reply)
		return 1;
	json_array_foreach (json_object_get(reply, "leases"), i, lease)
		if (lease_is_mine(lease) &&
			(is_reserved(lease) ||
				(ids && (is_kind(lease, "hold") || is_kind(lease, "run")))))
			status |= release(chg, lease, ids, released);
	if (status == 0 || json_array_size(released) > 0)
		print(released, ids);
	return status;
}
