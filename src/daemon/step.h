/* SPDX-License-Identifier: MIT */
/*
 * Long work in short steps: between two of them everything else that is ready gets its turn, and
 * what was changed is settled. Not a defer source: one that enables itself again comes before all
 * others of its priority, as sd-event takes those first that are pending for longest.
 */
#pragma once

#include <systemd/sd-event.h>

#include "daemon/batch.h"

/* A source, off at first. fn does one step, and returns step_again() unless that was the last. */
static inline int step_new(struct manager *m, sd_event_source **ret, sd_event_time_handler_t fn)
{
	int r = sd_event_add_time_relative(m->event, ret, CLOCK_MONOTONIC, 0, 1, fn, m);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static inline int step_start(sd_event_source *source)
{
	int r = sd_event_source_set_time_relative(source, 0);

	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* At the end of one step. */
static inline int step_again(struct manager *m, sd_event_source *source)
{
	batch_flush(m);
	return step_start(source);
}
