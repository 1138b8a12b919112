/* SPDX-License-Identifier: MIT */
/*
 * The store that forgets. For tests and simulations, which must not notice the difference: every
 * write leaves a note how to undo it, and rollback goes back through the notes.
 *
 * GPU sets are kept by slots of the store's own list of UUIDs, which only grows; a GPU is "known"
 * when put_gpu was called for it, not because a lease named it. At most GPU_MAX UUIDs.
 */
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"

/* What stood there before a write: a lease (old = NULL: none), or a GPU in a slot. */
struct note {
	struct note *next; /* the write before */
	int64_t id;        /* of the lease; 0 = it is about gpu */
	struct lease *old; /* owned */
	unsigned slot;
	bool known;
	struct gpu gpu;
};

#define OVERRIDES_MAX 16

struct override {
	char name[32], value[64]; /* name empty: a free place */
};

struct memory {
	struct store store;
	struct pool *list;       /* owned; GPUs and leases, ended ones too */
	bool known[GPU_MAX];     /* by slot of list */
	int64_t holder[GPU_MAX]; /* the lease that holds it, or 0 */
	struct event *events;    /* owned */
	size_t n_events, allocated;
	struct clock_mark mark;
	struct override overrides[OVERRIDES_MAX];

	bool open, failed;  /* a transaction; a write in it failed */
	struct note *notes; /* owned; the latest first */
	size_t n_events_before;
	struct clock_mark mark_before;
	struct override overrides_before[OVERRIDES_MAX];
};

static int no_memory(struct memory *m, struct error *err)
{
	m->failed = true;
	return error_set(err, -ENOMEM, "store.memory", "no memory left to store this");
}

static int writable(const struct memory *m, struct error *err)
{
	if (!m->open || m->failed)
		return error_set(err, -ECANCELED, "store.no-transaction",
			"nothing is written outside a transaction or after a failure in it");
	return 0;
}

/* Leases by rising id */

