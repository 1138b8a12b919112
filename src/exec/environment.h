/* SPDX-License-Identifier: MIT */
/* The environment of a job. */
#pragma once

#include "base/macro.h"
#include "exec/order.h"

/* The user as name services know it. Texts owned. */
struct account {
	char *name, *home, *shell;
	unsigned gid;
};
void account_clear(struct account *account);

/*
 * From what counts least to what counts most: HOME, USER, LOGNAME, SHELL and PATH as after a login;
 * the user's; the session's (NULL-terminated, or NULL); that of the GPUs. Nothing of ours. The
 * caller frees *ret alone; the texts in it are borrowed, or owned by base.
 */
#define ENVIRONMENT_BASE 5
struct environment {
	const char **variables;       /* owned; NULL-terminated */
	char *base[ENVIRONMENT_BASE]; /* owned */
};
int environment_build(const struct order *order, const struct account *account,
	char *const *session, struct environment *ret);
void environment_clear(struct environment *environment);
