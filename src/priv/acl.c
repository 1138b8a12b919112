/* SPDX-License-Identifier: MIT */
/*
 * A node is held by an O_PATH descriptor from the check of its number on, and its ACL is read and
 * written through /proc/self/fd: whatever is put in its place meanwhile is not touched. Afterwards
 * the path is opened once more, and has to lead to a node that says what was asked for.
 *
 * Mode and ACL are changed by one setxattr(2), from the old to the new without a state in between.
 * (A chmod before it would set the mask, and so open the node to whoever was in the old ACL.) The
 * mask is always there and always rw, also without any user: the kernel shows it as the group bits
 * of the mode, and so the mode is 0660, whoever comes and goes.
 *
 * The owner of a file may open it as u:: says, and change its ACL; so the owner becomes root, and
 * before the ACL is changed, so that nobody can change it back. The group is left: g:: is empty.
 */
#include "priv/acl.h"

#include <acl/libacl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/text.h"

#define FD_PATH_SIZE 32
#define FEW_ENTRIES  4
#define DEPTH_MAX    2
#define ACL_NOTHING  0
#define ACL_OPEN     (ACL_READ | ACL_WRITE)

DEFINE_CLEANUP(acl_t, acl_free)

static bool is_node(const struct stat *st, uint32_t major, uint32_t minor)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(major, minor);
}

/* --- what an ACL is to say --- */

static int add_entry(acl_t *acl, acl_tag_t tag, const uid_t *uid, acl_perm_t allowed)
{
	acl_entry_t entry;
	acl_permset_t permissions;

	if (acl_create_entry(acl, &entry) < 0 || acl_set_tag_type(entry, tag) < 0 ||
		(uid && acl_set_qualifier(entry, uid) < 0) ||
		acl_get_permset(entry, &permissions) < 0 || acl_add_perm(permissions, allowed) < 0)
		return -errno;
	return 0;
}

static int compare_uids(const void *a, const void *b)
{
	uid_t x = *(const uid_t *)a, y = *(const uid_t *)b;

	return (x > y) - (x < y);
}

/* Each once, and not root, who owns the node. */
static int add_users(acl_t *acl, const uid_t *uids, size_t n)
{
	_cleanup_(freep) uid_t *sorted = calloc(n + 1, sizeof(*sorted));
	int r = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		sorted[i] = uids[i];
	qsort(sorted, n, sizeof(*sorted), compare_uids);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (sorted[i] != 0 && (i == 0 || sorted[i] != sorted[i - 1]))
			r = add_entry(acl, ACL_USER, &sorted[i], ACL_OPEN);
	return r;
}

static int acl_of_users(const uid_t *uids, size_t n, acl_t *ret)
{
	_cleanup_(acl_freep) acl_t acl = acl_init((int)n + FEW_ENTRIES);
	int r;

	if (!acl)
		return -errno;
	r = add_entry(&acl, ACL_USER_OBJ, NULL, ACL_OPEN);
	if (r == 0)
		r = add_users(&acl, uids, n);
	if (r == 0)
		r = add_entry(&acl, ACL_GROUP_OBJ, NULL, ACL_NOTHING);
	if (r == 0)
		r = add_entry(&acl, ACL_MASK, NULL, ACL_OPEN);
	if (r == 0)
		r = add_entry(&acl, ACL_OTHER, NULL, ACL_NOTHING);
	if (r == 0)
		*ret = TAKE_PTR(acl);
	return r;
}

/* --- a node --- */

static int open_node(const char *path, uint32_t major, uint32_t minor, struct error *err)
{
	_cleanup_(closep) int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, -errno, "acl.open", "cannot open %s", path);
	if (!is_node(&st, major, minor))
		return error_set(err, -ENODEV, "acl.not-the-node",
			"%s is not the character device %u:%u", path, major, minor);
	return TAKE_FD(fd);
}

