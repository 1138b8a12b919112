/* SPDX-License-Identifier: MIT */
/*
 * Programs that come and go every second are one use, not many: it is over when nothing was seen of
 * it for GAP_US, at the time when it was last seen. So nobody fills the journal by starting and
 * ending processes.
 */
#include "daemon/foreign.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/batch.h"

#define GAP_US   (10 * USEC_PER_SEC)
#define USES_MAX 1024 /* beyond that, new ones are shown but not journaled */

struct use {
	unsigned slot;
	uid_t uid;
	int64_t last_us; /* ledger time when it was last seen */
};

struct foreign {
	struct use uses[USES_MAX];
	size_t n;
};

int foreign_new(struct foreign **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct foreign *foreign_free(struct foreign *foreign)
{
	free(foreign);
	return NULL;
}

static struct use *find(struct foreign *foreign, unsigned slot, uid_t uid)
{
	for (size_t i = 0; i < foreign->n; i++)
		if (foreign->uses[i].slot == slot && foreign->uses[i].uid == uid)
			return &foreign->uses[i];
	return NULL;
}

static void journal(struct manager *m, unsigned slot, const struct gpu_process *p)
{
	static const char *const why[STANDING_MAX] = {
		[STANDING_NO_LEASE] = "has no lease",
		[STANDING_WRONG_GPU] = "has a lease for other GPUs",
		[STANDING_ANOTHERS] = "it is leased to somebody else",
		[STANDING_OUTSIDE] = "it is leased for a run that this is no part of",
	};
	const struct gpu *gpu = &m->pool->gpus[slot];
	const struct lease *holder = pool_holder(m->pool, slot);
	char detail[EVENT_DETAIL_SIZE];

	snprintf(detail, sizeof(detail), "process %d (%s%s%s) on GPU %d: %s", (int)p->pid,
		p->command, p->container[0] ? " in " : "", p->container, gpu->index,
		why[p->standing]);
	do { /* all who share it are told; if nobody has it, the journal alone */
		batch_event(m, EVENT_FOREIGN, holder ? holder->id : 0, p->uid, gpu->uuid, detail);
		holder = holder ? pool_next_holder(m->pool, slot, holder) : NULL;
	} while (holder);
	log_warning("uid %d uses a GPU without a lease for it: %s", (int)p->uid, detail);
}

static void see(struct manager *m, unsigned slot, const struct gpu_process *p, int64_t now_us)
{
	struct foreign *foreign = m->foreign;
	struct use *use = find(foreign, slot, p->uid);

	if (!use && foreign->n < USES_MAX) {
		use = &foreign->uses[foreign->n++];
		*use = (struct use){ .slot = slot, .uid = p->uid };
		journal(m, slot, p);
	}
	if (use)
		use->last_us = now_us;
}

static void end_old(struct manager *m, int64_t now_us)
{
	struct foreign *foreign = m->foreign;

	for (size_t i = foreign->n; i-- > 0;) {
		const struct use *use = &foreign->uses[i];

		if (now_us - use->last_us < GAP_US)
			continue;
		batch_event_at(m, use->last_us, EVENT_FOREIGN_ENDED, 0, use->uid,
			m->pool->gpus[use->slot].uuid, NULL);
		foreign->uses[i] = foreign->uses[--foreign->n];
	}
}

void foreign_look(struct manager *m)
{
	int64_t now_us = clock_now(&m->clock);

	if (!m->serving) /* GPUs may still change their slots */
		return;
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		for (size_t i = 0; i < m->pool->gpus[slot].n_processes; i++) {
			const struct gpu_process *p = &m->pool->gpus[slot].processes[i];

			if (p->standing >= STANDING_NO_LEASE)
				see(m, slot, p, now_us);
		}
	end_old(m, now_us);
}
