/* SPDX-License-Identifier: MIT */
/* The account of the store in memory, and what of all is deleted when it is old: in the order and
 * by the rules of sqlite_prune.c. */
#include "store/memory.h"

#include <errno.h>

#include "base/array.h"
#include "store/usage_sum.h"

int memory_add_usage(struct store *store, const struct usage *usage, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	if (array_make_room(m->usage, m->n_usage, m->allocated_usage) < 0)
		return memory_no_memory(m, err);
	m->usage[m->n_usage++] = *usage;
	return 0;
}

int memory_usage_between(struct store *store, int64_t since_us, int64_t until_us, int64_t *cursor,
	unsigned limit, int (*fn)(const struct usage *usage, void *userdata), void *userdata,
	struct error *err)
{
	struct memory *m = (struct memory *)store;
	size_t first = (size_t)*cursor, end = MIN(first + limit, m->n_usage);

	for (size_t i = first; i < end; i++) {
		const struct usage *usage = &m->usage[i];
		int r = 0;

		if (usage->lease != 0 && usage->to_us > since_us && usage->from_us < until_us)
			r = fn(usage, userdata);
		if (r < 0)
			return r;
	}
	*cursor = (int64_t)end;
	return end == first + limit;
}

int memory_usage_of_lease(
	struct store *store, int64_t id, struct usage *ret, int64_t *ret_held_us, struct error *err)
{
	struct memory *m = (struct memory *)store;
	struct usage sum = usage_sum_empty();
	int64_t held_us = 0;
	unsigned n = 0;

	for (size_t i = 0; i < m->n_usage; i++)
		if (m->usage[i].lease == id)
			usage_sum(&sum, &held_us, &n, &m->usage[i]);
	*ret = sum;
	*ret_held_us = held_us;
	return 0;
}

/* What is old */

static bool is_open(const struct memory *m, int64_t id)
{
	const struct lease *lease = pool_find(m->list, id);

	return lease && lease->state != LEASE_ENDED;
}

/* Deletes at most limit lines, or only counts them. Returns how many, or -ENOMEM. */
static int prune_events(struct memory *m, int64_t before_us, unsigned limit, bool just_look)
{
	int64_t newest = 0, last_lease = 0;
	unsigned n = 0;

	for (size_t i = 0; i < m->n_events; i++)
		if (m->events[i].id != 0) {
			newest = m->events[i].id;
			last_lease = MAX(last_lease, m->events[i].lease);
		}
	for (size_t i = 0; i < m->n_events && n < limit; i++) {
		struct event *event = &m->events[i];
		struct note *note;

		if (event->id == 0)
			continue;
		if (event->at_us >= before_us)
			break;
		if (event->id == newest || (event->lease != 0 && event->lease == last_lease) ||
			is_open(m, event->lease))
			continue;
		n++;
		if (just_look)
			continue;
		note = memory_note(m, NOTE_EVENT);
		if (!note)
			return -ENOMEM;
		note->place = i;
		event->id = 0;
	}
	return (int)n;
}

static int prune_usage(struct memory *m, int64_t before_us, unsigned limit, bool just_look)
{
	int64_t filed_us = INT64_MIN;
	unsigned n = 0;

	for (size_t i = 0; i < m->n_usage && n < limit; i++) {
		struct usage *usage = &m->usage[i];
		struct note *note;

		filed_us = MAX(filed_us, usage->to_us);
		if (filed_us >= before_us)
			break;
		if (usage->lease == 0 || is_open(m, usage->lease))
			continue;
		n++;
		if (just_look)
			continue;
		note = memory_note(m, NOTE_USAGE);
		if (!note)
			return -ENOMEM;
		note->place = i;
		note->id = usage->lease;
		usage->lease = 0;
	}
	return (int)n;
}

static bool has_elements(const struct memory *m, const struct lease *array)
{
	for (size_t i = 0; array->job && array->job->is_array && i < m->list->n_leases; i++) {
		const struct job *job = m->list->leases[i]->job;

		if (job && job->array == array->id)
			return true;
	}
	return false;
}

/* The last number stays. */
static int prune_leases(struct memory *m, int64_t before_us, unsigned limit, bool just_look)
{
	unsigned n = 0;

	for (size_t i = 0; i + 1 < m->list->n_leases && n < limit; i++) {
		const struct lease *lease = m->list->leases[i];

		if (lease->state != LEASE_ENDED || lease->ended_us >= before_us ||
			has_elements(m, lease))
			continue;
		n++;
		if (just_look)
			continue;
		if (memory_drop_lease(m, lease->id) < 0)
			return -ENOMEM;
		i--;
	}
	return (int)n;
}

int memory_prune(
	struct store *store, int64_t before_us, unsigned limit, bool *ret_more, struct error *err)
{
	static int (*const kinds[])(struct memory * m, int64_t before_us, unsigned limit,
		bool just_look) = { prune_events, prune_usage, prune_leases };
	struct memory *m = (struct memory *)store;
	bool more = false;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
		if (kinds[i](m, before_us, limit, false) < 0)
			return memory_no_memory(m, err);
		more |= kinds[i](m, before_us, 1, true) > 0;
	}
	*ret_more = more;
	return 0;
}
