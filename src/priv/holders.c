/* SPDX-License-Identifier: MIT */
/*
 * A scan is where it is: three open directories, of processes, of the threads of one, and of the
 * descriptors of one thread. Each step reads one entry of the innermost, so that neither a million
 * descriptors nor ten thousand threads hold up the caller. Everything of a process is reached
 * through a descriptor of its /proc/PID, which never shows another one that got the pid later.
 *
 * Threads mostly share one table of descriptors: kcmp(2) tells without reading it again, for 1 us a
 * thread. It takes a lock that execve(2) holds, but only once the other threads are gone, and we
 * ask only where there are some: a process of one thread is read without its list of threads, which
 * saves a tenth of the time. Where kcmp fails, each table is read. The table of a leader that
 * exited is empty, its threads have theirs. Kernel threads have nothing open, and finding that out
 * costs no more than asking whether it is one.
 *
 * The link /proc/PID/fd/N leads to the open file itself, wherever in which mount namespace its name
 * was, if it still has one. To follow it looks nothing up by name, and AT_STATX_DONT_SYNC takes
 * type and device number, which never change, from the inode in memory. So no server of a network
 * file system or FUSE is asked, which may not answer. (NFS asks anyway for a file that it knows
 * to be removed.) fdinfo would not tell the number, pidfd_getfd(2) would make us close the file.
 *
 * A descriptor of open(2) with O_PATH opened no device. Its link has neither the bit for reading
 * nor that for writing; as that goes for the access mode 3 too (ioctl alone), fdinfo has the last
 * word. It is not read otherwise: a graphics driver can wait for its GPU there.
 */
#include "priv/holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/parse.h"
#include "priv/process.h"

#define PATH_SIZE        64
#define FDINFO_SIZE      512 /* more than that of a descriptor without a driver behind it */
#define NLINK_NO_THREADS 2
#define SIGNAL_BUDGET_US (5 * USEC_PER_MSEC)

struct holders {
	uint32_t (*devices)[2]; /* owned */
	size_t n;
	uid_t uid;            /* -1: of whomever */
	struct holder *found; /* owned */
	size_t found_n, found_size;
	DIR *processes, *threads, *descriptors; /* owned; NULL: not inside one */
	bool done;
	int process; /* owned; /proc/PID of the process that is being looked at, or -1 */
	pid_t pid, tid;
	nlink_t threads_left;
	size_t first; /* the place in found of what this process has open */
	int error;    /* the first one */
};

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * USEC_PER_SEC + t.tv_nsec / 1000;
}

static bool means_gone(int error)
{
	return error == -ENOENT || error == -ESRCH;
}

/* name in directory is a file of a process or thread that is no more? */
static bool has_ended(int directory, const char *name)
{
	return faccessat(directory, name, F_OK, 0) < 0 && means_gone(-errno);
}

static bool process_ended(const struct holders *scan)
{
	return has_ended(scan->process, "stat");
}

/* The kernel may keep even us out of a process of root: an LSM, or a sandbox around its init. That
 * is no hiding place of a user. A user's process that we are kept out of says that we lack rights.
 */
static bool is_kept_by_root(const struct holders *scan, int error)
{
	uid_t uid;

	return (error == -EACCES || error == -EPERM) && process_uid(scan->pid, &uid) == 0 &&
	       uid == 0;
}

/* Keeps what went wrong, unless it did because the process ended meanwhile: then any error may be
 * seen. */
static void note(struct holders *scan, int error)
{
	if (means_gone(error))
		return;
	if (scan->process >= 0 && (process_ended(scan) || is_kept_by_root(scan, error)))
		return;
	if (scan->error == 0)
		scan->error = error;
}

static int open_dir(int at, const char *path, DIR **ret)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret = fdopendir(fd);
	if (!*ret) {
		close(fd);
		return -ENOMEM;
	}
	return 0;
}

static void close_dir(DIR **dir)
{
	closedirp(dir);
	*dir = NULL;
}

/* The next entry that is a number; -ENOENT: there are no more. */
static int next_number(DIR *dir)
{
	struct dirent *entry;
	uint64_t number;

	do {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return errno ? -errno : -ENOENT;
	} while (parse_uint(entry->d_name, 0, INT_MAX, &number) < 0);
	return (int)number;
}

/* --- one descriptor --- */

