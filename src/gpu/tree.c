/* SPDX-License-Identifier: MIT */
#include "gpu/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"

#define LINE_SIZE 256

int tree_open(const char *sysroot)
{
	return tree_open_dir(AT_FDCWD, sysroot ? sysroot : "/");
}

int tree_open_dir(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int tree_text(int dirfd, const char *path, char *dst, size_t size)
{
	char line[LINE_SIZE];
	ssize_t n = read_file_at(dirfd, path, line, sizeof(line));

	if (n < 0)
		return (int)n;
	line[strcspn(line, "\n")] = '\0';
	if (!line[0])
		return -ENODATA;
	if (strlen(line) >= size)
		return -EFBIG;
	text_sanitize(line);
	text_copy(dst, size, line);
	return 0;
}

int tree_uint(int dirfd, const char *path, uint64_t max, uint64_t *ret)
{
	char line[LINE_SIZE];
	int r = tree_text(dirfd, path, line, sizeof(line));

	return r < 0 ? r : parse_uint(line, 0, max, ret);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int tree_list(int dirfd, const char *path, const char *prefix, uint64_t **ret)
{
	_cleanup_(freep) uint64_t *list = NULL;
	_cleanup_(closedirp) DIR *dir = opendir_at(dirfd, path);
	size_t n = 0, allocated = 0;
	struct dirent *entry;

	if (!dir)
		return -errno;
	while (errno = 0, (entry = readdir(dir))) {
		uint64_t number;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
			parse_uint(entry->d_name + strlen(prefix), 0, INT32_MAX, &number) < 0)
			continue;
		if (array_make_room(list, n, allocated) < 0)
			return -ENOMEM;
		list[n++] = number;
	}
	if (errno)
		return -errno;
	if (n > 0)
		qsort(list, n, sizeof(*list), compare);
	*ret = TAKE_PTR(list);
	return (int)n;
}

void tree_path(char dst[TREE_PATH_SIZE], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(dst, TREE_PATH_SIZE, fmt, ap);
	va_end(ap);
	if (n < 0 || n >= TREE_PATH_SIZE)
		dst[0] = '\0';
}
