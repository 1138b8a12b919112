/* SPDX-License-Identifier: MIT */
/* Deletes what has ended longer ago than [journal] keep says, once a day, a little at a time. */
#pragma once

#include "daemon/manager.h"

/* Makes m->prune, which manager_free unrefs. */
int prune_new(struct manager *m);

/* At start, and when the configuration was read again: looks at once, then once a day. */
void prune_start(struct manager *m);