static void fd_path(char dst[FD_PATH_SIZE], int fd)
{
	snprintf(dst, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

/* 1 if it belongs to root and says just that, 0 if not. */
static int says(int fd, acl_t wanted)
{
	_cleanup_(acl_freep) acl_t now = NULL;
	char path[FD_PATH_SIZE];
	struct stat st;

	fd_path(path, fd);
	now = acl_get_file(path, ACL_TYPE_ACCESS);
	if (!now || fstat(fd, &st) < 0)
		return -errno;
	return st.st_uid == 0 && acl_cmp(now, wanted) == 0;
}

static int change(int fd, acl_t wanted)
{
	char path[FD_PATH_SIZE];
	struct stat st;

	fd_path(path, fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != 0 && fchownat(fd, "", 0, (gid_t)-1, AT_EMPTY_PATH) < 0)
		return -errno;
	return acl_set_file(path, ACL_TYPE_ACCESS, wanted) < 0 ? -errno : 0;
}

static int make_say(
	const char *path, uint32_t major, uint32_t minor, acl_t wanted, struct error *err)
{
	_cleanup_(closep) int fd = open_node(path, major, minor, err);
	_cleanup_(closep) int again = -1;
	int r;

	if (fd < 0)
		return fd;
	r = says(fd, wanted);
	if (r > 0)
		return 0;
	if (r == 0)
		r = change(fd, wanted);
	if (r < 0)
		return error_errno(err, r, "acl.change", "cannot set the ACL of %s", path);
	again = open_node(path, major, minor, err);
	if (again < 0)
		return again;
	r = says(again, wanted);
	if (r < 0)
		return error_errno(err, r, "acl.read", "cannot read the ACL of %s", path);
	if (r == 0)
		return error_set(err, -EBUSY, "acl.undone",
			"something else changes the permissions of %s at the same time", path);
	return 1;
}

int acl_set(const char *path, uint32_t major, uint32_t minor, const uid_t *uids, size_t n,
	struct error *err)
{
	_cleanup_(acl_freep) acl_t acl = NULL;
	int r = acl_of_users(uids, n, &acl);

	if (r < 0)
		return error_errno(err, r, "acl.make", "cannot make an ACL of %zu users", n);
	return make_say(path, major, minor, acl, err);
}

int acl_clear(const char *path, uint32_t major, uint32_t minor, struct error *err)
{
	_cleanup_(acl_freep) acl_t acl = acl_from_mode(0666);

	if (!acl)
		return error_errno(err, -errno, "acl.make", "cannot make an ACL");
	return make_say(path, major, minor, acl, err);
}

/* --- where nodes are --- */

struct search {
	uint32_t major, minor;
	dev_t file_system;
	int (*fn)(const char *path, void *userdata);
	void *userdata; /* borrowed from the caller */
};

static int walk(const struct search *s, int dir, const char *path, int depth);

/* Removed since it was listed, or something else by now. */
static bool vanished(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP;
}

static int open_dir(int parent, const char *name)
{
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Other file systems are no place for nodes, but may be full of what users put there (/dev/shm). */
static int look_at(
	const struct search *s, int parent, const char *directory, const char *name, int depth)
{
	_cleanup_(freep) char *path = text_format("%s/%s", directory, name);
	_cleanup_(closep) int dir = -1;
	struct stat st;

	if (!path)
		return -ENOMEM;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return vanished(errno) ? 0 : -errno;
	if (is_node(&st, s->major, s->minor))
		return s->fn(path, s->userdata);
	if (!S_ISDIR(st.st_mode) || st.st_dev != s->file_system || depth == DEPTH_MAX)
		return 0;
	dir = open_dir(parent, name);
	if (dir < 0)
		return vanished(errno) ? 0 : -errno;
	return walk(s, TAKE_FD(dir), path, depth + 1);
}

/* Takes dir over. */
static int walk(const struct search *s, int dir, const char *path, int depth)
{
	_cleanup_(closedirp) DIR *entries = fdopendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!entries) {
		r = -errno;
		close(dir);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(entries))) {
		if (entry->d_type != DT_CHR && entry->d_type != DT_DIR &&
			entry->d_type != DT_UNKNOWN)
			continue;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = look_at(s, dirfd(entries), path, entry->d_name, depth);
	}
	return r != 0 ? r : -errno;
}

int acl_find_nodes(const char *directory, uint32_t major, uint32_t minor,
	int (*fn)(const char *path, void *userdata), void *userdata)
{
	struct search s = { .major = major, .minor = minor, .fn = fn, .userdata = userdata };
	_cleanup_(closep) int dir = open_dir(AT_FDCWD, directory);
	struct stat st;

	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	s.file_system = st.st_dev;
	return walk(&s, TAKE_FD(dir), directory, 1);
}
