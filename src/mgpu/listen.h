/* SPDX-License-Identifier: MIT */
/* The socket of mgpu_scheduler_server. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "base/error.h"

struct listener {
	int fd;
	const char *path; /* borrowed; NULL: it is systemd's, who made it and removes it */
	struct stat st;   /* of the path, when we had made it */
};

/*
 * The socket that systemd handed over, else one at path, for everybody (0666), which is absolute.
 * One that was left behind is replaced. -EEXIST: something else is there; -EADDRINUSE: somebody
 * listens there; -EPERM: others could replace it.
 */
int listener_open(struct listener *listener, const char *path, struct error *err);

/* Removes the path, if it is still ours. */
void listener_close(struct listener *listener);
