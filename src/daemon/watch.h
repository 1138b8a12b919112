/* SPDX-License-Identifier: MIT */
/*
 * What the daemon keeps of each lease beside its record: the client that waits for an answer, and
 * the signs of life of its processes. lease->link points here.
 *
 * A run lives while its cgroup has a living process or its leader lives: the leader counts on its
 * own because a PAM session (sudo -i, su -) may move a process to a cgroup of its own.
 */
#pragma once

#include "daemon/manager.h"

struct connection;

struct watch {
	struct manager *manager;       /* borrowed */
	int64_t id;                    /* of the lease */
	struct connection *connection; /* borrowed; who waits for an answer, or NULL */
	size_t told_position;          /* what that client was last told; 0 = nothing yet */
	int leader_fd;                 /* pidfd, -1 = not watched, or ended */
	sd_event_source *leader;
	struct attempt *attempt; /* owned; of a job that runs, see job.h; or NULL */
	char *farewell;     /* owned; the sentence for its client when it ended while waiting */
	uint64_t cgroup_id; /* as device filters know it; 0 = it has none */
	bool left;          /* its client went away while it waited */
	bool leader_ended;
	bool touched; /* is among the changes of the batch */
	bool stored;  /* the store knows this lease */
	bool entered; /* its leader was put into its cgroup */
};

/* One cgroup of a lease; lives until it is empty and its lease has ended. */
struct cgroup_watch {
	struct manager *manager; /* borrowed */
	struct cgroup_watch *next;
	int64_t id; /* of the lease */
	char *path;
	sd_event_source *source;
};

/* Attaches a fresh watch to lease; -ENOMEM. */
int watch_new(struct manager *m, struct lease *lease);

/* Detaches and frees it; the lease may be gone a moment later. */
void watch_free(struct lease *lease);

static inline struct watch *watch_of(const struct lease *lease)
{
	return lease->link;
}

/* The innermost lease that has not ended and has pid in its cgroup, or NULL. */
const struct lease *watch_around(const struct manager *m, pid_t pid);

/* Makes the cgroup of a run or job, moves the leader of a run in unless it was there already, and
 * watches it.
 * Failing is no error: then the leader alone decides, and the log says so. */
void watch_cgroup(struct lease *lease);

/* Watches the leader from now on: a run's first process, or the supervisor of a job. */
void watch_leader(struct lease *lease);

/* Watches the leader from now on, and ends the lease if no sign of life is left. What cannot be
 * told for want of descriptors or memory counts as living. Only for what holds GPUs. */
void watch_check(struct lease *lease);

/* All processes of the lease: signal them, or kill them for good. */
void watch_signal(struct lease *lease, int sig);
void watch_kill(struct lease *lease);

/* Its processes are gone, but it will have others: what was known of them is forgotten. */
void watch_renew(struct lease *lease);

/* The lease has ended: its cgroup is removed as soon as it is empty. */
void watch_bury(struct manager *m, int64_t id);

/* Cgroups below the root that belong to no lease (after a crash): removed, now or when they are
 * empty. */
void watch_adopt_orphans(struct manager *m);

/* Before the first watch: keeps the loop's inotify instance, which the kernel takes milliseconds to
 * close. */
int watch_init(struct manager *m);

void watch_cgroups_free(struct manager *m);
