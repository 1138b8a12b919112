/* SPDX-License-Identifier: MIT */
/*
 * The one object of dibs: the right of one uid to some GPUs for a time; while it waits, the wish
 * for it.
 *
 * Its number comes from one sequence for everything, and is never used twice.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/gpuset.h"
#include "model/job.h"
#include "model/request.h"

enum lease_kind {
	LEASE_RUN,     /* bound to a running command */
	LEASE_HOLD,    /* bound to a clock */
	LEASE_JOB,     /* bound to a batch job */
	LEASE_BOOKING, /* starts in the future */
	LEASE_KIND_MAX,
	LEASE_KIND_INVALID = -22,
};

enum lease_state {
	LEASE_WAITING, /* holds nothing */
	LEASE_BOOKED,
	LEASE_ACTIVE,
	LEASE_GRACE, /* its processes were asked to end; still holds its GPUs */
	LEASE_ENDED,
	LEASE_STATE_MAX,
	LEASE_STATE_INVALID = -22,
};

enum lease_end {
	LEASE_END_NONE,
	LEASE_END_EXITED,   /* run: the last of its processes ended; job: its command ended */
	LEASE_END_EXPIRED,  /* hold: its time was over */
	LEASE_END_LIMIT,    /* run, job: ended by its own time limit */
	LEASE_END_RELEASED, /* given back by its owner */
	LEASE_END_ADMIN,    /* taken back by an administrator */
	LEASE_END_GONE,     /* the client that waited went away */
	LEASE_END_TIMEOUT,  /* waited as long as it wished to */
	LEASE_END_REBOOT,   /* run, job: the machine was booted */
	LEASE_END_IDLE,     /* its GPUs were not used for too long */
	LEASE_END_FAILED,   /* job: could not be started */
	LEASE_END_NEED,     /* job: what it was to start after ended otherwise */
	LEASE_END_MEMORY,   /* used more of a shared GPU than it asked for */
	LEASE_END_LOST,     /* job: nobody saw how its command ended */
	LEASE_END_MAX,
	LEASE_END_INVALID = -22,
};

const char *lease_kind_to_string(enum lease_kind kind);
enum lease_kind lease_kind_from_string(const char *s);
const char *lease_state_to_string(enum lease_state state);
enum lease_state lease_state_from_string(const char *s);
const char *lease_end_to_string(enum lease_end end);
enum lease_end lease_end_from_string(const char *s);

struct lease {
	int64_t id; /* >= 1 */
	enum lease_kind kind;
	enum lease_state state;
	enum lease_end end; /* why it ended, or in LEASE_GRACE: why it is about to */
	uid_t uid;
	gid_t gid;    /* of who asked, for reports; as the kernel said it */
	int64_t turn; /* its place in the queue among those of one niceness: its id at first, later
			 for who goes to the end of the queue */
	struct job *job; /* owned; NULL unless kind is LEASE_JOB */
	struct request request;
	struct gpu_set eligible; /* GPUs that satisfy the request, free or not */
	struct gpu_set gpus;     /* GPUs held; empty while waiting, kept as a record when ended */

	/* Ledger times. */
	int64_t submitted_us;
	int64_t wait_until_us; /* leaves the queue then; TIME_NEVER */
	int64_t since_us;      /* when it became active, the last time; 0 = not yet */
	int64_t started_us;    /* when it became active, the first time; 0 = not yet */
	int64_t until_us;      /* expiry, or time limit of a run; TIME_NEVER */
	int64_t kill_us;  /* LEASE_GRACE: when KILL follows TERM; active hold: when its time was
			     over, and it went on until until_us (TIME_NEVER: it is not) */
	int64_t ended_us; /* 0 = not yet */

	/* The process that asked; for a run the leader of its processes, for a job its supervisor
	 * (0 = has none yet), for a hold that is bound what it ends with. */
	pid_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat */
	char *cgroup; /* absolute path of the cgroup of a run or job; owned; NULL = only the leader
		       * counts
		       */

	/* How long its GPUs have done nothing, by ledger time; see policy/idle.h. Not stored: a
	 * daemon that starts watches anew. */
	int64_t active_us;       /* when they last did something; 0 = not watched yet */
	int64_t idle_release_us; /* its owner was warned, and it is given back then; 0 = not warned
				  */

	/* It used more than its share of a GPU, its owner was warned, and it is ended then (ledger
	 * time); 0 = not warned. See policy/overuse.h. Not stored. */
	int64_t share_end_us;

	/* Waiting: can be granted only while its client listens; always so for a job. Not stored.
	 */
	bool attached;

	/* For the daemon: what it keeps about this lease (client, event sources). Owned by the
	 * daemon, which clears it before lease_free. Not stored. */
	void *link;
};

struct lease *lease_new(void);
struct lease *lease_free(struct lease *lease);
DEFINE_CLEANUP(struct lease *, lease_free)

/* What people call it: "42", or for an element of an array "42.7". */
#define LEASE_LABEL_SIZE 48
void lease_label(const struct lease *lease, char dst[LEASE_LABEL_SIZE]);

/* Holds GPUs now (active or grace)? An array does not, its elements do. */
bool lease_holds(const struct lease *lease);
