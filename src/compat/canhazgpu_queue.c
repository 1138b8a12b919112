/* SPDX-License-Identifier: MIT */
/* queue: who waits. Nobody holds a part of what they wait for, so "allocated" is always nothing. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"

/* Those that may have their turn; owned by the caller. */
static json_t *waiting(json_t *reply)
{
	_cleanup_(json_decrefp) json_t *queue = lease_queue(json_object_get(reply, "leases"));
	_cleanup_(json_decrefp) json_t *entries = json_array();
	json_t *lease;
	size_t i;

	if (!queue)
		return NULL;
	json_array_foreach (queue, i, lease)
		if (wire_int(lease, "position", 0) > 0 && json_array_append(entries, lease) < 0)
			return NULL;
	return TAKE_PTR(entries);
}

static int64_t count_gpus(json_t *queue)
{
	int64_t sum = 0;
	json_t *lease;
	size_t i;

	json_array_foreach (queue, i, lease)
		sum += wire_int(lease, "count", 0);
	return sum;
}

static json_t *entry(struct chg *chg, json_t *lease)
{
	const char *user = people_name(&chg->cli.people, wire_int(lease, "uid", -1));
	char name[CHG_NAME_SIZE], since[TIME_TEXT_SIZE], now[TIME_TEXT_SIZE];
	const char *note = chg_split_note(wire_text(lease, "note"), name);
	json_t *object;

	format_time(since, wire_int(lease, "submitted", 0));
	format_time(now, clock_wall());
	object = json_pack("{so ss ss sI s[] ss}", "id",
		json_sprintf("%" PRId64, wire_int(lease, "id", 0)), "user", *name ? name : user,
		"actual_user", user, "requested_count", (json_int_t)wire_int(lease, "count", 0),
		"allocated_gpus", "reservation_type", chg_is_run(lease) ? "run" : "manual");
	if (*note)
		json_object_set_new(object, "note", json_string(note));
	json_object_set_new(object, "enqueue_time", json_string(since));
	json_object_set_new(object, "last_heartbeat", json_string(now));
	return object;
}

static int print_json(struct chg *chg, json_t *queue)
{
	_cleanup_(json_decrefp) json_t *entries = json_array(), *object = NULL;
	json_t *lease;
	size_t i;

	json_array_foreach (queue, i, lease)
		json_array_append_new(entries, entry(chg, lease));
	object = json_pack("{sO sI sI si}", "entries", entries, "total_waiting",
		(json_int_t)json_array_size(queue), "total_gpus_requested",
		(json_int_t)count_gpus(queue), "total_gpus_allocated", 0);
	return cli_print_json(object) == EXIT_OK ? 0 : 1;
}

/* Of so many bytes at most, as the original cuts. */
static void cut(char *text, size_t max)
{
	text_sanitize(text);
	if (strlen(text) <= max)
		return;
	text_cut(text, max - 3);
	memcpy(text + strlen(text), "...", sizeof("..."));
}

static void print_entry(struct chg *chg, json_t *lease, int position)
{
	int64_t count = wire_int(lease, "count", 0);
	int64_t since_us = wire_int(lease, "submitted", 0);
	_cleanup_(freep) char *user = chg_user(lease, &chg->cli.people);
	char requested[32], allocated[32], waited[CHG_DURATION_SIZE];

	if (user)
		cut(user, 15);
	snprintf(requested, sizeof(requested), "%" PRId64 " GPUs", count);
	snprintf(allocated, sizeof(allocated), "0/%" PRId64, count);
	chg_format_duration(waited, clock_wall() - since_us);
	printf("%-10d %-15s %-15s %-12s %s\n", position, user ? user : "", requested, allocated,
		waited);
}

static int print_table(struct chg *chg, json_t *queue)
{
	json_t *lease;
	size_t i;

	puts("GPU Reservation Queue\n=====================");
	if (json_array_size(queue) == 0) {
		puts("No entries waiting in queue.");
		return 0;
	}
	printf("\n%-10s %-15s %-15s %-12s %s\n", "Position", "User", "Requested", "Allocated",
		"Waiting");
	printf("%-10s %-15s %-15s %-12s %s\n", "--------", "----", "---------", "---------",
		"-------");
	json_array_foreach (queue, i, lease)
		print_entry(chg, lease, (int)i + 1);
	printf("\nTotal: %zu entries waiting for %" PRId64 " GPUs (0 partially allocated)\n",
		json_array_size(queue), count_gpus(queue));
	return 0;
}

int chg_queue(struct chg *chg)
{
	_cleanup_(json_decrefp) json_t *reply = chg_call(chg, "org.dibs.GetStatus", NULL);
	_cleanup_(json_decrefp) json_t *queue = reply ? waiting(reply) : NULL;

	if (!reply)
		return 1;
	if (!queue)
		return chg_fail("out of memory");
	return chg_is(chg, CHG_JSON) ? print_json(chg, queue) : print_table(chg, queue);
}
