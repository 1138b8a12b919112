/* SPDX-License-Identifier: MIT */
#include "daemon/openers.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/attribution.h"
#include "daemon/batch.h"
#include "daemon/foreign.h"
#include "daemon/guard.h"
#include "daemon/sensor.h"
#include "daemon/step.h"
#include "gpu/sample.h"
#include "priv/holders.h"

#define EVERY_US (5 * USEC_PER_SEC)
#define STEP_US  (1 * USEC_PER_MSEC) /* between two rounds of the loop */

struct openers {
	struct holders *scan; /* owned; NULL = none goes on */
	int64_t started_us;   /* ledger time */
	sd_event_source *step;
};

/* A device that several GPUs share, or that one has two of, counts a process once for each GPU. */
static bool is_known(const struct gpu *gpu, const struct holder *holder)
{
	for (size_t i = 0; i < gpu->n_processes; i++)
		if (gpu->processes[i].pid == holder->pid)
			return true;
	return false;
}

static void take(struct manager *m, unsigned slot)
{
	struct gpu *gpu = &m->pool->gpus[slot];
	size_t n;
	const struct holder *found = holders_found(m->openers->scan, &n);

	free(gpu->processes);
	gpu->processes = NULL;
	gpu->n_processes = 0;
	for (size_t i = 0; i < n; i++) {
		struct gpu_process *p;

		if (!gpu_has_node(gpu, found[i].major, found[i].minor) ||
			is_known(gpu, &found[i]) || found[i].uid == sensor_user(m->sensor) ||
			sample_add_process(gpu, found[i].pid, GPU_UNKNOWN) < 0)
			continue;
		p = &gpu->processes[gpu->n_processes - 1];
		if (attribution_fill(m, p) < 0 || p->start_ticks != found[i].start_ticks)
			gpu->n_processes--;
		else
			attribution_judge(m, slot, p);
	}
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	int r = holders_step(m->openers->scan, STEP_US);

	if (r > 0)
		return step_again(m, source);
	for (unsigned slot = 0; r == 0 && slot < m->pool->n_gpus; slot++)
		if (m->pool->gpus[slot].processes_unknown)
			take(m, slot);
	m->openers->scan = holders_free(m->openers->scan);
	foreign_look(m);
	batch_want_pass(m);
	return 0;
}

void openers_look(struct manager *m)
{
	struct openers *openers = m->openers;
	uint32_t devices[GPU_MAX * GPU_NODES_MAX][2];
	struct gpu_set unknown = { 0 };
	size_t n;

	if (openers->scan || clock_now(&m->clock) < openers->started_us + EVERY_US)
		return;
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		if (m->pool->gpus[slot].processes_unknown)
			gpu_set_add(&unknown, slot);
	n = guard_devices(m, &unknown, devices);
	if (n == 0)
		return;
	openers->started_us = clock_now(&m->clock);
	openers->scan = holders_new(devices, n, (uid_t)-1);
	if (openers->scan)
		step_start(openers->step);
}

int openers_new(struct manager *m, struct openers **ret)
{
	struct openers *openers = calloc(1, sizeof(*openers));

	if (!openers)
		return -ENOMEM;
	*ret = openers;
	return step_new(m, &openers->step, on_step);
}

struct openers *openers_free(struct openers *openers)
{
	if (!openers)
		return NULL;
	sd_event_source_disable_unref(openers->step);
	holders_free(openers->scan);
	free(openers);
	return NULL;
}
