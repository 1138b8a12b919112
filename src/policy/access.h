/* SPDX-License-Identifier: MIT */
/* Who may do what to a lease or a GPU. */
#pragma once

#include <stdbool.h>

#include "model/lease.h"
#include "model/verdict.h"

struct actor {
	uid_t uid;  /* from SO_PEERCRED */
	bool admin; /* root, or of the admin group by SO_PEERGROUPS */
};

/* Only the owner gives back, extends or resumes; administrators use their own, journaled, verbs.
 * what is the verb for the sentence: "release", "extend". */
struct verdict access_own(const struct actor *actor, const struct lease *lease, const char *what);

/* Administrators only. what as above: "drain a GPU". */
struct verdict access_admin(const struct actor *actor, const char *what);
