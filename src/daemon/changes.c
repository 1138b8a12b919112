/* SPDX-License-Identifier: MIT */
#include "daemon/changes.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macro.h"
#include "base/text.h"

static _Noreturn void no_memory(void)
{
	log_error("out of memory; leases are safe on disk");
	abort();
}

/* Room for one more member of an array. */
static void *grow(void *array, size_t n, size_t *allocated, size_t size)
{
	void *larger;

	if (n < *allocated)
		return array;
	*allocated = *allocated ? *allocated * 2 : 16;
	larger = reallocarray(array, *allocated, size);
	if (!larger)
		no_memory();
	return larger;
}
#define GROW(changes, member)                                                 \
	((changes)->member = grow((changes)->member, (changes)->n_##member,   \
		 &(changes)->allocated_##member, sizeof(*(changes)->member)), \
		&(changes)->member[(changes)->n_##member++])

bool changes_have_facts(const struct changes *changes)
{
	return changes->n_leases + changes->n_gpus + changes->n_events + changes->n_specs > 0;
}

void changes_clear(struct changes *changes)
{
	for (size_t i = 0; i < changes->n_replies; i++)
		free(changes->replies[i].text);
	for (size_t i = 0; i < changes->n_leases; i++) {
		free(changes->leases[i].listed);
		job_free(changes->leases[i].job);
	}
	free(changes->leases);
	free(changes->gpus);
	free(changes->events);
	free(changes->replies);
	free(changes->specs);
	free(changes->usages);
	free(changes->imports);
	*changes = (struct changes){ 0 };
}

void changes_add_lease(struct changes *changes, struct lease *lease)
{
	struct lease_change *change = GROW(changes, leases);

	*change = (struct lease_change){ .lease = lease, .before = *lease };
	if (lease->request.gpus && !(change->listed = strdup(lease->request.gpus)))
		no_memory();
	if (lease->job && !(change->job = job_copy(lease->job)))
		no_memory();
}

void changes_add_gpu(struct changes *changes, unsigned slot, const struct gpu *gpu)
{
	struct gpu_change *change;

	for (size_t i = 0; i < changes->n_gpus; i++)
		if (changes->gpus[i].slot == slot)
			return;
	change = GROW(changes, gpus);
	change->slot = slot;
	change->before = *gpu;
}

struct event *changes_add_event(struct changes *changes)
{
	return GROW(changes, events);
}

void changes_add_reply(struct changes *changes, struct reply reply)
{
	*GROW(changes, replies) = reply;
}

void changes_add_spec(struct changes *changes, int64_t id)
{
	*GROW(changes, specs) = id;
}

void changes_add_usage(struct changes *changes, const struct usage *usage)
{
	*GROW(changes, usages) = *usage;
}

void changes_add_import(struct changes *changes, const char *origin, int64_t lease)
{
	struct import_change *import = GROW(changes, imports);

	text_copy(import->origin, sizeof(import->origin), origin);
	import->lease = lease;
}

bool changes_have_import(const struct changes *changes, const char *origin)
{
	for (size_t i = 0; i < changes->n_imports; i++)
		if (strcmp(changes->imports[i].origin, origin) == 0)
			return true;
	return false;
}

void lease_change_undo(struct lease_change *change)
{
	struct lease *lease = change->lease;

	job_free(lease->job);
	free(lease->request.gpus);
	*lease = change->before;
	lease->job = TAKE_PTR(change->job);
	lease->request.gpus = TAKE_PTR(change->listed);
}

void gpu_change_undo(const struct gpu_change *change, struct gpu *gpu)
{
	const struct gpu *before = &change->before;

	gpu->drained = before->drained;
	memcpy(gpu->drain_reason, before->drain_reason, sizeof(gpu->drain_reason));
	gpu->revoking = before->revoking;
	memcpy(gpu->nodes, before->nodes, sizeof(gpu->nodes));
	gpu->n_nodes = before->n_nodes;
	gpu->trusted_since_us = before->trusted_since_us;
	gpu->free_since_us = before->free_since_us;
	memcpy(gpu->recent, before->recent, sizeof(gpu->recent));
	gpu->n_recent = before->n_recent;
}
