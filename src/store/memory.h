/* SPDX-License-Identifier: MIT */
/* What the files of the store in memory share. Not for other layers. */
#pragma once

#include "store/store.h"

enum note_kind {
	NOTE_LEASE,
	NOTE_GPU,
	NOTE_EVENT,
	NOTE_USAGE,
};

/* What stood there before a write. */
struct note {
	struct note *next; /* the write before */
	enum note_kind kind;
	int64_t id;        /* NOTE_LEASE: its number; NOTE_USAGE: the number of the lease in it */
	struct lease *old; /* NOTE_LEASE: owned; NULL: there was none */
	size_t place;      /* NOTE_GPU: slot; NOTE_EVENT, NOTE_USAGE: which was deleted */
	bool known;
	struct gpu gpu;
};

#define OVERRIDES_MAX 16

struct import {
	char origin[ORIGIN_MAX + 1];
	int64_t lease;
};

struct override {
	char name[32], value[64]; /* name empty: a free place */
};

struct memory {
	struct store store;
	struct pool *list;            /* owned; GPUs and leases, ended ones too, with their specs */
	bool known[GPU_MAX];          /* by slot of list */
	int64_t alone[GPU_MAX];       /* the lease that holds it alone, or 0 */
	uint64_t shared_mib[GPU_MAX]; /* what the others hold of it */
	struct event *events;         /* owned; id 0: was deleted */
	size_t n_events, allocated;
	struct usage *usage; /* owned; lease 0: was deleted */
	size_t n_usage, allocated_usage;
	struct import *imports; /* owned */
	size_t n_imports, allocated_imports;
	struct clock_mark mark;
	struct override overrides[OVERRIDES_MAX];

	bool open, failed;  /* a transaction; a write in it failed */
	struct note *notes; /* owned; the latest first */
	size_t n_events_before, n_usage_before, n_imports_before;
	struct clock_mark mark_before;
	struct override overrides_before[OVERRIDES_MAX];
};

/* memory.c: fails the transaction. */
int memory_no_memory(struct memory *m, struct error *err);

/* 0, or -ECANCELED outside a healthy transaction. */
int memory_writable(const struct memory *m, struct error *err);

/* A new note, NULL without memory. */
struct note *memory_note(struct memory *m, enum note_kind kind);

/* The slot of a UUID in the list of the store, new if need be; negative if there is no room. */
int memory_slot(struct memory *m, const char *uuid);

/* memory_lease.c: puts lease (NULL: nothing) in the place of the one with that id, and returns the
 * one that was there. There must be room for one more. */
struct lease *memory_exchange(struct memory *m, int64_t id, struct lease *lease);

/* With a note how it was; -ENOMEM. */
int memory_drop_lease(struct memory *m, int64_t id);

int memory_put_lease(
	struct store *store, const struct pool *pool, const struct lease *lease, struct error *err);
int memory_get_lease(struct store *store, const struct pool *pool, int64_t id,
	struct lease **ret_lease, struct error *err);
int memory_history(struct store *store, const struct pool *pool, int64_t before_id, uid_t uid,
	int64_t since_us, unsigned limit, int (*fn)(const struct lease *lease, void *userdata),
	void *userdata, struct error *err);
int memory_get_spec(
	struct store *store, int64_t id, char **ret, size_t *ret_size, struct error *err);
int memory_forget_spec(struct store *store, int64_t id, struct error *err);
int memory_find_element(
	struct store *store, int64_t array, int64_t index, int64_t *ret_id, struct error *err);

/* memory_usage.c */
int memory_add_usage(struct store *store, const struct usage *usage, struct error *err);
int memory_usage_between(struct store *store, int64_t since_us, int64_t until_us, int64_t *cursor,
	unsigned limit, int (*fn)(const struct usage *usage, void *userdata), void *userdata,
	struct error *err);
int memory_usage_of_lease(struct store *store, int64_t id, struct usage *ret, int64_t *ret_held_us,
	struct error *err);
int memory_prune(
	struct store *store, int64_t before_us, unsigned limit, bool *ret_more, struct error *err);
