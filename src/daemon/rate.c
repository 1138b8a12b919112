/* SPDX-License-Identifier: MIT */
#include "daemon/rate.h"

#include <stdlib.h>

#include "base/parse.h"

#define HOUR_US (3600 * USEC_PER_SEC)

void rate_clear(struct rate *rate)
{
	free(rate->entries);
	*rate = (struct rate){ 0 };
}

static struct rate_entry *find(struct rate *rate, uid_t uid)
{
	for (size_t i = 0; i < rate->n; i++)
		if (rate->entries[i].uid == uid)
			return &rate->entries[i];
	if (rate->n == rate->allocated) {
		size_t n = rate->allocated ? rate->allocated * 2 : 16;
		struct rate_entry *larger = reallocarray(rate->entries, n, sizeof(*larger));

		if (!larger)
			return NULL;
		rate->entries = larger;
		rate->allocated = n;
	}
	rate->entries[rate->n] = (struct rate_entry){ .uid = uid };
	return &rate->entries[rate->n++];
}

bool rate_take(struct rate *rate, uid_t uid, int64_t now_us, unsigned limit)
{
	struct rate_entry *entry;

	if (now_us >= rate->hour_us + HOUR_US) {
		rate->hour_us = now_us;
		rate->n = 0;
	}
	entry = find(rate, uid);
	if (!entry || entry->count >= limit)
		return false;
	entry->count++;
	return true;
}
