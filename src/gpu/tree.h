/* SPDX-License-Identifier: MIT */
/*
 * The small files by which the kernel tells about GPUs, below a root that is "/" or a captured
 * tree. Paths have no leading slash. Whatever is in them is checked: a driver may be broken, and a
 * tree may be anything.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The root; sysroot NULL is "/". Returns a descriptor or a negative errno. */
int tree_open(const char *sysroot);

/* A directory below dirfd. Returns a descriptor or a negative errno. */
int tree_open_dir(int dirfd, const char *path);

/* The first line of a file, sanitized. -ENODATA if it is empty, -EFBIG if it does not fit. */
int tree_text(int dirfd, const char *path, char *dst, size_t size);

/* A file that holds one decimal number, at most max. -EINVAL, -ERANGE. */
int tree_uint(int dirfd, const char *path, uint64_t max, uint64_t *ret);

/* The numbers of the entries of a directory that are named PREFIXnumber, ascending: tree_list(fd,
 * "sys/class/drm", "card", &cards). The caller frees. Returns how many, or a negative errno. */
int tree_list(int dirfd, const char *path, const char *prefix, uint64_t **ret);

/* A path from a format; too long a path is an empty one, which nothing has. */
#define TREE_PATH_SIZE 128
void tree_path(char dst[TREE_PATH_SIZE], const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
