/* SPDX-License-Identifier: MIT */
/*
 * Leases of the store in memory, by rising id. A stored lease is a copy, and is replaced as a
 * whole; the spec of a job goes over from the old copy to the new one.
 */
#include "store/memory.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/array.h"

static void hold(struct memory *m, const struct lease *lease, bool held)
{
	uint64_t share_mib = lease ? lease->request.share_mib : 0;

	if (!lease || !lease_holds(lease))
		return;
	gpu_set_foreach (slot, &lease->gpus) {
		if (share_mib == 0)
			m->alone[slot] = held ? lease->id : 0;
		else if (held)
			m->shared_mib[slot] += share_mib;
		else
			m->shared_mib[slot] -= share_mib;
	}
}

struct lease *memory_exchange(struct memory *m, int64_t id, struct lease *lease)
{
	struct pool *list = m->list;
	size_t place = pool_rank(list, id), after = list->n_leases - place;
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

/* What of a lease is stored, but for the spec; its sets are the caller's business. */
static struct lease *copy_lease(const struct lease *lease)
{
	_cleanup_(lease_freep) struct lease *copy = lease_new();

	if (!copy)
		return NULL;
	*copy = *lease;
	copy->cgroup = NULL;
	copy->job = NULL;
	copy->eligible = copy->gpus = (struct gpu_set){ 0 };
	copy->active_us = copy->idle_release_us = 0;
	copy->attached = false;
	copy->link = NULL;
	if (request_copy(&lease->request, &copy->request) < 0)
		return NULL;
	if (lease->cgroup && !(copy->cgroup = strdup(lease->cgroup)))
		return NULL;
	if (lease->job && !(copy->job = job_copy(lease->job)))
		return NULL;
	return TAKE_PTR(copy);
}

static int copy_spec(const struct job *from, struct job *to)
{
	if (!from->spec)
		return 0;
	to->spec = malloc(from->spec_size + 1);
	if (!to->spec)
		return -ENOMEM;
	memcpy(to->spec, from->spec, from->spec_size);
	to->spec_size = from->spec_size;
	return 0;
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

static bool has_room(const struct memory *m, unsigned slot, uint64_t share_mib)
{
	int64_t memory_mib = m->known[slot] ? m->list->gpus[slot].memory_mib : 0;

	if (m->alone[slot] != 0)
		return false;
	if (share_mib == 0)
		return m->shared_mib[slot] == 0;
	return memory_mib > 0 && share_mib <= (uint64_t)memory_mib &&
	       m->shared_mib[slot] <= (uint64_t)memory_mib - share_mib;
}

/* As a database does it: what a lease has already, it keeps. */
static int check_holders(const struct memory *m, const struct lease *old, const struct lease *lease,
	struct error *err)
{
	bool same = old && lease_holds(old) && old->request.share_mib == lease->request.share_mib;

	gpu_set_foreach (slot, &lease->gpus)
		if (!(same && gpu_set_has(&old->gpus, slot)) &&
			!has_room(m, slot, lease->request.share_mib))
			return error_set(err, -EEXIST, "store.held",
				"GPU %s is held by others, or has less than lease %" PRId64
				" asks for; it cannot have it",
				m->list->gpus[slot].uuid, lease->id);
	return 0;
}

static int check(struct memory *m, struct lease *old, const struct lease *lease, struct error *err)
{
	int64_t element;
	int r = 0;

	if (lease->job && lease->job->array != 0) {
		memory_find_element(
			&m->store, lease->job->array, lease->job->index, &element, NULL);
		if (element != 0 && element != lease->id)
			return error_set(err, -EINVAL, "store.refused",
				"job %" PRId64 " is the same element as job %" PRId64, lease->id,
				element);
	}
	if (lease_holds(lease)) {
		hold(m, old, false);
		r = check_holders(m, old, lease, err);
		hold(m, old, true);
	}
	return r;
}

/* With a note how it was. */
static int replace(struct memory *m, int64_t id, struct lease *lease)
{
	struct note *n = memory_note(m, NOTE_LEASE);

	if (!n)
		return -ENOMEM;
	n->id = id;
	n->old = memory_exchange(m, id, lease);
	return 0;
}

int memory_put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease, struct error *err)
{
	struct memory *m = (struct memory *)store;
	_cleanup_(lease_freep) struct lease *copy = NULL;
	struct lease *old = pool_find(m->list, lease->id);
	const struct job *spec = lease->job && lease->job->spec ? lease->job
				 : old                          ? old->job
								: NULL;
	int r;

	assert(!lease->job == (lease->kind != LEASE_JOB));
	r = memory_writable(m, err);
	if (r < 0)
		return r;
	copy = copy_lease(lease);
	if (!copy || array_make_room(m->list->leases, m->list->n_leases, m->list->allocated) < 0 ||
		(spec && copy_spec(spec, copy->job) < 0))
		return memory_no_memory(m, err);
	gpu_set_foreach (slot, &lease->gpus)
		if (memory_slot(m, pool->gpus[slot].uuid) < 0)
			return memory_no_memory(m, err);
	copy->gpus = translate(&lease->gpus, pool, m->list);
	r = check(m, old, copy, err);
	if (r < 0) {
		m->failed = true;
		return r;
	}
	if (replace(m, lease->id, copy) < 0)
		return memory_no_memory(m, err);
	TAKE_PTR(copy);
	return 0;
}

int memory_drop_lease(struct memory *m, int64_t id)
{
	return replace(m, id, NULL);
}

int memory_get_spec(
	struct store *store, int64_t id, char **ret, size_t *ret_size, struct error *err)
{
	const struct lease *lease = pool_find(((struct memory *)store)->list, id);
	struct job copy = { 0 };

