/* SPDX-License-Identifier: MIT */
/* The socket in the file system, where clients find the daemon. */
#pragma once

#include "base/error.h"
#include "config/config.h"

/* Binds and listens, without blocking; makes the directory if need be (its parent must be there),
 * and replaces a stale socket. -EADDRINUSE: another daemon serves there; -EEXIST: something else is
 * there; -EPERM: others could write to its directory. */
int listen_open(const struct config *config, const char *path, int *ret_fd, struct error *err);