static size_t place_of(const struct pool *list, int64_t id)
{
	size_t low = 0, high = list->n_leases;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (list->leases[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void hold(struct memory *m, const struct lease *lease, bool held)
{
	if (!lease || !lease_holds(lease))
		return;
	gpu_set_foreach (slot, &lease->gpus)
		m->holder[slot] = held ? lease->id : 0;
}

/* Puts lease (NULL: nothing) in the place of the one with that id, and returns the one that was
 * there. There must be room for one more. */
static struct lease *exchange(struct memory *m, int64_t id, struct lease *lease)
{
	struct pool *list = m->list;
	size_t place = place_of(list, id), after = list->n_leases - place;
	struct lease **at = &list->leases[place], *old = pool_find(list, id);

	hold(m, old, false);
	hold(m, lease, true);
	if (!old && lease) {
		memmove(at + 1, at, after * sizeof(*at));
		list->n_leases++;
	}
	if (lease)
		*at = lease;
	if (old && !lease) {
		memmove(at, at + 1, (after - 1) * sizeof(*at));
		list->n_leases--;
	}
	return old;
}

static int make_room(struct pool *list)
{
	size_t n = list->allocated ? list->allocated * 2 : 64;
	struct lease **larger;

	if (list->n_leases < list->allocated)
		return 0;
	larger = reallocarray(list->leases, n, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	list->leases = larger;
	list->allocated = n;
	return 0;
}

/* What of a lease is stored; its sets are the caller's business. */
static struct lease *copy_lease(const struct lease *lease)
{
	_cleanup_(lease_freep) struct lease *copy = lease_new();

	if (!copy)
		return NULL;
	*copy = *lease;
	copy->cgroup = NULL;
	copy->eligible = copy->gpus = (struct gpu_set){ 0 };
	copy->attached = false;
	copy->link = NULL;
	if (request_copy(&lease->request, &copy->request) < 0)
		return NULL;
	if (lease->cgroup && !(copy->cgroup = strdup(lease->cgroup)))
		return NULL;
	return TAKE_PTR(copy);
}

/* The same GPUs by the slots of another list; what it does not have is left out. */
static struct gpu_set translate(
	const struct gpu_set *set, const struct pool *from, const struct pool *to)
{
	struct gpu_set result = { 0 };

	gpu_set_foreach (slot, set) {
		int other = pool_slot_by_uuid(to, from->gpus[slot].uuid);

		if (other >= 0)
			gpu_set_add(&result, (unsigned)other);
	}
	return result;
}

static int slot_of(struct memory *m, const char *uuid)
{
	int slot = pool_slot_by_uuid(m->list, uuid);

	return slot >= 0 ? slot : pool_add_gpu(m->list, uuid);
}

static struct note *note(struct memory *m)
{
	struct note *n = calloc(1, sizeof(*n));

	if (n) {
		n->next = m->notes;
		m->notes = n;
	}
	return n;
}

static int check_holders(const struct memory *m, const struct lease *lease, struct error *err)
{
	if (!lease_holds(lease))
		return 0;
	gpu_set_foreach (slot, &lease->gpus)
		if (m->holder[slot] != 0 && m->holder[slot] != lease->id)
			return error_set(err, -EEXIST, "store.held",
				"GPU %s is held by another lease; lease %" PRId64 " cannot have it",
				m->list->gpus[slot].uuid, lease->id);
	return 0;
}

static int put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease, struct error *err)
{
	struct memory *m = (struct memory *)store;
	_cleanup_(lease_freep) struct lease *copy = NULL;
	struct note *n;
	int r;

	r = writable(m, err);
	if (r < 0)
		return r;
	copy = copy_lease(lease);
	if (!copy || make_room(m->list) < 0)
		return no_memory(m, err);
	gpu_set_foreach (slot, &lease->gpus)
		if (slot_of(m, pool->gpus[slot].uuid) < 0)
			return no_memory(m, err);
	copy->gpus = translate(&lease->gpus, pool, m->list);
	r = check_holders(m, copy, err);
	if (r < 0) {
		m->failed = true;
		return r;
	}
	n = note(m);
	if (!n)
		return no_memory(m, err);
	n->id = lease->id;
	n->old = exchange(m, lease->id, TAKE_PTR(copy));
	return 0;
}

/* Notes how a GPU was, and gives it back to be changed; NULL without memory. */
static struct gpu *note_gpu(struct memory *m, const char *uuid)
{
	int slot = slot_of(m, uuid);
	struct note *n = slot < 0 ? NULL : note(m);

	if (!n)
		return NULL;
	n->slot = (unsigned)slot;
	n->known = m->known[slot];
	n->gpu = m->list->gpus[slot];
	return &m->list->gpus[slot];
}

static int forget_gpu(struct store *store, const char *uuid, struct error *err)
{
	struct memory *m = (struct memory *)store;
	struct gpu *mine;
	int r = writable(m, err);

	if (r < 0)
		return r;
	mine = note_gpu(m, uuid);
	if (!mine)
		return no_memory(m, err);
	m->known[mine - m->list->gpus] = false;
	return 0;
}

static int put_gpu(struct store *store, const struct gpu *gpu, struct error *err)
{
	struct memory *m = (struct memory *)store;
	struct gpu *mine;
	int r = writable(m, err);

	if (r < 0)
		return r;
	mine = note_gpu(m, gpu->uuid);
	if (!mine)
		return no_memory(m, err);

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
	int r = writable(m, err);

	if (r < 0)
		return r;
	mine = find_override(m, name) ?: find_override(m, "");
	if (!mine)
		return no_memory(m, err);
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

static int put_mark(struct store *store, const struct clock_mark *mark, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = writable(m, err);

	if (r == 0)
		m->mark = *mark;
	return r;
}

static int add_event(struct store *store, const struct event *event, struct error *err)
{
	struct memory *m = (struct memory *)store;
	int r = writable(m, err);

	if (r < 0)
		return r;
	if (m->n_events == m->allocated) {
		size_t n = m->allocated ? m->allocated * 2 : 64;
		struct event *larger = reallocarray(m->events, n, sizeof(*larger));

		if (!larger)
			return no_memory(m, err);
		m->events = larger;
		m->allocated = n;
	}
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
	int r = writable(m, err);

	if (r < 0)
		return r;
	while (m->notes)
		forget_note(m);
	m->open = false;
	return 0;
}

static void rollback(struct store *store)
{
	struct memory *m = (struct memory *)store;

	if (!m->open)
		return;
	for (; m->notes; forget_note(m)) {
		struct note *n = m->notes;

		if (n->id != 0) {
			lease_free(exchange(m, n->id, TAKE_PTR(n->old)));
		} else {
			m->list->gpus[n->slot] = n->gpu;
			m->known[n->slot] = n->known;
		}
	}
	m->n_events = m->n_events_before;
	m->mark = m->mark_before;
	memcpy(m->overrides, m->overrides_before, sizeof(m->overrides));
	m->open = m->failed = false;
}

/* Reading */

static int get_lease(struct store *store, const struct pool *pool, int64_t id,
	struct lease **ret_lease, struct error *err)
{
	struct memory *m = (struct memory *)store;
	const struct lease *lease = pool_find(m->list, id);
	struct lease *copy = NULL;

	if (lease) {
		copy = copy_lease(lease);
		if (!copy)
			return error_set(
				err, -ENOMEM, "store.memory", "no memory left to read a lease");
		copy->gpus = translate(&lease->gpus, m->list, pool);
	}
	*ret_lease = copy;
	return 0;
}

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
		r = get_lease(store, pool, m->list->leases[i]->id, &lease, err);
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

static int events_of_lease(struct store *store, int64_t id, unsigned limit,
	int (*fn)(const struct event *event, void *userdata), void *userdata, struct error *err)
{
	struct memory *m = (struct memory *)store;
	size_t first = m->n_events;

	for (unsigned n = 0; first > 0 && n < limit; first--)
		n += m->events[first - 1].lease == id;
	for (size_t i = first; i < m->n_events; i++) {
		int r = m->events[i].lease == id ? fn(&m->events[i], userdata) : 0;

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
	free(m);
}

static const struct store_ops memory_ops = {
	.close = close_memory,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.load = load,
	.put_lease = put_lease,
	.put_gpu = put_gpu,
	.forget_gpu = forget_gpu,
	.put_override = put_override,
	.get_override = get_override,
	.put_mark = put_mark,
	.add_event = add_event,
	.get_lease = get_lease,
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
