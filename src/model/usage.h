/* SPDX-License-Identifier: MIT */
/*
 * One line of the account: that a lease held a GPU for a time, and what it did with it. A lease
 * that lasts is accounted in several lines, one after the other. Two leases that share a GPU have
 * lines for the same time.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "model/gpu.h"
#include "model/lease.h"

#define USAGE_UNKNOWN (-1) /* nobody measured it */

struct usage {
	int64_t lease;
	enum lease_kind kind;
	uid_t uid;
	gid_t gid;
	char gpu[GPU_UUID_SIZE];
	char model[GPU_MODEL_SIZE];
	int64_t from_us, to_us; /* ledger time, from_us <= to_us */
	int64_t used_us;  /* of that, weighted with the utilisation of the GPU; a GPU that does
			     not tell it counts as used while processes of the lease were on it;
			     USAGE_UNKNOWN */
	int64_t peak_mib; /* the most memory that processes of the lease had; GPU_UNKNOWN */
	/* How long the lease waited before it first started, in its first line about each GPU that
	 * it started with; else -1. */
	int64_t waited_us;
};
