/* SPDX-License-Identifier: MIT */
/* What somebody asks for. Strings are owned; NULL means "no condition". */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/macro.h"

#define REQUEST_NOTE_MAX    500 /* bytes */
#define REQUEST_COMMAND_MAX 500 /* bytes kept of a command line, for show only */

/* What ends a hold beside the clock. */
enum request_bound {
	BOUND_NOT,
	BOUND_PROCESS,   /* the end of the process of the lease */
	BOUND_LOCK_FILE, /* that, and the removal of the lock file that it stands for */
	BOUND_MAX,
	BOUND_INVALID = -22,
};

const char *request_bound_to_string(enum request_bound bound);
enum request_bound request_bound_from_string(const char *s);

struct request {
	unsigned count; /* how many GPUs, >= 1 */
	char *gpus;     /* UUIDs, comma separated: just these (resolved from what the user typed) */
	char *types;    /* parts of model names, comma separated: any of these */
	uint64_t min_memory_mib; /* of the card; 0 = any */
	uint64_t share_mib; /* so much of the memory of each GPU, which others may have the rest of;
			       0 = whole GPUs, alone */
	int64_t duration_us; /* hold: how long; run: limit. TIME_NEVER = until its processes end */
	enum request_bound bound; /* holds only */
	int64_t wait_us; /* how long to wait in the queue; 0 = not at all, TIME_NEVER = as long as
			    it takes */
	bool force;      /* hold: also GPUs under foreign use */
	char *note;
	char *command; /* shown, never run */
};

void request_clear(struct request *request);

/* Deep copy; -ENOMEM leaves *ret empty. */
int request_copy(const struct request *request, struct request *ret);
