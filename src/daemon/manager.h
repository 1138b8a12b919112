/* SPDX-License-Identifier: MIT */
/*
 * The daemon's context, and the verbs by which its parts call each other. One thread, one event
 * loop; everything happens in a source of that loop, so nothing here is locked.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "daemon/account.h"
#include "daemon/rate.h"
#include "model/pool.h"
#include "store/store.h"

struct batch;
struct server;
struct sensor;
struct guard;
struct revoke;
struct foreign;
struct health;
struct hook;
struct lock_files;
struct openers;
struct jobs;
struct suspend;
struct reports;
struct usage_account;
struct cgroup_watch;

struct manager {
	sd_event *event;
	const char *config_path; /* borrowed from argv */
	struct config *config;
	struct store *store;
	struct pool *pool;
	struct clock clock;
	int64_t next_id;   /* of the one sequence of numbers */
	int lock;          /* held: one daemon a state directory */
	bool serving;      /* clients are let in */
	bool root;         /* may signal everybody's processes */
	char *cgroup_root; /* NULL: leases live by their leader alone */
	struct batch *batch;
	struct server *server;
	struct sensor *sensor;
	struct guard *guard;
	struct revoke *revoke;
	struct foreign *foreign;
	struct health *health; /* NULL until the GPUs are known */
	struct jobs *jobs;
	struct suspend *suspends; /* list of those that go on */
	struct hook *hook;
	struct lock_files *lock_files; /* NULL: there is no bridge */
	struct openers *openers;
	struct reports *reports;
	struct usage_account *usage;
	struct cgroup_watch *cgroups; /* list of all cgroups of leases, also of ended ones */
	sd_event_source *deadline;    /* the next thing that time alone asks for */
	sd_event_source *prune;       /* deletes what is too old */
	sd_event_source *clock_set;   /* the wall clock was set */
	int64_t reattach_until_us;    /* until then waiting clients may come back after a restart */
	int64_t sampled_us;           /* when the sensor last told something; ledger time */
	struct rate rate;             /* of calls that change something */
	struct accounts accounts;     /* whose limits a uid counts against */
	char *state;                  /* the state directory; owned */
	bool jobs_ended;              /* leases have ended since needs_look() */
	bool limits_processes;        /* cgroups can limit the number of processes */
	bool too_many_gpus;           /* was logged */
	bool cgroups_changed;         /* since the gate looked: some came or went */
	bool sim;                     /* the GPUs do not exist */
	char host[65];
};

/* Options of the command line that stand above the configuration; NULL = not given. */
struct manager_options {
	const char *config_path, *socket, *state_directory, *sim, *cgroup_root;
};

/* Opens everything: configuration, lock, store, clock, cgroups, socket, sensor; then reconciles
 * what is stored with what is. The daemon is ready when the first sample came. */
int manager_new(const struct manager_options *options, struct manager **ret, struct error *err);
struct manager *manager_free(struct manager *m);
DEFINE_CLEANUP(struct manager *, manager_free)

/* Until SIGTERM or SIGINT. */
int manager_run(struct manager *m, struct error *err);

/* The first sample is in, or will not come: serve. complete: it told all GPUs that there are. */
void manager_ready(struct manager *m, bool complete);
