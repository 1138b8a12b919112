/* SPDX-License-Identifier: MIT */
/*
 * Membership is asked of /proc/PID/cgroup, which names cgroups from the top of the hierarchy, while
 * callers name them by directory. The top is found by walking up to where the device number
 * changes: that is the mount, and needs no search through the table of mounts.
 *
 * Signalling takes rounds: read who is there, signal those not yet signalled, until a round finds
 * nobody new. A process forked after its parent's signal was sent is found in the next round. Each
 * is opened (pidfd), then its membership is read again: if the pid was recycled before the opening,
 * the newcomer is not a member; if after, the pidfd stands for the dead one and the signal goes
 * nowhere.
 *
 * Only root can make sub-cgroups in ours, but a lease may well contain a root (sudo). They are
 * walked with a limit of depth, since each level holds a descriptor.
 */
#include "priv/cgroup.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/fd.h"
#include "base/text.h"
#include "priv/process.h"

#define DEPTH_MAX      32
#define ROUNDS_MAX     32
#define SEEN_MAX       16384
#define PID_LIMIT      (4 * 1024 * 1024) /* PID_MAX_LIMIT of include/linux/threads.h */
#define EVENTS_SIZE    256
#define PID_TEXT_SIZE  16
#define SERVICE_SUFFIX ".service"
#define OWN_NAME       "dibs"
#define RUNS_NAME      "runs"

DEFINE_CLEANUP(FILE *, endmntent)

