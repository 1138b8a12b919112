/* SPDX-License-Identifier: MIT */
/*
 * An answer to "may this be?". A refusal is a value: nothing failed, the answer is no, and this is
 * the reason. Faults (no memory, no disk) are struct error and never become a refusal.
 */
#pragma once

#include "base/macro.h"

enum verdict_kind {
	VERDICT_OK,
	VERDICT_INVALID,  /* wrong usage, or what this machine can never fulfil (exit 2) */
	VERDICT_REFUSED,  /* not yours, policy, limits (exit 3) */
	VERDICT_NOT_FREE, /* possible, but not now (exit 4) */
	VERDICT_KIND_MAX,
};

struct verdict {
	enum verdict_kind kind;
	const char *id; /* static and stable, as "request.too-many-gpus"; NULL when OK */
	char text[320]; /* one sentence: what, why, what to do now. People appear as "uid 1000". */
};

struct verdict verdict_ok(void);
struct verdict verdict_make(enum verdict_kind kind, const char *id, const char *fmt, ...)
	_printf_(3, 4);
