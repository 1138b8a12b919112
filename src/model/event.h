/* SPDX-License-Identifier: MIT */
/*
 * One line of the append-only journal. Whoever wants to know what happened (show, report, audit,
 * hooks) reads these.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

enum event_kind {
	EVENT_QUEUED,
	EVENT_GRANTED,
	EVENT_EXTENDED,
	EVENT_WARNED, /* its processes were asked to end */
	EVENT_ENDED,
	EVENT_GPU_SEEN,
	EVENT_GPU_LOST,
	EVENT_GPU_BACK,
	EVENT_DRAINED,
	EVENT_UNDRAINED,
	EVENT_CLOCK_SET, /* somebody set the wall clock */
	EVENT_STARTED,   /* the daemon */
	EVENT_FOREIGN,   /* a user without a lease for a GPU began to use it */
	EVENT_FOREIGN_ENDED,
	EVENT_IDLE,      /* the owner of a lease was warned that it will be given back unused */
	EVENT_REVOKED,   /* processes were asked to let go of a GPU, as their lease has ended */
	EVENT_DEFECT,    /* the hardware needs repair */
	EVENT_GUARD,     /* the mode of the guard was changed */
	EVENT_GIVEN,     /* a lease was handed to another user */
	EVENT_SHRUNK,    /* a lease gave some of its GPUs back */
	EVENT_REQUEUED,  /* a job went back to the queue: at its limit, by its owner, or to be tried
			    again */
	EVENT_HELD,      /* a waiting job is not to start */
	EVENT_RESUMED,   /* it may, or: a suspended one goes on */
	EVENT_SUSPENDED, /* a job was frozen without its GPUs */
	EVENT_SIGNALLED, /* its processes were sent a signal */
	EVENT_OVERUSE,   /* who uses more than its share of a GPU was warned */
	EVENT_IMPORTED,  /* what another tool knew was taken over */
	EVENT_RECOVERED, /* the store, after it could not be written for a while */
	EVENT_KIND_MAX,
	EVENT_KIND_INVALID = -22,
};

/* "queued", "granted", ..., "gpu-seen", "gpu-lost", "gpu-back", "drained", ..., "clock-set",
 * "started" */
const char *event_kind_to_string(enum event_kind kind);
enum event_kind event_kind_from_string(const char *s);

#define EVENT_DETAIL_SIZE 320
#define EVENT_NOBODY      ((uid_t)-1) /* done by dibs itself */

struct event {
	int64_t id;      /* given by the store */
	int64_t at_us;   /* ledger time */
	int64_t wall_us; /* CLOCK_REALTIME at that moment: how it is shown */
	enum event_kind kind;
	int64_t lease;                  /* 0 = about no lease */
	uid_t uid;                      /* who did it, or EVENT_NOBODY */
	char gpu[96];                   /* UUID, empty = about no single GPU */
	char detail[EVENT_DETAIL_SIZE]; /* a sentence for people, sanitized; may be empty */
};
