/* SPDX-License-Identifier: MIT */
/*
 * What is taken away is renamed first: from then on nobody finds it who has not opened it before,
 * and then it is looked at once more. Who had opened it is still about to become its owner, and
 * gets it back.
 *
 * open(2) makes a file first, and has it open for writing a moment later: an empty file is taken
 * for one that is about to be written while it is young. (What this does not see is a process that
 * found no file, slept while another of its user made one and ended, and is on its way into that
 * one.)
 *
 * Every byte here was written by anybody.
 */
#include "daemon/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "dibs-config.h"
#include "priv/process.h"

#define TEXT_MAX     4096 /* theirs have some 120 bytes */
#define TRIES        8    /* somebody may put one there each time */
#define OWN_KEY      "dibs"
#define NSEC_PER_SEC INT64_C(1000000000)
#define SLACK_US     (60 * USEC_PER_SEC) /* by which the wall clock may be set meanwhile */

/* Names that nobody looks for, each used once. */
#define NAME_SIZE 32
static int fresh_name(char dst[NAME_SIZE])
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(dst, NAME_SIZE, ".dibs-%016" PRIx64, number);
	return 0;
}

/* Has somebody it open for writing? A read lease is not to be had then. SIGURG, which does nothing,
 * is what would be sent while we have it. */
static bool is_being_written(int fd)
{
	fcntl(fd, F_SETSIG, SIGURG);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return errno == EAGAIN;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

static bool is_young(int64_t written_ns)
{
	return llabs(clock_wall() - written_ns / 1000) < LOCK_FILE_YOUNG_US;
}

static json_t *read_json(int fd)
{
	char text[TEXT_MAX];
	ssize_t n = read_all(fd, text, sizeof(text));

	return n <= 0 || n == sizeof(text)
		       ? NULL
		       : json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
}

/* Did that process start before the file was written? */
static bool is_older(uint64_t start_ticks, int64_t written_ns)
{
	struct timespec up;
	int64_t age_us;

	clock_gettime(CLOCK_BOOTTIME, &up);
	age_us = up.tv_sec * USEC_PER_SEC -
		 (int64_t)(start_ticks / (uint64_t)sysconf(_SC_CLK_TCK)) * USEC_PER_SEC;
	return clock_wall() - age_us < written_ns / 1000 + SLACK_US;
}

/* Does the process that it names live? One of the owner of the file does; one of somebody else (who
 * may write to a file that says so in its mode) if it is not younger than the file, so that it did
 * not just get the number of one that ended. */
static bool is_live(json_t *json, struct lock_file *lock)
{
	json_int_t pid = json_integer_value(json_object_get(json, "owner"));
	uint64_t start_ticks;
	uid_t uid;

	if (pid < 1 || pid > INT32_MAX || process_start_ticks((pid_t)pid, &start_ticks) < 0 ||
		process_uid((pid_t)pid, &uid) < 0 ||
		(uid != lock->uid && !is_older(start_ticks, lock->written_ns)))
		return false;
	lock->pid = (pid_t)pid;
	lock->start_ticks = start_ticks;
	return true;
}

/* Security: not into another file system: users can mount one of their own on what is theirs, and
 * need not answer us. */
static int open_here(int dir, const char *name)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	/* Linux before 5.6 */
	return fd < 0 && errno == ENOSYS ? openat(dir, name, (int)how.flags) : fd;
}

/* Users can set it to what is more than 64 bits of nanoseconds. */
static int64_t nanoseconds(struct timespec time)
{
	const int64_t max_sec = INT64_MAX / NSEC_PER_SEC - 1;

	return MAX(MIN(time.tv_sec, max_sec), -max_sec) * NSEC_PER_SEC + time.tv_nsec;
}

