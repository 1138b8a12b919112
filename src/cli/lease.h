/* SPDX-License-Identifier: MIT */
/* Leases of a reply, as people read them. */
#pragma once

#include <jansson.h>

#include "base/parse.h"
#include "cli/cli.h"

#define LEASE_GPUS_SIZE 1024 /* "0,1,..." of 256 GPUs */

/* The indices of its GPUs with commas; empty if it has none. */
void lease_gpus(char dst[LEASE_GPUS_SIZE], json_t *lease);

/* The one of this number among leases by rising number, or NULL. */
json_t *lease_find(json_t *leases, int64_t id);

/* Is it active, and of the user who runs this? */
bool lease_is_mine(json_t *lease);

/* "hold 41: GPU 0,1 until Fri 18:40 (8h)". The caller frees; NULL without memory. */
char *lease_sentence(json_t *lease, int64_t now_us);

/* What it is for: "name: command # note", or what there is of them. The caller frees; NULL without
 * memory.
 */
char *lease_purpose(json_t *lease);

/* How long its GPUs have done nothing, in whole minutes; 0 for what may be a pause. */
int64_t lease_idle_us(json_t *lease, int64_t now_us);

bool lease_waits(json_t *lease);

/* Those that wait, by position, then those that may not have their turn: a new array, owned by the
 * caller. NULL without memory. */
json_t *lease_queue(json_t *leases);

/* Says on standard output what Release did to it. */
void lease_print_released(json_t *lease);
