/* SPDX-License-Identifier: MIT */
/*
 * What canhazgpu keeps in Redis, as JSON: a GPU (canhazgpu:gpu:N), a reservation that is over
 * (members of canhazgpu:usage_history_sorted; before, values of canhazgpu:usage_history:*), and who
 * waits (canhazgpu:queue:entry:ID). Anybody who reaches that Redis can write there anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/gpuset.h"
#include "model/lease.h"
#include "model/request.h"

#define CHG_USER_SIZE 64
#define CHG_VALUE_MAX (64 * 1024) /* bytes of a record; those of canhazgpu have some hundred */

/* Of a GPU, or of what is over. Users are names of this machine or whatever somebody chose
 * (--user); what can be chosen counts only where the account is not there. */
struct chg_record {
	char user[CHG_USER_SIZE];               /* "": nobody */
	enum lease_kind kind;                   /* LEASE_RUN or LEASE_HOLD ("manual") */
	int64_t gpu;                            /* of what is over */
	int64_t start_us, heartbeat_us, end_us; /* CLOCK_REALTIME, 0: none; of a GPU, end is when
						   it expires */
	char note[REQUEST_NOTE_MAX + 1];
	bool partial; /* held for somebody who waits for more */
};

/* Each -EINVAL with a sentence; *ret is written only on success. */
int chg_parse_gpu(const char *text, size_t size, struct chg_record *ret, struct error *err);
int chg_parse_usage(const char *text, size_t size, struct chg_record *ret, struct error *err);

struct chg_waiter {
	char user[CHG_USER_SIZE];
	enum lease_kind kind;
	unsigned n_gpus;
};

int chg_parse_waiter(const char *text, size_t size, struct chg_waiter *ret, struct error *err);
