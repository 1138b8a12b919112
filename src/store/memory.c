/* SPDX-License-Identifier: MIT */
/*
 * The store that forgets. For tests and simulations, which must not notice the difference: every
 * write leaves a note how to undo it, and rollback goes back through the notes.
 *
 * GPU sets are kept by slots of the store's own list of UUIDs, which only grows; a GPU is "known"
 * when put_gpu was called for it, not because a lease named it. At most GPU_MAX UUIDs. Lines of
 * journal and account that were deleted keep their place, with a 0 in it.
 */
#include "store/memory.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

int memory_no_memory(struct memory *m, struct error *err)
{
	m->failed = true;
	return error_set(err, -ENOMEM, "store.memory", "no memory left to store this");
}

int memory_writable(const struct memory *m, struct error *err)
{
	if (!m->open || m->failed)
		return error_set(err, -ECANCELED, "store.no-transaction",
			"nothing is written outside a transaction or after a failure in it");
	return 0;
}

int memory_slot(struct memory *m, const char *uuid)
{
	int slot = pool_slot_by_uuid(m->list, uuid);

	return slot >= 0 ? slot : pool_add_gpu(m->list, uuid);
}

struct note *memory_note(struct memory *m, enum note_kind kind)
{
	struct note *n = calloc(1, sizeof(*n));

	if (n) {
		n->kind = kind;
		n->next = m->notes;
		m->notes = n;
	}
	return n;
}

/* Notes how a GPU was, and gives it back to be changed; NULL without memory. */
static struct gpu *note_gpu(struct memory *m, const char *uuid)
{
	int slot = memory_slot(m, uuid);
	struct note *n = slot < 0 ? NULL : memory_note(m, NOTE_GPU);

	if (!n)
		return NULL;
	n->place = (size_t)slot;
	n->known = m->known[slot];
	n->gpu = m->list->gpus[slot];
	return &m->list->gpus[slot];
}

static int forget_gpu(struct store *store, const char *uuid, struct error *err)
{
	struct memory *m = (struct memory *)store;
	struct gpu *mine;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	mine = note_gpu(m, uuid);
	if (!mine)
		return memory_no_memory(m, err);
	m->known[mine - m->list->gpus] = false;
	return 0;
}

static int put_gpu(struct store *store, const struct gpu *gpu, struct error *err)
{
	struct memory *m = (struct memory *)store;
	struct gpu *mine;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	mine = note_gpu(m, gpu->uuid);
	if (!mine)
		return memory_no_memory(m, err);

	text_copy(mine->model, sizeof(mine->model), gpu->model);
	text_copy(mine->pci, sizeof(mine->pci), gpu->pci);
	text_copy(mine->drain_reason, sizeof(mine->drain_reason), gpu->drain_reason);
	mine->vendor = gpu->vendor;
	mine->index = gpu->index;
	mine->minor = gpu->minor;
	memcpy(mine->nodes, gpu->nodes, sizeof(mine->nodes));
	mine->n_nodes = gpu->n_nodes;
	mine->memory_mib = gpu->memory_mib;
	mine->drained = gpu->drained;
	mine->revoking = gpu->revoking;
	mine->trusted_since_us = gpu->trusted_since_us;
	mine->free_since_us = gpu->free_since_us;
	memcpy(mine->recent, gpu->recent, sizeof(mine->recent));
	mine->n_recent = gpu->n_recent;
	m->known[mine - m->list->gpus] = true;
	return 0;
}

/* The place of a name; of "", a free one. NULL: there is none. */
static struct override *find_override(struct memory *m, const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(m->overrides); i++)
		if (strcmp(m->overrides[i].name, name) == 0)
			return &m->overrides[i];
	return NULL;
}

static int put_override(struct store *store, const char *name, const char *value, struct error *err)
{
	struct memory *m = (struct memory *)store;
	struct override *mine;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	mine = find_override(m, name) ?: find_override(m, "");
	if (!mine)
		return memory_no_memory(m, err);
	text_copy(mine->name, sizeof(mine->name), value ? name : "");
	text_copy(mine->value, sizeof(mine->value), value ? value : "");
	return 0;
}

