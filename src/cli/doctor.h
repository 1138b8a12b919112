/* SPDX-License-Identifier: MIT */
/* What "dibs doctor" looks at. */
#pragma once

#include "cli/cli.h"

enum health {
	HEALTH_OK,
	HEALTH_NOTE,    /* works, but not as well as it could */
	HEALTH_PROBLEM, /* exit 1 */
	HEALTH_SKIPPED, /* does not apply here, or we may not look */
	HEALTH_MAX,
};

struct finding {
	enum health health;
	char what[256]; /* what was found */
	char why[256];  /* why it matters; empty if all is well */
	char fix[256];  /* the exact line that mends it */
};

struct check {
	const char *name;
	void (*look)(struct cli *cli, struct finding *finding);
};

extern const struct check checks[]; /* to a NULL name */
