/* SPDX-License-Identifier: MIT */
/* Reports over the account, one after the other and in steps: whoever asks for GPUs meanwhile does
 * not wait for them. */
#pragma once

#include "daemon/manager.h"

struct connection;
struct reports;

int reports_new(struct manager *m, struct reports **ret);
struct reports *reports_free(struct reports *reports);

/* The client has gone: nobody needs its report any more. */
void reports_forget(struct manager *m, const struct connection *connection);
