/* SPDX-License-Identifier: MIT */
/* dibs-exec --listen: starts a supervisor for each order that comes. */
#pragma once

#include "base/error.h"

/* path: of a socket to make; NULL: the one that systemd hands over. Returns only on errors. */
int listen_serve(const char *path, struct error *err);
