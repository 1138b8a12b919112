/* SPDX-License-Identifier: MIT */
/*
 * Each step is a transaction, and others have their turn for some time between two of them: whoever
 * sets keep for the first time may have years to delete.
 */
#include "daemon/prune.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/parse.h"
#include "store/store.h"

#define ROWS     200 /* of each kind, in one step */
#define PAUSE_US (50 * USEC_PER_MSEC)
#define DAY_US   (INT64_C(86400) * USEC_PER_SEC)

static int delete_some(struct manager *m, int64_t before_us, bool *ret_more, struct error *err)
{
	const struct store_ops *ops = m->store->ops;
	int r = ops->begin(m->store, err);

	if (r >= 0)
		r = ops->prune(m->store, before_us, ROWS, ret_more, err);
	if (r >= 0)
		r = ops->commit(m->store, err);
	if (r < 0)
		ops->rollback(m->store);
	return r;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	int64_t before_us = clock_now(&m->clock) - m->config->journal_keep_us;
	struct error err = { 0 };
	bool more = false;

	if (m->config->journal_keep_us > 0 && before_us > 0 &&
		delete_some(m, before_us, &more, &err) < 0)
		log_warning("%s; what is too old is kept for another day", err.text);
	sd_event_source_set_time_relative(source, (uint64_t)(more ? PAUSE_US : DAY_US));
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

void prune_start(struct manager *m)
{
	sd_event_source_set_time_relative(m->prune, 0);
	sd_event_source_set_enabled(m->prune, SD_EVENT_ONESHOT);
}

int prune_new(struct manager *m)
{
	int r = sd_event_add_time_relative(
		m->event, &m->prune, CLOCK_BOOTTIME, 0, PAUSE_US, on_timer, m);

	return r < 0 ? r : sd_event_source_set_enabled(m->prune, SD_EVENT_OFF);
}
