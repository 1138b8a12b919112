/* SPDX-License-Identifier: MIT */
/* What is to be imported, and what is not. */
#pragma once

#include "cli/people.h"
#include "import/chg_record.h"

#define PLAN_RECORDS_MAX 500000
#define REASONS_MAX      200

/* Sentences, each once, and how often. */
struct reason {
	char *text; /* owned */
	size_t n;
};

struct reasons {
	struct reason items[REASONS_MAX];
	size_t n;
	size_t more;  /* what was added when there was no room */
	size_t total; /* what was added in all */
};

void reasons_add(struct reasons *reasons, const char *fmt, ...) _printf_(2, 3);

struct plan_record {
	char *note; /* owned; may be NULL */
	char user[CHG_USER_SIZE];
	int64_t uid;
	struct gpu_set gpus; /* by index */
	int64_t since_us, until_us;
	enum lease_kind kind;
};

struct plan_records {
	struct plan_record *items; /* owned */
	size_t n, allocated;
};

#define PLAN_USERS 64

struct plan_user {
	char name[CHG_USER_SIZE];
	int64_t uid; /* -1: there is none */
};

struct plan {
	int64_t now_us;
	struct plan_user users[PLAN_USERS];
	unsigned n_users;            /* ever asked for: the oldest is forgotten first */
	struct plan_records holds;   /* that go on */
	struct plan_records history; /* what is over */
	struct plan_records runs;    /* that go on: they cannot be taken over */
	struct reasons waiting, skipped;
};

void plan_clear(struct plan *plan);

/* What stands at a GPU; -ENOMEM. GPUs of one reservation become one record. */
int plan_gpu(struct plan *plan, unsigned index, const struct chg_record *gpu);

/* What is over; -ENOMEM, or -E2BIG when there are too many. */
int plan_usage(struct plan *plan, const struct chg_record *usage);

/* To be called when all of the history was added: takes out what is there twice. */
void plan_sort(struct plan *plan);

/* What names a record for ever: no other has the same. */
#define ORIGIN_SIZE 200
void plan_origin(char dst[ORIGIN_SIZE], const struct plan_record *record);

/* "0,1,4" */
#define INDICES_SIZE 1100
void plan_indices(char *dst, size_t size, const struct gpu_set *gpus);