static int get_override(
	struct store *store, const char *name, char *dst, size_t size, struct error *err)
{
	const struct override *mine = find_override((struct memory *)store, name);

	text_copy(dst, size, mine ? mine->value : "");
	return 0;
}

static const struct import *find_origin(const struct memory *m, const char *origin)
{
	for (size_t i = 0; i < m->n_imports; i++)
		if (strcmp(m->imports[i].origin, origin) == 0)
			return &m->imports[i];
	return NULL;
}

static int put_import(struct store *store, const char *origin, int64_t lease, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	if (find_origin(m, origin)) {
		m->failed = true;
		return error_set(
			err, -EEXIST, "store.import", "'%s' was taken over before", origin);
	}
	if (array_make_room(m->imports, m->n_imports, m->allocated_imports) < 0)
		return memory_no_memory(m, err);
	text_copy(m->imports[m->n_imports].origin, sizeof(m->imports->origin), origin);
	m->imports[m->n_imports++].lease = lease;
	return 0;
}

static int find_import(struct store *store, const char *origin, int64_t *ret_id, struct error *err)
{
	const struct import *import = find_origin((struct memory *)store, origin);

	*ret_id = import ? import->lease : 0;
	return 0;
}

static int put_mark(struct store *store, const struct clock_mark *mark, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = memory_writable(m, err);

	if (r == 0)
		m->mark = *mark;
	return r;
}

static int add_event(struct store *store, const struct event *event, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	if (array_make_room(m->events, m->n_events, m->allocated) < 0)
		return memory_no_memory(m, err);
	m->events[m->n_events] = *event;
	m->events[m->n_events].id = (int64_t)m->n_events + 1;
	m->n_events++;
	return 0;
}

/* Transactions */

static int begin(struct store *store, struct error *err)
{
	struct memory *m = (struct memory *)store;

	if (m->open)
		return error_set(err, -EBUSY, "store.transaction", "a transaction is open already");
	m->open = true;
	m->n_events_before = m->n_events;
	m->n_usage_before = m->n_usage;
	m->n_imports_before = m->n_imports;
	m->mark_before = m->mark;
	memcpy(m->overrides_before, m->overrides, sizeof(m->overrides));
	return 0;
}

static void forget_note(struct memory *m)
{
	struct note *n = m->notes;

	m->notes = n->next;
	lease_free(n->old);
	free(n);
}

static int commit(struct store *store, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = memory_writable(m, err);

	if (r < 0)
		return r;
	while (m->notes)
		forget_note(m);
	m->open = false;
	return 0;
}

static void undo(struct memory *m, struct note *n)
{
	switch (n->kind) {
	case NOTE_LEASE:
		lease_free(memory_exchange(m, n->id, TAKE_PTR(n->old)));
		break;
	case NOTE_GPU:
		m->list->gpus[n->place] = n->gpu;
		m->known[n->place] = n->known;
		break;
	case NOTE_EVENT:
		m->events[n->place].id = (int64_t)n->place + 1;
		break;
	case NOTE_USAGE:
		m->usage[n->place].lease = n->id;
		break;
	}
}

static void rollback(struct store *store)
{
	struct memory *m = (struct memory *)store;

	if (!m->open)
		return;
	for (; m->notes; forget_note(m))
		undo(m, m->notes);
	m->n_events = m->n_events_before;
	m->n_usage = m->n_usage_before;
	m->n_imports = m->n_imports_before;
	m->mark = m->mark_before;
	memcpy(m->overrides, m->overrides_before, sizeof(m->overrides));
	m->open = m->failed = false;
}

/* Reading */

static void load_gpus(const struct memory *m, struct pool *pool)
{
	for (unsigned slot = 0; slot < m->list->n_gpus; slot++)
		if (m->known[slot])
			pool->gpus[pool->n_gpus++] = m->list->gpus[slot];
}

