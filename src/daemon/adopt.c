/* SPDX-License-Identifier: MIT */
/*
 * What counts is what the sensor saw of the GPUs, and whose the processes are by the rules that
 * will judge them when the lease is there: those that are adopted must have a right by it.
 */
#include "daemon/adopt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/api.h"
#include "daemon/inventory.h"
#include "priv/process.h"

/* The GPUs on which pid is, as a process of uid. */
static struct verdict find_gpus(
	const struct pool *pool, uid_t uid, pid_t pid, struct gpu_set *ret_gpus)
{
	struct gpu_set gpus = { 0 };
	bool others = false;

	for (unsigned slot = 0; slot < pool->n_gpus; slot++)
		for (size_t i = 0; i < pool->gpus[slot].n_processes; i++) {
			const struct gpu_process *p = &pool->gpus[slot].processes[i];

			if (p->pid == pid && p->uid == uid)
				gpu_set_add(&gpus, slot);
			else if (p->pid == pid)
				others = true;
		}
	*ret_gpus = gpus;
	if (!gpu_set_empty(&gpus))
		return verdict_ok();
	/* Security: whether there is such a process of somebody else is not told. */
	if (others || process_check_owner(pid, uid) < 0)
		return verdict_make(VERDICT_REFUSED, "adopt.not-yours",
			"you have no process %d; only your own can be adopted", (int)pid);
	return verdict_make(VERDICT_REFUSED, "adopt.no-gpu",
		"process %d uses no GPU that dibs sees; see 'dibs status'", (int)pid);
}

static struct verdict find_all(const struct pool *pool, uid_t uid, json_t *pids,
	const struct gpu_set *only, struct gpu_set *ret_gpus)
{
	json_t *value;
	size_t i;

	*ret_gpus = only ? *only : (struct gpu_set){ 0 };
	json_array_foreach (pids, i, value) {
		pid_t pid = (pid_t)json_integer_value(value);
		char list[GPU_LIST_SIZE];
		struct gpu_set gpus;
		struct verdict v = find_gpus(pool, uid, pid, &gpus);

		if (v.kind != VERDICT_OK)
			return v;
		if (only && !gpu_set_meet(&gpus, only)) {
			pool_format_gpus(pool, &gpus, list, sizeof(list));
			return verdict_make(VERDICT_INVALID, "adopt.other-gpu",
				"process %d uses GPU %.200s, none of those listed", (int)pid, list);
		}
		if (!only)
			*ret_gpus = gpu_set_or(*ret_gpus, &gpus);
	}
	return verdict_ok();
}

static struct verdict check_gpu(const struct pool *pool, uid_t uid, unsigned slot)
{
	const struct gpu *gpu = &pool->gpus[slot];
	const struct lease *holder = pool_holder(pool, slot);
	char reason[GPU_REASON_SIZE];

	if (holder)
		return verdict_make(VERDICT_NOT_FREE, "adopt.leased",
			"GPU %d is leased by uid %u (%s #%" PRId64 ")", gpu->index,
			(unsigned)holder->uid, lease_kind_to_string(holder->kind), holder->id);
	if (gpu->revoking) {
		pool_gpu_state(pool, slot, reason);
		return verdict_make(
			VERDICT_NOT_FREE, "adopt.revoking", "GPU %d: %s", gpu->index, reason);
	}
	for (size_t i = 0; i < gpu->n_processes; i++) {
		const struct gpu_process *p = &gpu->processes[i];

		if (p->standing >= STANDING_NO_LEASE && p->uid != uid)
			return verdict_make(VERDICT_NOT_FREE, "adopt.shared",
				"uid %u uses GPU %d too (process %d, %s); talk to them first",
				(unsigned)p->uid, gpu->index, (int)p->pid, p->command);
	}
	return verdict_ok();
}

static char *list_uuids(const struct pool *pool, const struct gpu_set *gpus)
{
	size_t size = (size_t)gpu_set_count(gpus) * GPU_UUID_SIZE + 1, n = 0;
	char *list = malloc(size);

	if (list)
		gpu_set_foreach (slot, gpus)
			n += (size_t)snprintf(
				list + n, size - n, "%s%s", n ? "," : "", pool->gpus[slot].uuid);
	return list;
}

struct verdict adopt_resolve(
	struct manager *m, uid_t uid, json_t *pids, const char *typed, char **ret_uuids)
{
	struct gpu_set only, gpus = { 0 };
	struct verdict v = verdict_ok();

	*ret_uuids = NULL;
	if (json_array_size(pids) == 0 || json_array_size(pids) > ADOPT_MAX)
		return verdict_make(VERDICT_INVALID, "adopt.number",
			"name the processes to adopt, at least one and at most %d", ADOPT_MAX);
	if (typed)
		v = api_resolve(m, typed, &only);
	if (v.kind != VERDICT_OK)
		return v;
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		gpu_set_add(&gpus, slot);
	inventory_judge(m, &gpus); /* forgets who ended, whose numbers may be others' now */
	v = find_all(m->pool, uid, pids, typed ? &only : NULL, &gpus);
	if (v.kind != VERDICT_OK)
		return v;
	gpu_set_foreach (slot, &gpus) {
		v = check_gpu(m->pool, uid, slot);
		if (v.kind != VERDICT_OK)
			return v;
	}
	*ret_uuids = list_uuids(m->pool, &gpus);
	return v;
}
