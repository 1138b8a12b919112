/* SPDX-License-Identifier: MIT */
#include "daemon/idle.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "policy/idle.h"
#include "priv/terminal.h"

#define GAP_MIN_US (10 * USEC_PER_SEC)

static void warn(struct manager *m, const struct lease *lease)
{
	char list[GPU_LIST_SIZE], grace[DURATION_TEXT_SIZE], detail[EVENT_DETAIL_SIZE];

	pool_format_gpus(m->pool, &lease->gpus, list, sizeof(list));
	format_duration(grace, m->config->idle_grace_us);
	snprintf(detail, sizeof(detail),
		"%s #%" PRId64 " does nothing with GPU %.150s; it is given back in %s unless used",
		lease_kind_to_string(lease->kind), lease->id, list, grace);
	batch_event(m, EVENT_IDLE, lease->id, lease->uid, NULL, detail);
	terminal_tell(lease->uid, detail);
}

static void judge(struct manager *m, struct lease *lease, int64_t now_us)
{
	const struct idle_limits limits = {
		.after_us = {
			[LEASE_RUN] = m->config->idle_run_us,
			[LEASE_HOLD] = m->config->idle_hold_us,
			[LEASE_JOB] = m->config->idle_job_us,
		},
		.grace_us = m->config->idle_grace_us,
	};

	switch (idle_judge(m->pool, lease, &limits, now_us)) {
	case IDLE_NOTHING:
		break;
	case IDLE_WARN:
		warn(m, lease);
		break;
	case IDLE_RELEASE:
		if (lifecycle_can_release(m, lease).kind == VERDICT_OK)
			lifecycle_release(m, lease, LEASE_END_IDLE, EVENT_NOBODY, NULL);
		break;
	}
}

int64_t idle_gap_us(const struct manager *m)
{
	return MAX(3 * m->config->sensor_interval_us, GAP_MIN_US);
}

void idle_look(struct manager *m, bool told)
{
	int64_t now_us = clock_now(&m->clock);

	if (!told || now_us - m->sampled_us > idle_gap_us(m))
		idle_forget(m->pool, now_us);
	if (told)
		m->sampled_us = now_us;
	for (unsigned slot = 0; told && slot < m->pool->n_gpus; slot++)
		if (m->pool->gpus[slot].present)
			idle_note(&m->pool->gpus[slot], now_us);
	/* Without evidence too: whoever was warned is not threatened any more. */
	for (size_t i = 0; i < m->pool->n_leases; i++)
		judge(m, m->pool->leases[i], now_us);
}
