/* SPDX-License-Identifier: MIT */
/*
 * canhazgpu keeps each GPU of a reservation by itself, all with the same user, start, end and note;
 * of those that go on one hold is made. In the history they stay what they are: the GPUs of one
 * reservation may have been given back one after the other.
 *
 * The history is there twice where an older canhazgpu was replaced by a newer one, and a cursor of
 * Redis may tell of a member again.
 */
#include "import/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/parse.h"
#include "base/text.h"

#define HEARTBEAT_MAX_US (300 * USEC_PER_SEC) /* a run that is silent for longer is none */
#define CLOCK_SKEW_US    (60 * USEC_PER_SEC)

/* --- reasons --- */

void reasons_add(struct reasons *reasons, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	text_vprint(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_sanitize(text);
	reasons->total++;
	for (size_t i = 0; i < reasons->n; i++)
		if (strcmp(reasons->items[i].text, text) == 0) {
			reasons->items[i].n++;
			return;
		}
	if (reasons->n < REASONS_MAX && (reasons->items[reasons->n].text = strdup(text)))
		reasons->items[reasons->n++].n = 1;
	else
		reasons->more++;
}

static void reasons_clear(struct reasons *reasons)
{
	while (reasons->n > 0)
		free(reasons->items[--reasons->n].text);
}

/* --- records --- */

static void records_clear(struct plan_records *records)
{
	while (records->n > 0)
		free(records->items[--records->n].note);
	free(records->items);
	*records = (struct plan_records){ 0 };
}

void plan_clear(struct plan *plan)
{
	records_clear(&plan->holds);
	records_clear(&plan->history);
	records_clear(&plan->runs);
	reasons_clear(&plan->waiting);
	reasons_clear(&plan->skipped);
}

static bool same_note(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_reservation(const struct plan_record *a, const struct plan_record *b)
{
	return a->uid == b->uid && a->since_us == b->since_us && a->until_us == b->until_us &&
	       same_note(a->note, b->note);
}

static int records_add(struct plan_records *records, struct plan_record record, const char *note)
{
	if (array_make_room(records->items, records->n, records->allocated) < 0)
		return -ENOMEM;
	if (note && *note && !(record.note = strdup(note)))
		return -ENOMEM;
	records->items[records->n++] = record;
	return 0;
}

/* As records_add, but a GPU of a reservation that is there joins it. */
static int records_join(
	struct plan_records *records, const struct plan_record *record, const char *note)
{
	struct plan_record like = *record;

	like.note = (char *)note; /* only to compare */
	for (size_t i = 0; i < records->n; i++)
		if (same_reservation(&records->items[i], &like)) {
			records->items[i].gpus = gpu_set_or(records->items[i].gpus, &record->gpus);
			return 0;
		}
	return records_add(records, *record, note);
}

/* -1 if there is none. Each name is asked for once; it is a name and nothing else: people may call
 * themselves "0". */
static int64_t find_user(struct plan *plan, const char *name)
{
	struct plan_user *user;
	uint32_t uid;

	for (unsigned i = 0; i < MIN(plan->n_users, PLAN_USERS); i++)
		if (strcmp(plan->users[i].name, name) == 0)
			return plan->users[i].uid;
	user = &plan->users[plan->n_users++ % PLAN_USERS];
	text_copy(user->name, sizeof(user->name), name);
	user->uid = -1;
	if (strspn(name, "0123456789") < strlen(name) && people_find(name, &uid))
		user->uid = uid;
	return user->uid;
}

/* False if it is nobody's here, which is said. */
static bool make_record(
	struct plan *plan, const struct chg_record *from, unsigned gpu, struct plan_record *ret)
{
	*ret = (struct plan_record){
		.since_us = from->start_us,
		.until_us = from->end_us,
		.kind = from->kind,
	};
	gpu_set_add(&ret->gpus, gpu);
	text_copy(ret->user, sizeof(ret->user), from->user);
	ret->uid = find_user(plan, from->user);
	if (ret->uid >= 0)
		return true;
	reasons_add(&plan->skipped, "there is no user '%s' on this machine", from->user);
	return false;
}

static int add_over(struct plan *plan, struct plan_record *record, int64_t until_us)
{
	record->until_us = until_us;
	if (plan->history.n == PLAN_RECORDS_MAX)
		return -E2BIG;
	return records_add(&plan->history, *record, NULL);
}

static int plan_hold(
	struct plan *plan, struct plan_record *record, const struct chg_record *gpu, unsigned index)
{
	if (!gpu->end_us)
		reasons_add(&plan->skipped, "GPU %u is reserved by %s without an end", index,
			gpu->user);
	else if (gpu->end_us < gpu->start_us)
		reasons_add(&plan->skipped, "GPU %u: its reservation ends before it starts", index);
	else if (gpu->end_us <= plan->now_us)
		return add_over(plan, record, gpu->end_us);
	else
		return records_join(&plan->holds, record, gpu->note);
	return 0;
}

int plan_gpu(struct plan *plan, unsigned index, const struct chg_record *gpu)
{
	struct plan_record record;

	if (!*gpu->user)
		return 0;
	if (gpu->start_us > plan->now_us + CLOCK_SKEW_US) {
		reasons_add(&plan->skipped, "GPU %u: its reservation starts in the future", index);
		return 0;
	}
	if (gpu->partial) {
		reasons_add(&plan->waiting, "GPU %u was kept for %s, who waits for more", index,
			gpu->user);
		return 0;
	}
	if (!make_record(plan, gpu, index, &record))
		return 0;
	if (gpu->kind == LEASE_HOLD)
		return plan_hold(plan, &record, gpu, index);
	if (gpu->heartbeat_us && gpu->heartbeat_us >= gpu->start_us &&
		plan->now_us - gpu->heartbeat_us > HEARTBEAT_MAX_US)
		return add_over(plan, &record, gpu->heartbeat_us);
	return records_join(&plan->runs, &record, NULL);
}

int plan_usage(struct plan *plan, const struct chg_record *usage)
{
	struct plan_record record;

	if (usage->end_us > plan->now_us + CLOCK_SKEW_US) {
		reasons_add(&plan->skipped, "a record of the history ends in the future");
		return 0;
	}
	if (!make_record(plan, usage, (unsigned)usage->gpu, &record))
		return 0;
	return add_over(plan, &record, usage->end_us);
}

static int compare(const void *left, const void *right)
{
	const struct plan_record *a = left, *b = right;

	if (a->since_us != b->since_us)
		return a->since_us < b->since_us ? -1 : 1;
	if (a->uid != b->uid)
		return a->uid < b->uid ? -1 : 1;
	return memcmp(&a->gpus, &b->gpus, sizeof(a->gpus));
}

void plan_sort(struct plan *plan)
{
	struct plan_record *items = plan->history.items;
	size_t n = 0;

	if (plan->history.n > 0)
		qsort(items, plan->history.n, sizeof(*items), compare);
	for (size_t i = 0; i < plan->history.n; i++)
		if (n == 0 || compare(&items[n - 1], &items[i]) != 0)
			items[n++] = items[i];
	plan->history.n = n;
}

void plan_indices(char *dst, size_t size, const struct gpu_set *gpus)
{
	size_t n = 0;

	*dst = '\0';
	gpu_set_foreach (i, gpus)
		if (n < size)
			n += (size_t)snprintf(dst + n, size - n, "%s%u", n ? "," : "", i);
}

/* As many GPUs as need more room than there is cannot have started in the same microsecond twice:
 * the first of them and their number say which they are. */
void plan_origin(char dst[ORIGIN_SIZE], const struct plan_record *record)
{
	char gpus[64];

	if (gpu_set_count(&record->gpus) > 12)
		snprintf(gpus, sizeof(gpus), "%u+%u", gpu_set_next(&record->gpus, 0),
			gpu_set_count(&record->gpus) - 1);
	else
		plan_indices(gpus, sizeof(gpus), &record->gpus);
	snprintf(dst, ORIGIN_SIZE, "canhazgpu gpu %s from %" PRId64 " of %s", gpus,
		record->since_us, record->user);
}
