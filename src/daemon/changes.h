/* SPDX-License-Identifier: MIT */
/*
 * What one settlement stores and answers, and how everything was before. Only for batch.c.
 *
 * Running out of memory while a change is recorded would leave pool and store apart, so that ends
 * the daemon: its leases are on disk, and the next start takes them up.
 */
#pragma once

#include "model/event.h"
#include "model/pool.h"
#include "model/usage.h"
#include "store/store.h"

struct connection;

struct lease_change {
	struct lease *lease; /* borrowed from the pool */
	struct lease before; /* a shallow copy; its strings are the lease's own, but for these: */
	char *listed;        /* owned; request.gpus as it was */
	struct job *job;     /* owned; as it was; NULL if it is none */
};

struct gpu_change {
	unsigned slot;
	struct gpu before; /* only decisions and history are put back */
};

struct reply {
	struct connection *connection; /* borrowed; NULL = has gone */
	char *text;                    /* owned */
	bool final;
};

struct import_change {
	char origin[ORIGIN_MAX + 1];
	int64_t lease;
};

struct changes {
	struct lease_change *leases;
	struct gpu_change *gpus;
	struct event *events;
	struct reply *replies;
	int64_t *specs; /* to be forgotten */
	struct usage *usages;
	struct import_change *imports;
	size_t n_specs, allocated_specs, n_usages, allocated_usages, n_imports, allocated_imports;
	size_t n_leases, n_gpus, n_events, n_replies;
	size_t allocated_leases, allocated_gpus, allocated_events, allocated_replies;
};

void changes_clear(struct changes *changes);

/* Is there anything to store? */
bool changes_have_facts(const struct changes *changes);

/* A lease that is about to change; the caller sees to it that it is there once. */
void changes_add_lease(struct changes *changes, struct lease *lease);

/* The same of a GPU; one that is there already is fine. */
void changes_add_gpu(struct changes *changes, unsigned slot, const struct gpu *gpu);

/* Room for one more, to be filled at once. */
struct event *changes_add_event(struct changes *changes);
void changes_add_reply(struct changes *changes, struct reply reply);
void changes_add_spec(struct changes *changes, int64_t id);
void changes_add_usage(struct changes *changes, const struct usage *usage);
void changes_add_import(struct changes *changes, const char *origin, int64_t lease);
bool changes_have_import(const struct changes *changes, const char *origin);

/* Puts back what was before, of a lease all that is stored; of a GPU decisions and history. */
void lease_change_undo(struct lease_change *change);
void gpu_change_undo(const struct gpu_change *change, struct gpu *gpu);