static int64_t last_id(const struct memory *m)
{
	const struct pool *list = m->list;
	int64_t last = list->n_leases ? list->leases[list->n_leases - 1]->id : 0;

	for (size_t i = 0; i < m->n_events; i++)
		if (m->events[i].id != 0)
			last = MAX(last, m->events[i].lease);
	return last;
}

static int load(struct store *store, struct pool *pool, int64_t *ret_next_id,
	struct clock_mark *ret_mark, struct error *err)
{
	struct memory *m = (struct memory *)store;

	load_gpus(m, pool);
	for (size_t i = 0; i < m->list->n_leases; i++) {
		_cleanup_(lease_freep) struct lease *lease = NULL;
		int r;

		if (m->list->leases[i]->state == LEASE_ENDED)
			continue;
		r = memory_get_lease(store, pool, m->list->leases[i]->id, &lease, err);
		if (r == 0)
			r = pool_add(pool, lease);
		if (r < 0)
			return error_set(err, r, "store.memory", "no memory left to load leases");
		TAKE_PTR(lease);
	}
	*ret_next_id = last_id(m) + 1;
	*ret_mark = m->mark;
	return 0;
}

static bool is_of(const struct event *event, int64_t lease)
{
	return event->id != 0 && event->lease == lease;
}

/* A line that was deleted has the number 0. */
static int last_event(struct store *store, int64_t *ret_id, struct error *err)
{
	const struct memory *m = (struct memory *)store;

	*ret_id = 0;
	for (size_t i = 0; i < m->n_events; i++)
		*ret_id = MAX(*ret_id, m->events[i].id);
	return 0;
}

static int events_after(struct store *store, int64_t after, int64_t lease, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct memory *m = (struct memory *)store;

	for (size_t i = 0; i < m->n_events && limit > 0; i++) {
		const struct event *event = &m->events[i];
		int r;

		if (event->id <= MAX(after, 0) || (lease && event->lease != lease))
			continue;
		limit--;
		r = fn(event, userdata);
		if (r != 0)
			return r;
	}
	return 0;
}

static int events_of_lease(struct store *store, int64_t id, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct memory *m = (struct memory *)store;
	size_t first = m->n_events;

	for (unsigned n = 0; first > 0 && n < limit; first--)
		n += is_of(&m->events[first - 1], id);
	for (size_t i = first; i < m->n_events; i++) {
		int r = is_of(&m->events[i], id) ? fn(&m->events[i], userdata) : 0;

		if (r != 0)
			return r;
	}
	return 0;
}

static void close_memory(struct store *store)
{
	struct memory *m = (struct memory *)store;

	if (!m)
		return;
	while (m->notes)
		forget_note(m);
	pool_free(m->list);
	free(m->events);
	free(m->usage);
	free(m->imports);
	free(m);
}

static const struct store_ops memory_ops = {
	.close = close_memory,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.load = load,
	.put_lease = memory_put_lease,
	.get_spec = memory_get_spec,
	.forget_spec = memory_forget_spec,
	.find_element = memory_find_element,
	.add_usage = memory_add_usage,
	.usage_between = memory_usage_between,
	.usage_of_lease = memory_usage_of_lease,
	.history = memory_history,
	.prune = memory_prune,
	.put_gpu = put_gpu,
	.forget_gpu = forget_gpu,
	.put_override = put_override,
	.get_override = get_override,
	.put_import = put_import,
	.find_import = find_import,
	.put_mark = put_mark,
	.add_event = add_event,
	.get_lease = memory_get_lease,
	.last_event = last_event,
	.events_after = events_after,
	.events_of_lease = events_of_lease,
};

int store_open_memory(struct store **ret, struct error *err)
{
	struct memory *m = calloc(1, sizeof(*m));
	struct pool *list = pool_new();

	if (!m || !list) {
		free(m);
		pool_free(list);
		return error_set(err, -ENOMEM, "store.memory", "no memory left for a store");
	}
	m->store.ops = &memory_ops;
	m->list = list;
	*ret = &m->store;
	return 0;
}
