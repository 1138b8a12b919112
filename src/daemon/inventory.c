/* SPDX-License-Identifier: MIT */
#include "daemon/inventory.h"

#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/attribution.h"
#include "daemon/batch.h"
#include "daemon/foreign.h"
#include "daemon/guard.h"
#include "daemon/health.h"
#include "daemon/idle.h"
#include "daemon/lock_files.h"
#include "daemon/openers.h"
#include "daemon/overuse.h"
#include "daemon/server.h"
#include "daemon/usage.h"
#include "policy/admit.h"
#include "priv/process.h"

#define CHANGES_MAX 20 /* of a GPU, within CHANGES_US */
#define CHANGES_US  (INT64_C(3600) * USEC_PER_SEC)

static const struct gpu_process *find_process(const struct gpu *gpu, pid_t pid, uint64_t ticks)
{
	for (size_t i = 0; i < gpu->n_processes; i++)
		if (gpu->processes[i].pid == pid && gpu->processes[i].start_ticks == ticks)
			return &gpu->processes[i];
	return NULL;
}

/* What /proc knows of it; of one that is known already its owner is not asked for again. */
static int fill(struct manager *m, const struct gpu *gpu, struct gpu_process *p)
{
	const struct gpu_process *known;
	int r = process_start_ticks(p->pid, &p->start_ticks);

	if (r < 0)
		return r;
	known = find_process(gpu, p->pid, p->start_ticks);
	if (!known)
		return attribution_fill(m, p);
	p->uid = known->uid;
	p->container_lease = known->container_lease;
	memcpy(p->container, known->container, sizeof(p->container));
	attribution_refresh(m, p);
	return 0;
}

/* Whose they are now; those that are gone are left out. */
static void judge(struct manager *m, unsigned slot)
{
	struct gpu *gpu = &m->pool->gpus[slot];
	size_t kept = 0;

	for (size_t i = 0; i < gpu->n_processes; i++) {
		struct gpu_process p = gpu->processes[i];
		uint64_t ticks;

		if (process_start_ticks(p.pid, &ticks) < 0 || ticks != p.start_ticks)
			continue;
		attribution_judge(m, slot, &p);
		gpu->processes[kept++] = p;
	}
	gpu->n_processes = kept;
}

/* Adds what /proc knows to the processes of a sample, and takes them over. */
static void take_processes(struct manager *m, unsigned slot, struct gpu *seen)
{
	struct gpu *gpu = &m->pool->gpus[slot];
	size_t kept = 0;

	if (gpu->processes_unknown) {
		judge(m, slot);
		return;
	}
	for (size_t i = 0; i < seen->n_processes; i++) {
		struct gpu_process *p = &seen->processes[i];

		if (fill(m, gpu, p) < 0)
			continue;
		attribution_judge(m, slot, p);
		seen->processes[kept++] = *p;
	}
	free(gpu->processes);
	gpu->processes = TAKE_PTR(seen->processes);
	gpu->n_processes = kept;
	seen->n_processes = 0;
}

void inventory_judge(struct manager *m, const struct gpu_set *gpus)
{
	gpu_set_foreach (slot, gpus)
		judge(m, slot);
}

static void take_metrics(struct gpu *gpu, const struct gpu *seen)
{
	memcpy(gpu->model, seen->model, sizeof(gpu->model));
	memcpy(gpu->pci, seen->pci, sizeof(gpu->pci));
	memcpy(gpu->fault, seen->fault, sizeof(gpu->fault));
	gpu->vendor = seen->vendor;
	gpu->index = seen->index;
	gpu->minor = seen->minor;
	gpu->memory_mib = seen->memory_mib;
	gpu->memory_used_mib = seen->memory_used_mib;
	gpu->utilization = seen->utilization;
	gpu->temperature_c = seen->temperature_c;
	gpu->power_w = seen->power_w;
	memcpy(gpu->defect, seen->defect, sizeof(gpu->defect));
	gpu->processes_unknown = seen->processes_unknown;
}

/* They are stored: a daemon that starts while the sensor fails must know what to guard. For the
 * same reason a sensor that knows of none just now opens nothing. */
static void take_nodes(struct manager *m, unsigned slot, const struct gpu *seen)
{
	struct gpu *gpu = &m->pool->gpus[slot];
	struct gpu_node nodes[GPU_NODES_MAX] = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < seen->n_nodes; i++)
		if (guard_may_guard(m, &seen->nodes[i]))
			nodes[n++] = seen->nodes[i];
	if (seen->n_nodes == 0 ||
		(n == gpu->n_nodes && memcmp(nodes, gpu->nodes, sizeof(nodes)) == 0))
		return;
	batch_touch_gpu(m, slot);
	memcpy(gpu->nodes, nodes, sizeof(nodes));
	gpu->n_nodes = n;
}

/* Journals a GPU that went or came back. Security: one that does so without end, or a sensor that
 * says so, must not fill the journal; in the end it says how things are. */
static void note_change(struct manager *m, struct gpu *gpu)
{
	int64_t now_us = clock_now(&m->clock);
	bool lost = !gpu_works(gpu);

	if (gpu->told_lost == lost)
		return;
	if (now_us - gpu->changes_since_us > CHANGES_US) {
		gpu->changes_since_us = now_us;
		gpu->changes = 0;
	}
	if (gpu->changes == CHANGES_MAX)
		return;
	gpu->changes++;
	gpu->told_lost = lost;
	batch_event(
		m, lost ? EVENT_GPU_LOST : EVENT_GPU_BACK, 0, EVENT_NOBODY, gpu->uuid, gpu->fault);
	log_warning("GPU %d (%s) %s%s", gpu->index, gpu->uuid, lost ? "is lost" : "is back",
		!lost           ? ""
		: gpu->fault[0] ? ": see 'dibs status'"
				: ": the sensor does not see it");
}

