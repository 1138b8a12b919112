/* SPDX-License-Identifier: MIT */
/*
 * The name of the file was chosen by who submitted the job. Whoever reads it, perhaps root, must
 * not wait at a FIFO, or start a watchdog by opening its device: so it is looked at before it is
 * really opened, by a descriptor that does neither and cannot be exchanged in between.
 */
#include "cli/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/fd.h"
#include "base/macro.h"

#define BLOCK 65536

/* Not in linux/magic.h of every kernel. */
#define XFS_MAGIC 0x58465342
#define ZFS_MAGIC 0x2fc12fc1

static int cannot_open(int code, const char *path, struct error *err)
{
	if (code == -EACCES || code == -EPERM)
		return error_set(err, code, "log.permission",
			"you may not read %s: it is up to its owner to allow that", path);
	if (code == -ENOENT)
		return error_set(err, code, "log.missing",
			"there is no file %s (any more, or on this host)", path);
	return error_errno(err, code, "log.open", "cannot open %s", path);
}

static int open_regular(const char *path, struct error *err)
{
	_cleanup_(closep) int found = open(path, O_PATH | O_CLOEXEC);
	char name[64];
	struct stat st;
	int fd;

	if (found < 0 || fstat(found, &st) < 0)
		return cannot_open(-errno, path, err);
	if (!S_ISREG(st.st_mode))
		return error_set(
			err, -EINVAL, "log.no-file", "%s is no file that could be read back", path);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", found);
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd >= 0 ? fd : cannot_open(-errno, path, err);
}

int log_file_open(struct log_file *file, const char *path, int64_t offset, struct error *err)
{
	struct stat st;

	*file = (struct log_file){ .path = path, .fd = open_regular(path, err), .offset = offset };
	if (file->fd < 0)
		return file->fd;
	if (fstat(file->fd, &st) == 0 && st.st_size < offset)
		file->offset = 0;
	return 0;
}

void log_file_close(struct log_file *file)
{
	closep(&file->fd);
	file->fd = -1;
}

static int64_t size_of(const struct log_file *file)
{
	struct stat st;

	return fstat(file->fd, &st) < 0 ? -errno : st.st_size;
}

/* Backwards in blocks. The newline at the very end ends the last line, and begins none. */
int log_file_tail(struct log_file *file, uint64_t lines)
{
	char block[BLOCK];
	int64_t end = size_of(file), at = end;
	ssize_t n;

	if (lines == 0)
		file->offset = MAX(end, file->offset);
	while (lines > 0 && at > file->offset) {
		int64_t start = MAX(at - BLOCK, file->offset);

		n = pread(file->fd, block, (size_t)(at - start), start);
		if (n < 0)
			return -errno;
		for (at = start; n > 0; n--)
			if (block[n - 1] == '\n' && start + n < end && --lines == 0) {
				file->offset = start + n;
				return 0;
			}
	}
	return end < 0 ? (int)end : 0;
}

/* Blanks, newlines and carriage returns (bars of progress) stay; what is left of a control
 * character in UTF-8, or of anything without, does not. */
static void tame(struct log_file *file, char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		bool bad = c < 0x20 ? c != '\n' && c != '\t' && c != '\r' : c == 0x7f;

		if (c >= 0x80)
			bad = !file->utf8 || (file->after_c2 && c < 0xa0);
		file->after_c2 = c == 0xc2;
		if (bad)
			text[i] = '?';
	}
}

static int put(const struct log_sink *out, const char *text, size_t n)
{
	return out->put ? out->put(out->userdata, text, n) : write_all(out->fd, text, n);
}

int log_file_print(struct log_file *file, const struct log_sink *out)
{
	char block[BLOCK];
	int64_t end = size_of(file);
	ssize_t n;

	/* What is added meanwhile is for the next time, or there would be no end. */
	while (file->offset < end) {
		n = pread(file->fd, block, (size_t)MIN(end - file->offset, (int64_t)BLOCK),
			file->offset);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (file->tame)
			tame(file, block, (size_t)n);
		if (put(out, block, (size_t)n) < 0)
			return -EPIPE;
		file->offset += n;
	}
	return end < 0 ? (int)end : 0;
}

/* Has another file its name by now? */
static bool is_replaced(const struct log_file *file)
{
	struct stat here, there;

	return stat(file->path, &there) == 0 && fstat(file->fd, &here) == 0 &&
	       (here.st_dev != there.st_dev || here.st_ino != there.st_ino);
}

int log_file_follow(struct log_file *file, const struct log_sink *out)
{
	int r, fd;

	if (size_of(file) < file->offset)
		file->offset = 0;
	r = log_file_print(file, out);
	if (r < 0 || !is_replaced(file))
		return r;
	fd = open_regular(file->path, NULL);
	if (fd < 0)
		return 0; /* the old one is as good as none */
	log_file_close(file);
	file->fd = fd;
	file->offset = 0;
	return log_file_print(file, out);
}

int log_file_watch(const struct log_file *file)
{
	_cleanup_(freep) char *copy = strdup(file->path);
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char name[64];

	if (fd < 0 || !copy)
		return fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
	if (inotify_add_watch(fd, name, IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF) < 0 ||
		inotify_add_watch(fd, dirname(copy), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

bool log_file_is_local(const struct log_file *file)
{
	static const unsigned long local[] = { EXT4_SUPER_MAGIC, XFS_MAGIC, BTRFS_SUPER_MAGIC,
		TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, ZFS_MAGIC };
	struct statfs fs;

	if (fstatfs(file->fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < ELEMENTSOF(local); i++)
		if ((unsigned long)fs.f_type == local[i])
			return true;
	return false;
}
