/* SPDX-License-Identifier: MIT */
/* A lease for what somebody already runs: from their processes to the GPUs that these use. */
#pragma once

#include <jansson.h>

#include "daemon/manager.h"
#include "model/verdict.h"

#define ADOPT_MAX 256 /* processes at once */

/*
 * The GPUs (UUIDs, comma separated, owned by the caller) that the processes pids (integers) of uid
 * use; typed, if not NULL: these GPUs, and each process must be on one of them. NULL with a verdict
 * of kind OK: memory ran out.
 *
 * Refused: a process that is not uid's or uses no GPU, a GPU that is leased or not yet given back,
 * or that somebody else uses without a lease.
 */
struct verdict adopt_resolve(
	struct manager *m, uid_t uid, json_t *pids, const char *typed, char **ret_uuids);
