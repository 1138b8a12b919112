/* SPDX-License-Identifier: MIT */
/*
 * A job needs only what has a lower number, so one walk by number also finds those that end because
 * of an end that this very walk brought about.
 */
#include "daemon/needs.h"

#include <inttypes.h>

#include "base/log.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "policy/transition.h"

/* What lease needs has ended, for good. */
static void meet(struct manager *m, struct lease *lease, const struct lease *ended)
{
	char label[LEASE_LABEL_SIZE], detail[EVENT_DETAIL_SIZE];

	batch_touch(m, lease);
	switch (transition_need(lease, ended)) {
	case NEED_NOT:
		break;
	case NEED_FULFILLED:
		batch_want_pass(m);
		break;
	case NEED_BROKEN:
		lease_label(ended, label);
		snprintf(detail, sizeof(detail), "job %s, which it was to start after, %s", label,
			transition_ended_well(ended) ? "ended well" : "did not end well");
		lifecycle_end(m, lease, LEASE_END_NEED, clock_now(&m->clock), EVENT_NOBODY, detail);
		break;
	}
}

/* Who ended long ago is in the store only: that is so if nobody was there to see it. A request that
 * would not wait is nowhere. */
static void look_up(struct manager *m, struct lease *lease, int64_t id)
{
	const struct lease never = { .id = id, .state = LEASE_ENDED, .end = LEASE_END_GONE };
	_cleanup_(lease_freep) struct lease *stored = NULL;
	struct error err = { 0 };

	if (m->store->ops->get_lease(m->store, m->pool, id, &stored, &err) < 0)
		log_warning(
			"job %" PRId64 " still waits for %" PRId64 ": %s", lease->id, id, err.text);
	else if (!stored || stored->state == LEASE_ENDED)
		meet(m, lease, stored ? stored : &never);
}

static void look(struct manager *m, struct lease *lease)
{
	for (size_t i = lease->job->n_needs; i-- > 0 && lease->state == LEASE_WAITING;) {
		int64_t id = lease->job->needs[i].id;
		const struct lease *needed = pool_find(m->pool, id);

		if (!needed)
			look_up(m, lease, id);
		else if (needed->state == LEASE_ENDED)
			meet(m, lease, needed);
	}
}

void needs_look(struct manager *m)
{
	if (!m->jobs_ended)
		return;
	m->jobs_ended = false;
	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];

		if (lease->state == LEASE_WAITING && lease->job && lease->job->n_needs > 0)
			look(m, lease);
	}
}
