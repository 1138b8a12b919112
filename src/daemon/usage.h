/* SPDX-License-Identifier: MIT */
/*
 * The account of what is held and used: from samples and changes of leases to lines in the store.
 * What a lease did since its latest line is in memory alone; that line is an hour old at most, and
 * a crash loses what was used since then, never that it was held.
 */
#pragma once

#include <jansson.h>

#include "daemon/manager.h"
#include "model/usage.h"

struct usage_account;

/* Takes up what the leases of the pool hold. */
int usage_new(struct manager *m, struct usage_account **ret, struct error *err);
struct usage_account *usage_free(struct usage_account *account);

/* A sample was taken, m->sampled_us is still that of the one before. told: it told something. */
void usage_sample(struct manager *m, bool told);

/* Within the transaction that stores leases, after them: follow each, then put what is to be filed;
 * and then, in any case, say whether all was stored. */
int usage_follow(struct manager *m, const struct lease *lease, struct error *err);
int usage_put(struct manager *m, struct error *err);
void usage_settle(struct manager *m, bool stored);

/* The daemon stops: files what is open. */
void usage_stop(struct manager *m);

/* Calls fn with a line for each GPU that is held, up to now, until it returns a negative errno. */
int usage_open(const struct manager *m, int (*fn)(const struct usage *usage, void *userdata),
	void *userdata);

/* Adds held_us, used_us and peak_memory_mib to the job of a lease as view_lease() made it; nothing
 * if that is no job. */
int usage_show(struct manager *m, const struct lease *lease, json_t *view, struct error *err);
