/* SPDX-License-Identifier: MIT */
/* Descriptors and small files. Everything opened here is close-on-exec. */
#pragma once

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/macro.h"

DEFINE_CLEANUP(FILE *, fclose)
DEFINE_CLEANUP(DIR *, closedir)

/* Reads a whole small file (also of /proc and /sys) below dirfd into dst, NUL-terminated. Returns
 * its length, -EFBIG if it has more than size - 1 bytes, or another negative errno. */
ssize_t read_file_at(int dirfd, const char *path, char *dst, size_t size);

/* Reads until the end of the file or size bytes, across short reads and EINTR. Returns how many it
 * were, or negative errno. */
ssize_t read_all(int fd, char *dst, size_t size);

/* opendir(3) and fopen(3), to read, of what is below dirfd. NULL with errno. */
DIR *opendir_at(int dirfd, const char *path);
FILE *fopen_at(int dirfd, const char *path);

/* Writes a string to an existing file below dirfd in one write(2), as the kernel's control files
 * want it. */
int write_file_at(int dirfd, const char *path, const char *text);

/* Writes everything, across short writes and EINTR. */
int write_all(int fd, const void *data, size_t size);
