/* SPDX-License-Identifier: MIT */
/*
 * What makes a lease a batch job: the command that starts when its turn comes, and what becomes of
 * it. A job has the number of its lease; it may wait, run and wait again (requeue, retry, suspend)
 * under that number.
 *
 * The command itself (arguments, environment, files) is its spec, which only the supervisor reads:
 * see priv/supervisor.h. It is kept in the store, not in memory.
 *
 * An array is one job whose indices are pending; each that starts becomes a job of its own, an
 * element, with a number of its own and the name ARRAY.INDEX. The array itself holds no GPUs: it
 * waits while indices are pending, is active while elements of it have not ended, then ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "model/indices.h"

#define JOB_NAME_MAX    128 /* bytes */
#define JOB_NEEDS_MAX   64
#define JOB_REASON_SIZE 240
#define JOB_SPEC_MAX    (192 * 1024) /* bytes of its spec */

/* Of one array, elements that have started and not ended, also those that wait for another attempt:
 * each of them is a lease. */
#define JOB_ELEMENTS_MAX 1000

/* What happens when its time limit (or its time slice, while others wait) is over. */
enum job_limit {
	JOB_LIMIT_KILL,
	JOB_LIMIT_REQUEUE, /* to the end of the queue, to start anew at its next turn */
	JOB_LIMIT_SUSPEND, /* frozen without its GPUs until its next turn; requeue if it cannot be
			    */
	JOB_LIMIT_MAX,
	JOB_LIMIT_INVALID = -22,
};

/* "kill", "requeue", "suspend" */
const char *job_limit_to_string(enum job_limit limit);
enum job_limit job_limit_from_string(const char *s);

/* How another job has to end before this one may start; any other end ends this one, too. */
enum job_need_on {
	JOB_NEED_OK,   /* exit status 0; an array: of all elements */
	JOB_NEED_FAIL, /* anything else */
	JOB_NEED_ANY,
	JOB_NEED_ON_MAX,
	JOB_NEED_ON_INVALID = -22,
};

/* "ok", "fail", "any" */
const char *job_need_on_to_string(enum job_need_on on);
enum job_need_on job_need_on_from_string(const char *s);

struct job_need {
	int64_t id; /* of a job (or any lease) with a lower number: so there are no cycles */
	enum job_need_on on;
};

/* What follows when the processes of a job in grace are gone. */
enum job_then {
	JOB_THEN_END,
	JOB_THEN_REQUEUE,
	JOB_THEN_MAX,
	JOB_THEN_INVALID = -22,
};

/* "end", "requeue" */
const char *job_then_to_string(enum job_then then);
enum job_then job_then_from_string(const char *s);

struct job {
	char *name; /* owned, sanitized, at most JOB_NAME_MAX bytes */

	/* As submitted: */
	enum job_limit on_limit;
	int64_t grace_us; /* between TERM and KILL; -1 = the site's */
	int warn_signal;  /* sent warn_us before its limit; 0 = none */
	int64_t warn_us;
	int nice;               /* -100..100; the higher, the later its turn */
	unsigned retries;       /* that are left */
	struct job_need *needs; /* owned; those that are not fulfilled yet */
	size_t n_needs;

	/* Waiting: */
	int64_t begin_us; /* not to start before (ledger time); 0 = at once */
	bool held;        /* not to start until its owner resumes it */

	/* An array: */
	struct indices pending; /* empty for anything else, and when all have started */
	bool is_array;
	unsigned parallel; /* how many elements may be active at a time; 0 = see job_room() */
	unsigned n_active, n_ok, n_failed; /* elements that are not pending: not ended (waiting
					      again included), ended with 0, ended otherwise */
	/* An element: */
	int64_t array; /* the id of its array; 0 = is none */
	int64_t index;

	/* Its course: */
	unsigned restarts;  /* how often it was started before */
	bool pinned;        /* its list of GPUs is there only because it is suspended */
	bool suspended;     /* waiting: its processes are frozen, and will be thawed at its turn */
	enum job_then then; /* in grace */
	bool warned;        /* warn_signal was sent */

	/* How it ended last: */
	int exit_status;              /* -1 = not known, or it has not run */
	int exit_signal;              /* 0 = by none */
	char reason[JOB_REASON_SIZE]; /* a sentence if it is not as simple as that; or empty */
	char *log;          /* owned; absolute path as the user sees it; NULL = none yet */
	int64_t log_offset; /* where its output begins in that file */

	/* Until it is stored: */
	char *spec; /* owned; spec_size bytes with NULs in between; NULL = is stored, or is its
		       array's */
	size_t spec_size;
};

struct job *job_new(void);
struct job *job_free(struct job *job);
DEFINE_CLEANUP(struct job *, job_free)

/* All but the spec. NULL without memory. */
struct job *job_copy(const struct job *job);

/* How many more elements of an array may start now, as far as that is its own affair. */
unsigned job_room(const struct job *array);

/* An element of an array: what was submitted, without needs, indices and what became of it. NULL
 * without memory. */
struct job *job_element(const struct job *array, int64_t array_id, int64_t index);
