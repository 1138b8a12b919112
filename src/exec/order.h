/* SPDX-License-Identifier: MIT */
/* What a supervisor is told to do, taken apart. Its fields stand in priv/supervisor.h. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "exec/rlimits.h"

#define ORDER_START_TIMEOUT_US (INT64_C(60) * 1000000) /* where it does not say */

/* Texts of a field that may come more than once, in their order. */
struct texts {
	const char **items; /* owned; n and a NULL; NULL if there are none. Texts: of the order */
	size_t n;
};

/* Texts are borrowed from the bytes that were parsed; NULL: the field is absent. */
struct order {
	/* of dibsd */
	int64_t id, attempt, uid;
	const char *name, *host;
	int64_t array, index; /* 0: is no element */
	const char *record, *cgroup, *pam;
	int64_t start_timeout_us;
	int64_t processes_max; /* 0: absent */
	struct texts gpuenv;
	/* of the user */
	struct texts arg, env;
	const char *dir, *out, *err, *setup, *venv, *script;
	int64_t umask; /* -1: absent */
	struct rlimits_wanted limits;
};

/*
 * -EBADMSG: a field is unknown, missing, repeated, out of place or not of its form, or the order is
 * cut short; the error names it. *ret then holds what was read before: enough, perhaps, to write
 * that down in the record. It is to be cleared in any case.
 */
int order_parse(const char *bytes, size_t size, struct order *ret, struct error *err);
void order_clear(struct order *order);

/* The value of the field "do" among those of dibsd; NULL: there is none. */
const char *order_mode(const char *bytes, size_t size);

/*
 * Reads the bytes of an order from a sealed memfd. The caller frees *ret. -EBADMSG: it is none, or
 * larger than SUPERVISOR_ORDER_MAX.
 */
int order_read(int fd, char **ret, size_t *ret_size, struct error *err);