int lock_file_look(int dir, const char *name, struct lock_file *ret)
{
	_cleanup_(closep) int fd = open_here(dir, name);
	_cleanup_(json_decrefp) json_t *json = NULL;
	struct lock_file lock = { .state = LOCK_STALE };
	struct stat st;

	if (fd < 0 && errno != ENOENT && errno != ELOOP && errno != ENXIO)
		return -errno;
	if (fd < 0) {
		lock.state = errno == ENOENT ? LOCK_NONE : LOCK_STALE;
		*ret = lock;
		return 0;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	lock.uid = st.st_uid;
	lock.gid = st.st_gid;
	lock.written_ns = nanoseconds(st.st_mtim);
	if (S_ISREG(st.st_mode)) {
		/* In this order: who closes it in between has written what is read. */
		bool writing = is_being_written(fd);

		json = read_json(fd);
		if (st.st_uid == geteuid() && json_object_get(json, OWN_KEY))
			lock.state = LOCK_OURS;
		else if (is_live(json, &lock))
			lock.state = LOCK_LIVE;
		else if (writing || (st.st_size == 0 && is_young(lock.written_ns)))
			lock.state = LOCK_WRITING;
		lock.young = !writing;
	}
	*ret = lock;
	return 0;
}

/* A file of any kind; a directory with something in it stays, under that name. */
static void discard(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) < 0 && errno == EISDIR)
		unlinkat(dir, name, AT_REMOVEDIR);
}

int lock_file_remove(int dir, const char *name, bool force)
{
	struct lock_file lock = { .state = LOCK_LIVE };
	char away[NAME_SIZE];
	int r = fresh_name(away);

	if (r < 0)
		return r;
	if (renameat2(dir, name, dir, away, RENAME_NOREPLACE) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!force)
		r = lock_file_look(dir, away, &lock);
	if (force || (r == 0 && lock.state != LOCK_LIVE && lock.state != LOCK_WRITING)) {
		discard(dir, away);
		return 0;
	}
	/* Back, unless there is a newer one by now: that one counts. */
	if (renameat2(dir, away, dir, name, RENAME_NOREPLACE) < 0)
		discard(dir, away);
	return r < 0 ? r : -EAGAIN;
}

/* A file with that text under a fresh name. */
static int write_new(int dir, const char *text, char ret_name[NAME_SIZE])
{
	_cleanup_(closep) int fd = -1;
	int r = fresh_name(ret_name);

	if (r < 0)
		return r;
	fd = openat(dir, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, strlen(text));
	if (r >= 0 && fchmod(fd, 0644) < 0) /* whatever the umask */
		r = -errno;
	if (r < 0)
		unlinkat(dir, ret_name, 0);
	return r;
}

/* The file named fresh becomes name. */
static int put(int dir, const char *fresh, const char *name)
{
	for (int i = 0; i < TRIES; i++) {
		struct lock_file lock;
		int r;

		if (linkat(dir, fresh, dir, name, 0) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
		r = lock_file_look(dir, name, &lock);
		if (r < 0)
			return r;
		if (lock.state == LOCK_LIVE || lock.state == LOCK_WRITING)
			return -EEXIST;
		/* Nobody but us can have replaced it meanwhile. */
		if (lock.state == LOCK_OURS)
			return renameat(dir, fresh, dir, name) < 0 ? -errno : 0;
		if (lock.state == LOCK_STALE) {
			r = lock_file_remove(dir, name, false);
			if (r < 0 && r != -EAGAIN)
				return r;
		}
	}
	return -EEXIST;
}

int lock_file_place(int dir, const char *name, const char *text)
{
	char fresh[NAME_SIZE];
	int r = write_new(dir, text, fresh);

	if (r < 0)
		return r;
	r = put(dir, fresh, name);
	unlinkat(dir, fresh, 0);
	return r;
}

/* Their name, or number. From the file alone: a directory service that does not answer must not
 * hold up the daemon. */
static char *user_name(uid_t uid)
{
	_cleanup_(fclosep) FILE *file = fopen("/etc/passwd", "re");
	struct passwd *user;

	while (file && (user = fgetpwent(file)))
		if (user->pw_uid == uid)
			return strdup(user->pw_name);
	return text_format("%u", (unsigned)uid);
}

char *lock_file_text(int index, uid_t uid, int64_t lease)
{
	_cleanup_(freep) char *user = user_name(uid);
	_cleanup_(json_decrefp) json_t *json = NULL;

	if (!user)
		return NULL;
	/* "id" for the first generation of the package, "uid" for the second. */
	json = json_pack("{s:s, s:I, s:i, s:i, s:i, s:s, s:I}", "user", user, "time",
		(json_int_t)(clock_wall() / USEC_PER_SEC), "uid", index, "id", index, "owner", 0,
		"version", "dibs " DIBS_VERSION, OWN_KEY, (json_int_t)lease);
	return json ? json_dumps(json, JSON_INDENT(4)) : NULL;
}
