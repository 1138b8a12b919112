/* SPDX-License-Identifier: MIT */
#include "daemon/overuse.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "policy/overuse.h"
#include "priv/terminal.h"

#define TEXT_SIZE 200

/* "job 42 uses 9216 MiB of GPU 3, its share is 8192 MiB" */
static void describe(const struct manager *m, const struct lease *lease, const struct overuse *over,
	char dst[TEXT_SIZE])
{
	char label[LEASE_LABEL_SIZE];

	lease_label(lease, label);
	snprintf(dst, TEXT_SIZE,
		"%s %s uses %" PRIu64 " MiB of GPU %d, its share is %" PRIu64 " MiB",
		lease_kind_to_string(lease->kind), label, over->used_mib,
		m->pool->gpus[over->slot].index, lease->request.share_mib);
}

static void warn(struct manager *m, const struct lease *lease, const struct overuse *over)
{
	char text[TEXT_SIZE], detail[EVENT_DETAIL_SIZE], grace[DURATION_TEXT_SIZE];

	describe(m, lease, over, text);
	format_duration(grace, m->config->share_grace_us);
	snprintf(detail, sizeof(detail), "%s; it is ended in %s unless it frees the rest", text,
		grace);
	batch_event(
		m, EVENT_OVERUSE, lease->id, lease->uid, m->pool->gpus[over->slot].uuid, detail);
	log_info("%s", detail);
	terminal_tell(lease->uid, detail);
}

static void judge(struct manager *m, struct lease *lease, int64_t now_us)
{
	char detail[TEXT_SIZE];
	struct overuse over;

	switch (overuse_judge(m->pool, lease, m->config->share_grace_us, now_us, &over)) {
	case OVERUSE_NOTHING:
		break;
	case OVERUSE_WARN:
		warn(m, lease, &over);
		break;
	case OVERUSE_END:
		if (lifecycle_can_release(m, lease).kind != VERDICT_OK)
			break;
		describe(m, lease, &over, detail);
		lifecycle_release(m, lease, LEASE_END_MEMORY, EVENT_NOBODY, detail);
		break;
	}
}

void overuse_look(struct manager *m)
{
	int64_t now_us = clock_now(&m->clock);

	if (!m->serving)
		return;
	for (size_t i = 0; i < m->pool->n_leases; i++)
		judge(m, m->pool->leases[i], now_us);
}
