/* SPDX-License-Identifier: MIT */
/* How a program learns which GPUs are its own. */
#pragma once

#include <jansson.h>

struct variable {
	const char *name;
	char *value; /* owned */
};

/* DIBS_LEASE and DIBS_GPUS come first; what drivers read follows. */
#define ENVIRONMENT_MAX  6
#define ENVIRONMENT_DIBS 2

struct environment {
	struct variable variables[ENVIRONMENT_MAX];
	unsigned n;
};

/*
 * From a reply to org.dibs.Request: its lease and its GPUs. visible is "uuid", "index", or NULL for
 * what the reply wishes. -ENOMEM.
 */
int environment_build(json_t *reply, const char *visible, struct environment *ret);
void environment_clear(struct environment *environment);
