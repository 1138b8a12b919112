/* SPDX-License-Identifier: MIT */
/* The directory of the lock files of gpu_lock: who made it, and what it is called, varies. */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/* Made if it is not there, and set to what it has to be. Returns a descriptor, which the caller
 * closes, or a negative errno. */
int lock_directory_open(const char *path, const struct config *config);

/* Is the one that is open still what is at path? inotify does not tell of who moves or removes a
 * directory that we have open. */
bool lock_directory_is_at(int fd, const char *path);

/* Both names that the package and its manual have used are made one directory; says if that cannot
 * be. */
void lock_directory_link(const char *path);