	if (lease && lease->job && copy_spec(lease->job, &copy) < 0)
		return error_set(err, -ENOMEM, "store.memory", "no memory left to read a job");
	*ret = copy.spec;
	*ret_size = copy.spec_size;
	return 0;
}

int memory_forget_spec(struct store *store, int64_t id, struct error *err)
{
	struct memory *m = (struct memory *)store;
	const struct lease *lease = pool_find(m->list, id);
	_cleanup_(lease_freep) struct lease *copy = NULL;
	int r = memory_writable(m, err);

	if (r < 0 || !lease || !lease->job)
		return r;
	copy = copy_lease(lease);
	if (!copy)
		return memory_no_memory(m, err);
	copy->gpus = lease->gpus;
	if (replace(m, id, copy) < 0)
		return memory_no_memory(m, err);
	TAKE_PTR(copy);
	return 0;
}

/* Elements have higher numbers than their array. */
int memory_find_element(
	struct store *store, int64_t array, int64_t index, int64_t *ret_id, struct error *err)
{
	const struct pool *list = ((struct memory *)store)->list;

	*ret_id = 0;
	for (size_t i = pool_rank(list, array); array != 0 && i < list->n_leases; i++) {
		const struct job *job = list->leases[i]->job;

		if (job && job->array == array && job->index == index) {
			*ret_id = list->leases[i]->id;
			break;
		}
	}
	return 0;
}

int memory_get_lease(struct store *store, const struct pool *pool, int64_t id,
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

int memory_history(struct store *store, const struct pool *pool, int64_t before_id, uid_t uid,
	int64_t since_us, unsigned limit, int (*fn)(const struct lease *lease, void *userdata),
	void *userdata, struct error *err)
{
	const struct pool *list = ((struct memory *)store)->list;
	size_t place = before_id > 0 ? pool_rank(list, before_id) : list->n_leases;

	for (unsigned n = 0; place > 0 && n < limit; place--) {
		const struct lease *lease = list->leases[place - 1];
		_cleanup_(lease_freep) struct lease *copy = NULL;
		int r;

		if (lease->state != LEASE_ENDED || (uid != (uid_t)-1 && lease->uid != uid) ||
			lease->ended_us < since_us)
			continue;
		r = memory_get_lease(store, pool, lease->id, &copy, err);
		if (r == 0)
			r = fn(copy, userdata);
		if (r != 0)
			return r;
		n++;
	}
	return 0;
}