static int open_dir(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

/* --- where leases get their cgroups --- */

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* mkdir, but never outside of a cgroup2 mount. path is changed meanwhile. */
static int make_inside(char *path)
{
	char *last = strrchr(path, '/');
	bool inside;

	if (access(path, F_OK) == 0)
		return 0;
	*last = '\0';
	inside = is_cgroup2(path);
	*last = '/';
	if (!inside)
		return -EOPNOTSUPP;
	return cgroup_create(path);
}

/* mkdir -p. path is changed meanwhile. */
static int make_below_mount(char *path)
{
	int r = 0;

	for (char *slash = path; r == 0 && (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		r = make_inside(path);
		*slash = '/';
	}
	if (r == 0)
		r = make_inside(path);
	return r == 0 && !is_cgroup2(path) ? -EOPNOTSUPP : r;
}

int cgroup_mount(char **ret)
{
	_cleanup_(endmntentp) FILE *mounts = setmntent("/proc/self/mounts", "re");
	char text[2 * PATH_MAX];
	struct mntent entry;

	if (!mounts)
		return -errno;
	while (getmntent_r(mounts, &entry, text, sizeof(text)))
		if (strcmp(entry.mnt_type, "cgroup2") == 0) {
			*ret = strdup(entry.mnt_dir);
			return *ret ? 0 : -ENOMEM;
		}
	return -EOPNOTSUPP;
}

/* Our own cgroup if it is that of a service: nobody else puts processes there. */
static char *choose(const char *mount)
{
	char own[PATH_MAX];
	size_t n, suffix = strlen(SERVICE_SUFFIX);

	if (process_cgroup(getpid(), own, sizeof(own)) == 0) {
		n = strlen(own);
		if (n > suffix && strcmp(own + n - suffix, SERVICE_SUFFIX) == 0)
			return text_format("%s%s/" RUNS_NAME, mount, own);
	}
	return text_format("%s/" OWN_NAME, mount);
}

static bool can_hold_leases(const char *path)
{
	_cleanup_(freep) char *procs = text_format("%s/cgroup.procs", path);

	return procs && faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0 &&
	       faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
}

int cgroup_root_open(const char *configured, char **ret, struct error *err)
{
	_cleanup_(freep) char *mount = NULL;
	_cleanup_(freep) char *path = NULL;
	_cleanup_(freep) char *real = NULL;
	int r;

	if (configured) {
		path = strdup(configured);
	} else {
		r = cgroup_mount(&mount);
		if (r < 0)
			return error_set(
				err, r, "cgroup.none", "no cgroup2 file system is mounted");
		path = choose(mount);
	}
	if (!path)
		return error_set(err, -ENOMEM, "cgroup.memory", "out of memory");
	if (path[0] != '/')
		return error_set(
			err, -EINVAL, "cgroup.relative", "%s is not an absolute path", path);
	r = make_below_mount(path);
	if (r == -EOPNOTSUPP)
		return error_set(
			err, r, "cgroup.outside", "%s is not on a cgroup2 file system", path);
	if (r < 0) {
		error_errno(err, r, "cgroup.create", "cannot create the cgroup %s", path);
		return -EOPNOTSUPP;
	}
	real = realpath(path, NULL);
	if (!real || !can_hold_leases(real))
		return error_set(err, -EOPNOTSUPP, "cgroup.not-writable",
			"cgroups cannot be made in %s", path);
	*ret = TAKE_PTR(real);
	return 0;
}

/* --- one cgroup --- */

int cgroup_create(const char *path)
{
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int cgroup_attach(const char *path, pid_t pid)
{
	char text[PID_TEXT_SIZE];
	_cleanup_(closep) int dir = open_dir(AT_FDCWD, path);

	assert(pid > 0); /* 0 would move ourselves */
	if (dir < 0)
		return dir;
	snprintf(text, sizeof(text), "%d", pid);
	return write_file_at(dir, "cgroup.procs", text);
}

int cgroup_populated(const char *path)
{
	char events[EVENTS_SIZE];
	_cleanup_(closep) int dir = open_dir(AT_FDCWD, path);
	ssize_t n;

	if (dir < 0)
		return dir;
	n = read_file_at(dir, "cgroup.events", events, sizeof(events));
	if (n < 0)
		return n == -ENODEV ? -ENOENT : (int)n; /* removed since it was opened */
	return strstr(events, "populated 1") != NULL;
}

/* What /proc/PID/cgroup calls the cgroup at path: the end of path, from its mount on. NULL if there
 * is no such directory. */
static const char *name_in_hierarchy(const char *path)
{
	_cleanup_(freep) char *up = strdup(path);
	struct stat here, above;
	size_t end = strlen(path);

	if (!up || stat(path, &here) < 0)
		return NULL;
	for (char *slash; (slash = strrchr(up, '/')); end = (size_t)(slash - up)) {
		*slash = '\0';
		if (stat(*up ? up : "/", &above) < 0)
			return NULL;
		if (above.st_dev != here.st_dev)
			return path + end;
	}
	return NULL;
}

static bool is_member(const char *name, pid_t pid)
{
	char own[PATH_MAX];
	size_t n = strlen(name);

	return process_cgroup(pid, own, sizeof(own)) == 0 && strncmp(own, name, n) == 0 &&
	       (own[n] == '\0' || own[n] == '/');
}

bool cgroup_has(const char *path, pid_t pid)
{
	const char *name = name_in_hierarchy(path);

	return name && is_member(name, pid);
}

/* --- a cgroup and those below it --- */

typedef int child_fn(int parent, const char *name, unsigned depth, void *userdata);

/* Calls fn for all, also after one failed; returns the first failure. */
static int for_each_child(int dir, child_fn *fn, unsigned depth, void *userdata)
{
	_cleanup_(closedirp) DIR *entries = opendir_at(dir, ".");
	struct dirent *entry;
	int first = 0;

	if (!entries)
		return -errno;
	while ((entry = readdir(entries))) {
		int r;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		r = depth < DEPTH_MAX ? fn(dir, entry->d_name, depth + 1, userdata) : -ELOOP;
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

struct signalling {
	const char *name; /* borrowed from the path: see name_in_hierarchy() */
	int sig;
	unsigned char *seen; /* owned; a bit for each pid */
	int seen_count, signalled;
	int error; /* the first one */
};

static void signal_process(struct signalling *s, pid_t pid)
{
	_cleanup_(closep) int fd = pidfd_open(pid, 0);

	if (fd >= 0 && !is_member(s->name, pid))
		return;
	if (fd >= 0 && pidfd_send_signal(fd, s->sig, NULL, 0) == 0)
		s->signalled++;
	else if (errno != ESRCH && s->error == 0)
		s->error = -errno;
}

static int signal_below(int parent, const char *path, unsigned depth, void *userdata)
{
	struct signalling *s = userdata;
	_cleanup_(closep) int dir = open_dir(parent, path);
	_cleanup_(fclosep) FILE *procs = NULL;
	pid_t pid;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	procs = fopen_at(dir, "cgroup.procs");
	/* Nothing to read in a threaded cgroup: its processes are listed further up. A pid of 0
	 * is a process of another pid namespace. */
	while (procs && s->seen_count < SEEN_MAX && fscanf(procs, "%d", &pid) == 1) {
		if (pid <= 0 || pid >= PID_LIMIT || s->seen[pid / 8] & 1 << pid % 8)
			continue;
		s->seen[pid / 8] |= (unsigned char)(1 << pid % 8);
		s->seen_count++;
		signal_process(s, pid);
	}
	return for_each_child(dir, signal_below, depth, s);
}

int cgroup_signal(const char *path, int sig)
{
	_cleanup_(freep) unsigned char *seen = calloc(PID_LIMIT / 8, 1);
	struct signalling s = { .name = name_in_hierarchy(path), .sig = sig, .seen = seen };

	if (!s.name)
		return -ENOENT;
	if (!seen)
		return -ENOMEM;
	for (int before = -1, round = 0; round < ROUNDS_MAX && s.seen_count > before; round++) {
		int r;

		before = s.seen_count;
		r = signal_below(AT_FDCWD, path, 0, &s);
		if (r < 0 && s.error == 0)
			s.error = r;
	}
	return s.error < 0 ? s.error : s.signalled;
}

int cgroup_kill(const char *path)
{
	_cleanup_(closep) int dir = open_dir(AT_FDCWD, path);
	int r;

	if (dir < 0)
		return dir;
	r = write_file_at(dir, "cgroup.kill", "1");
	if (r == -ENOENT)
		r = cgroup_signal(path, SIGKILL);
	return MIN(r, 0);
}

static int remove_below(int parent, const char *path, unsigned depth, void *userdata)
{
	_cleanup_(closep) int dir = open_dir(parent, path);
	int r;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	r = for_each_child(dir, remove_below, depth, userdata);
	if (unlinkat(parent, path, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	return r < 0 ? r : -errno;
}

int cgroup_remove(const char *path)
{
	return remove_below(AT_FDCWD, path, 0, NULL);
}
