/* SPDX-License-Identifier: MIT */
/* One client, in a process of its own, which is the client's user. */
#pragma once

#include <stdint.h>
#include <sys/socket.h>

struct session_options {
	int64_t max_job_sec; /* 0 = none */
	const char *dibsd;   /* its socket; NULL: the default */
};

/*
 * Becomes the user of peer for good, who connected at fd, answers one request as that user, and
 * returns the exit status of the process. Called after fork.
 */
int session_run(int fd, const struct ucred *peer, const struct session_options *how);

/* What a client who cannot be served is told; it may not fit. */
void session_turn_away(int fd, const char *text);
