/* SPDX-License-Identifier: MIT */
/* The PAM session of a job: without a password and without questions. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

struct pam_handle;

/* A session keyring (session-keyring(7)) of its own, of that user. Nothing is lost where the kernel
 * has none, or does not let us. */
void session_isolate(uid_t uid, gid_t gid);

/* Zeroed: none. Stays where it is as long as it is open. */
struct session {
	struct pam_handle *pam; /* owned */
	char **environment;     /* owned; what the modules want to be set; NULL: nothing */
	char message[160];      /* what a module said last */
};

/* Asks whether the account may be used, and opens the session. Modules may change limits, groups
 * and more of this process, and may take any time. -EACCES: refused. */
int session_open(struct session *session, const char *service, const char *user, struct error *err);

/* Closes it if it is open. */
void session_close(struct session *session);