static bool is_path_only(int directory, const char *name)
{
	char path[PATH_SIZE], info[FDINFO_SIZE];
	const char *text;
	struct stat st;
	unsigned flags;

	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		st.st_mode & (S_IRUSR | S_IWUSR))
		return false;
	snprintf(path, sizeof(path), "../fdinfo/%s", name);
	if (read_file_at(directory, path, info, sizeof(info)) < 0)
		return false;
	text = strstr(info, "flags:");
	return text && sscanf(text, "flags: %o", &flags) == 1 && flags & O_PATH;
}

/* 1 if descriptor fd of the table in directory has a character device open, 0 if not, or a negative
 * errno. */
static int device_of(int directory, int fd, uint32_t ret[2])
{
	char name[PATH_SIZE], target[1];
	struct statx st;
	int error;

	snprintf(name, sizeof(name), "%d", fd);
	if (statx(directory, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) == 0) {
		ret[0] = st.stx_rdev_major;
		ret[1] = st.stx_rdev_minor;
		return S_ISCHR(st.stx_mode) ? 1 : 0;
	}
	/* A file system that keeps us out (FUSE of another user) refuses what the link leads to,
	 * not the link, and nobody can open devices there. Its name there can be too long. */
	if (readlinkat(directory, name, target, sizeof(target)) >= 0 || errno == ENAMETOOLONG)
		return 0;
	error = -errno;
	/* A thread that ended just now can look like one that we are kept out of. */
	return means_gone(error) || has_ended(directory, "../stat") ? 0 : error;
}

static bool is_wanted(const struct holders *scan, const uint32_t device[2])
{
	for (size_t i = scan->first; i < scan->found_n; i++)
		if (scan->found[i].major == device[0] && scan->found[i].minor == device[1])
			return false;
	for (size_t i = 0; i < scan->n; i++)
		if (scan->devices[i][0] == device[0] && scan->devices[i][1] == device[1])
			return true;
	return false;
}

static int append(struct holders *scan, const struct holder *holder)
{
	if (array_make_room(scan->found, scan->found_n, scan->found_size) < 0)
		return -ENOMEM;
	scan->found[scan->found_n++] = *holder;
	return 0;
}

static int add(struct holders *scan, int fd, const uint32_t device[2])
{
	struct holder holder = {
		.pid = scan->pid, .major = device[0], .minor = device[1], .tid = scan->tid, .fd = fd
	};
	int r = process_start_ticks(scan->pid, &holder.start_ticks);

	if (r == 0)
		r = process_uid(scan->pid, &holder.uid);
	if (r < 0)
		return r;
	/* If it lives now, its pid was not another's when those were read. */
	return process_ended(scan) ? -ESRCH : append(scan, &holder);
}

/* --- where the scan is --- */

static void leave_process(struct holders *scan)
{
	close_dir(&scan->descriptors);
	close_dir(&scan->threads);
	closep(&scan->process);
	scan->process = -1;
	scan->tid = 0;
	scan->first = scan->found_n;
}

static void enter_process(struct holders *scan, pid_t pid)
{
	char path[PATH_SIZE];
	struct stat st;
	int r;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	scan->pid = pid;
	scan->process = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (scan->process >= 0 && scan->uid != (uid_t)-1 && fstat(scan->process, &st) == 0 &&
		st.st_uid != scan->uid) {
		leave_process(scan);
		return;
	}
	if (scan->process < 0 || fstatat(scan->process, "task", &st, 0) < 0) {
		r = -errno;
	} else if (st.st_nlink > NLINK_NO_THREADS + 1) {
		/* The eldest are listed first. Those that are started from now on have their
		 * descriptors from these; without this limit, they could keep us here. */
		scan->threads_left = st.st_nlink - NLINK_NO_THREADS;
		r = open_dir(scan->process, "task", &scan->threads);
	} else {
		scan->tid = pid;
		r = open_dir(scan->process, "fd", &scan->descriptors);
	}
	if (r < 0) {
		note(scan, r);
		leave_process(scan);
	}
}

static void next_descriptor(struct holders *scan)
{
	char name[PATH_SIZE];
	uint32_t device[2];
	int directory = dirfd(scan->descriptors), fd = next_number(scan->descriptors), r;

	if (fd < 0) {
		note(scan, fd);
		close_dir(&scan->descriptors);
		return;
	}
	r = device_of(directory, fd, device);
	snprintf(name, sizeof(name), "%d", fd);
	if (r == 1 && is_wanted(scan, device) && !is_path_only(directory, name))
		r = add(scan, fd, device);
	if (r < 0)
		note(scan, r);
	/* Who keeps us from one descriptor keeps us from all. */
	if (r == -EACCES || r == -EPERM || scan->found_n - scan->first == scan->n)
		leave_process(scan);
}