static void recompute_eligible(struct manager *m)
{
	for (size_t i = 0; i < m->pool->n_leases; i++)
		m->pool->leases[i]->eligible =
			admit_eligible(m->pool, &m->pool->leases[i]->request);
}

/* The slot for a GPU of the sample, made if it was never seen. */
static int slot_for(struct manager *m, const struct gpu *seen, bool *ret_new)
{
	int slot = pool_slot_by_uuid(m->pool, seen->uuid);

	*ret_new = slot < 0;
	if (slot >= 0)
		return slot;
	slot = pool_add_gpu(m->pool, seen->uuid);
	if (slot < 0 && !m->too_many_gpus)
		log_error("more than %d GPUs: %s is left out", GPU_MAX, seen->uuid);
	m->too_many_gpus |= slot < 0;
	return slot;
}

static void take_links(struct manager *m, const struct sample *sample, const int *slots)
{
	for (unsigned i = 0; i < sample->n_gpus; i++)
		for (unsigned j = 0; slots[i] >= 0 && j < sample->n_gpus; j++)
			if (slots[j] >= 0)
				m->pool->gpus[slots[i]].link[slots[j]] = sample->gpus[i].link[j];
}

/* The GPUs that could be handed out if nobody held them. */
static struct gpu_set usable(const struct manager *m)
{
	struct gpu_set set = { 0 };

	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		if (gpu_is_healthy(&m->pool->gpus[slot]) && !gpu_is_foreign(&m->pool->gpus[slot]))
			gpu_set_add(&set, slot);
	return set;
}

/* The GPUs of the sample into the pool. Returns whether any is new. */
static bool take_seen(
	struct manager *m, struct sample *sample, int *slots, struct gpu_set *ret_seen)
{
	bool any_new = false;

	for (unsigned i = 0; i < sample->n_gpus; i++) {
		bool is_new;
		struct gpu *gpu;

		slots[i] = slot_for(m, &sample->gpus[i], &is_new);
		if (slots[i] < 0)
			continue;
		gpu = &m->pool->gpus[slots[i]];
		gpu_set_add(ret_seen, (unsigned)slots[i]);
		take_metrics(gpu, &sample->gpus[i]);
		health_look(m, (unsigned)slots[i]);
		take_nodes(m, (unsigned)slots[i], &sample->gpus[i]);
		gpu->present = true;
		take_processes(m, (unsigned)slots[i], &sample->gpus[i]);
		if (is_new) {
			batch_touch_gpu(m, (unsigned)slots[i]);
			batch_event(m, EVENT_GPU_SEEN, 0, EVENT_NOBODY, gpu->uuid, gpu->model);
			any_new = true;
		}
		note_change(m, gpu);
	}
	return any_new;
}

static void mark_unseen(struct manager *m, const struct gpu_set *seen, const char *why)
{
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
		struct gpu *gpu = &m->pool->gpus[slot];

		if (gpu_set_has(seen, slot))
			continue;
		if (!gpu->present && !m->serving) /* it was lost before we were started */
			gpu->told_lost = true;
		gpu->present = false;
		text_copy(gpu->fault, sizeof(gpu->fault), why);
		gpu->n_processes = 0;
		note_change(m, gpu);
	}
}

void inventory_take(struct manager *m, struct sample *sample)
{
	struct gpu_set before = usable(m), after, seen = { 0 };
	int slots[GPU_MAX];

	if (take_seen(m, sample, slots, &seen))
		recompute_eligible(m);
	mark_unseen(m, &seen, sample->error);
	take_links(m, sample, slots);
	openers_look(m);
	foreign_look(m);
	overuse_look(m);
	usage_sample(m, sample->error[0] == '\0');
	idle_look(m, sample->error[0] == '\0');
	after = usable(m);
	if (memcmp(&before, &after, sizeof(after)) != 0)
		batch_want_pass(m);
	lock_files_follow(m);
	server_status_changed(m->server);
}

static int forget(struct manager *m, const char *uuid, struct error *err)
{
	const struct store_ops *ops = m->store->ops;
	int r = ops->begin(m->store, err);

	if (r >= 0)
		r = ops->forget_gpu(m->store, uuid, err);
	if (r >= 0)
		r = ops->commit(m->store, err);
	if (r < 0)
		ops->rollback(m->store);
	return r;
}

void inventory_forget_absent(struct manager *m)
{
	for (unsigned slot = m->pool->n_gpus; slot-- > 0;) {
		const struct gpu *gpu = &m->pool->gpus[slot];
		struct error err = { 0 };

		if (gpu->present || gpu->drained || gpu->revoking || pool_holder(m->pool, slot))
			continue;
		if (forget(m, gpu->uuid, &err) < 0) {
			log_error("%s", err.text);
			return;
		}
		log_warning("GPU %s (%s), known from before, is not there any more", gpu->uuid,
			gpu->model);
		pool_remove_gpu(m->pool, slot);
	}
	recompute_eligible(m);
}
