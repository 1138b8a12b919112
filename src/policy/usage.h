/* SPDX-License-Identifier: MIT */
/*
 * The account of what is held now: one open span for each GPU of each lease that holds it. A span
 * becomes a line of the account (model/usage.h) when the lease lets go of the GPU, and in between
 * when it is cut: then it is filed, and goes on from there. All spans of a lease are cut together,
 * so that the latest line of a lease says since when its spans are open.
 *
 * What is to be filed is marked at first, and settled when it is known whether it was stored:
 * nothing is lost and nothing counted twice. Between mark and settle there is no sample. Pure.
 */
#pragma once

#include "model/pool.h"
#include "model/usage.h"

enum usage_mark {
	USAGE_OPEN,
	USAGE_FRESH,  /* was just opened */
	USAGE_CUT,    /* its row is to be filed, and it goes on */
	USAGE_CLOSED, /* its row is to be filed, and that is all */
};

struct usage_span {
	struct usage row; /* so far; to_us is that of the mark */
	int64_t since_us; /* lease->since_us: another one is another time that it holds GPUs */
	enum usage_mark mark;
};

struct usage_book {
	struct usage_span *spans; /* owned */
	size_t n, allocated;
};

void usage_book_clear(struct usage_book *book);

/* Makes the spans of a lease agree with what it holds, as of now_us; of an ended one as of its end.
 * -ENOMEM. */
int usage_book_follow(struct usage_book *book, const struct pool *pool, const struct lease *lease,
	int64_t now_us);

/* The same for a lease that was loaded, of which the account has lines up to filed_us (0: none):
 * what was since then counts as held and not used. -ENOMEM. */
int usage_book_take_up(struct usage_book *book, const struct pool *pool, const struct lease *lease,
	int64_t filed_us);

/* Marks what is open since before_us or longer, to be cut at now_us. */
void usage_book_cut(struct usage_book *book, int64_t before_us, int64_t now_us);

/* Is any span open since before_us or longer? */
bool usage_book_is_old(const struct usage_book *book, int64_t before_us);

/* Is the row of this span to be filed? What took no time is not cut. */
bool usage_span_is_due(const struct usage_span *span);

/* What was marked is stored; or is not, and all is as it was before. */
void usage_book_settle(struct usage_book *book, bool stored);

/*
 * The GPUs were read: counts the time since last_us with the utilisation that they tell now, shared
 * evenly by the leases that have processes on the GPU. A lease that has a GPU for itself needs no
 * process on it if nobody else has one. A GPU that tells no utilisation is used while a process of
 * a lease is on it; one that does not work tells nothing.
 */
void usage_book_sample(
	struct usage_book *book, const struct pool *pool, int64_t last_us, int64_t now_us);
