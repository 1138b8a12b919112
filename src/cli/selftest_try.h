/* SPDX-License-Identifier: MIT */
/* The claims that hold at every gate, tried one after the other. */
#pragma once

#include "cli/selftest.h"
#include "cli/selftest_user.h"

/* Where they are tried; all borrowed. */
struct scene {
	struct report *report;
	enum gate gate;
	const char *socket; /* of the daemon */
	const char *gpu;    /* uuid */
	const char *node;   /* its device */
	struct user *holder, *other;

	/* Ends the daemon by KILL and starts it again; NULL: this one is not for trying that. */
	int (*kill_daemon)(void *userdata, struct error *err);
	int (*restart_daemon)(void *userdata, struct error *err);
	void *userdata;
};

void try_claims(const struct scene *scene);

/* Takes a lease of the GPU for the holder; returns it, or 0 after saying why not. */
int64_t try_reserve(const struct scene *scene);
bool try_release(const struct scene *scene, int64_t lease);