static void next_thread(struct holders *scan)
{
	char path[PATH_SIZE];
	pid_t tid = scan->threads_left > 0 ? next_number(scan->threads) : -ENOENT;
	int r;

	if (tid < 0) {
		note(scan, tid);
		leave_process(scan);
		return;
	}
	scan->threads_left--;
	if (scan->tid != 0 && syscall(SYS_kcmp, scan->tid, tid, KCMP_FILES, 0, 0) == 0)
		return;
	scan->tid = tid;
	snprintf(path, sizeof(path), "%d/fd", tid);
	r = open_dir(dirfd(scan->threads), path, &scan->descriptors);
	if (r < 0)
		note(scan, r);
}

static void next_process(struct holders *scan)
{
	int r = scan->processes ? 0 : open_dir(AT_FDCWD, "/proc", &scan->processes);
	pid_t pid = r < 0 ? r : next_number(scan->processes);

	if (pid < 0) {
		note(scan, pid);
		close_dir(&scan->processes);
		scan->done = true;
	} else if (pid != getpid()) {
		enter_process(scan, pid);
	}
}

static void advance(struct holders *scan)
{
	if (scan->descriptors)
		next_descriptor(scan);
	else if (scan->threads)
		next_thread(scan);
	else if (scan->process >= 0)
		leave_process(scan);
	else
		next_process(scan);
}

/* --- the whole --- */

struct holders *holders_new(const uint32_t (*devices)[2], size_t n, uid_t uid)
{
	_cleanup_(holders_freep) struct holders *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return NULL;
	scan->process = -1;
	scan->uid = uid;
	scan->devices = calloc(n + 1, sizeof(*devices));
	if (!scan->devices)
		return NULL;
	for (; scan->n < n; scan->n++)
		memcpy(scan->devices[scan->n], devices[scan->n], sizeof(*devices));
	return TAKE_PTR(scan);
}

struct holders *holders_free(struct holders *scan)
{
	if (!scan)
		return NULL;
	leave_process(scan);
	close_dir(&scan->processes);
	free(scan->devices);
	free(scan->found);
	free(scan);
	return NULL;
}

int holders_step(struct holders *scan, int64_t budget_us)
{
	int64_t end = now_us() + budget_us;

	while (!scan->done) {
		advance(scan);
		if (!scan->done && now_us() >= end)
			return 1;
	}
	return scan->error;
}

const struct holder *holders_found(const struct holders *scan, size_t *ret_n)
{
	*ret_n = scan->found_n;
	return scan->found;
}

/* --- one holder --- */

/* Does it where it was seen last? */
static bool holds_there(const struct holder *holder)
{
	char path[PATH_SIZE], name[PATH_SIZE];
	_cleanup_(closep) int directory = -1;
	uint32_t device[2];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", holder->pid, holder->tid);
	snprintf(name, sizeof(name), "%d", holder->fd);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory >= 0 && device_of(directory, holder->fd, device) == 1 &&
	       device[0] == holder->major && device[1] == holder->minor &&
	       !is_path_only(directory, name);
}

/* 0 if it does anywhere. */
static int check_holds(const struct holder *holder)
{
	const uint32_t device[1][2] = { { holder->major, holder->minor } };
	_cleanup_(holders_freep) struct holders *scan = NULL;
	int64_t end = now_us() + SIGNAL_BUDGET_US;

	if (holds_there(holder))
		return 0;
	scan = holders_new(device, 1, (uid_t)-1);
	if (!scan)
		return -ENOMEM;
	for (enter_process(scan, holder->pid); scan->process >= 0; advance(scan))
		if (now_us() >= end)
			return -EAGAIN;
	if (scan->found_n > 0)
		return 0;
	return scan->error < 0 ? scan->error : -ESRCH;
}

int holder_signal(const struct holder *holder, int sig)
{
	/* First of all, so that what is then seen of this pid is about the process that it names,
	 * or about none that gets the signal. */
	_cleanup_(closep) int fd = process_open(holder->pid, holder->start_ticks);
	int r;

	if (fd < 0)
		return fd;
	r = check_holds(holder);
	if (r < 0)
		return r;
	return pidfd_send_signal(fd, sig, NULL, 0) < 0 ? -errno : 0;
}
