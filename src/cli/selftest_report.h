/* SPDX-License-Identifier: MIT */
/* What a selftest claims, at which gates, and what was found. */
#pragma once

#include <stdint.h>

#include "cli/cli.h"

/* Two with GPUs that a dibsd of our own simulates, and a real GPU of the dibsd of this machine. */
enum gate { GATE_FILTER, GATE_ACL, GATE_GPU, GATE_MAX };

enum claim {
	CLAIM_WITHOUT,
	CLAIM_WITH,
	CLAIM_OTHER,
	CLAIM_NAMESPACE,
	CLAIM_KILLED,
	CLAIM_RELEASED,
	CLAIM_KEPT,
	CLAIM_LISTED, /* from here on only of a real GPU; this one is tried, the rest is by hand */
	CLAIM_CUDA,
	CLAIM_SUSPEND,
	CLAIM_MPS,
	CLAIM_RESET,
	CLAIM_MAX,
};

enum outcome { OUTCOME_UNTRIED, OUTCOME_OK, OUTCOME_FAILED, OUTCOME_MAX };

#define REASON_SIZE 320

struct result {
	enum outcome outcome;
	char reason[REASON_SIZE]; /* why it failed, or was not tried; may be empty */
};

struct report {
	struct result results[GATE_MAX][CLAIM_MAX];
	char untried[GATE_MAX][REASON_SIZE]; /* why, for results that do not say it themselves */
	int64_t lease; /* held by a test user at the dibsd of this machine; 0 */
};

void result_set(struct report *report, enum gate gate, enum claim claim, enum outcome outcome,
	const char *fmt, ...) _printf_(5, 6);

/* Nothing more is tried at this gate. A fault also fails the first claim that was not yet tried. */
void gate_untried(struct report *report, enum gate gate, const char *fmt, ...) _printf_(3, 4);
void gate_failed(struct report *report, enum gate gate, const char *fmt, ...) _printf_(3, 4);

/* Says it, as a table or as JSON. EXIT_FAULT if something failed, or nothing was ok. */
enum client_exit report_print(struct cli *cli, const struct report *report);
