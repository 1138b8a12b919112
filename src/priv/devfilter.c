/* SPDX-License-Identifier: MIT */
/*
 * Three kinds of pins in one directory: "map", "program" (which asks that map) and "cgroup-ID", the
 * link that puts the program in force over a tree of cgroups. The directory is all the state there
 * is: links are opened when they are looked at, and belong to their pins.
 *
 * What a daemon before us left is ours if the map has the shape and the name of ours, and the
 * program the instructions (tag) of ours and that map. If not, a new map is made beside it; the old
 * one stays in force until the new one has been filled and the links are moved over, each by one
 * exchange. So that a crash in between changes nothing, the new ones are pinned after they were
 * filled: a pinned map is one that may be attached.
 */
#include "priv/devfilter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "priv/bpf.h"
#include "priv/devmap.h"
#include "priv/devprogram.h"

#define BPFFS       "/sys/fs/bpf"
#define MAP_PIN     "map"
#define PROGRAM_PIN "program"
#define LINK_PIN    "cgroup-"
#define PIN_SIZE    32

struct devfilter {
	char *path; /* owned: the pin directory */
	int dir, program;
	uint32_t program_id;
	struct devmap map;
	bool pinned; /* map and program are those that are pinned */
};

/* --- pins --- */

static int get_pin(const struct devfilter *f, const char *name)
{
	_cleanup_(freep) char *path = text_format("%s/%s", f->path, name);

	return path ? bpf_get(path) : -ENOMEM;
}

/* Pins it in the place of whatever has that name. */
static int set_pin(const struct devfilter *f, const char *name, int fd)
{
	_cleanup_(freep) char *path = text_format("%s/new-%s", f->path, name);
	const char *temporary;
	int r;

	if (!path)
		return -ENOMEM;
	temporary = strrchr(path, '/') + 1;
	unlinkat(f->dir, temporary, 0); /* of one who crashed here */
	r = bpf_pin(fd, path);
	if (r == 0 && renameat(f->dir, temporary, f->dir, name) < 0)
		r = -errno;
	return r;
}

/* Detaches it if it is a link, also if somebody else has it open. */
static int drop_pin(const struct devfilter *f, const char *name)
{
	_cleanup_(closep) int fd = get_pin(f, name);

	if (fd >= 0)
		bpf_link_end(fd);
	return unlinkat(f->dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Calls fn for the name of every pin; returns the first failure, after all. */
static int for_each_pin(struct devfilter *f,
	int (*fn)(struct devfilter *f, const char *name, const void *userdata),
	const void *userdata)
{
	_cleanup_(closedirp) DIR *pins = opendir_at(f->dir, ".");
	struct dirent *entry;
	int first = 0;

	if (!pins)
		return -errno;
	while ((entry = readdir(pins))) {
		int r = entry->d_name[0] == '.' ? 0 : fn(f, entry->d_name, userdata);

		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

/* --- opening --- */

struct devfilter *devfilter_free(struct devfilter *f)
{
	if (!f)
		return NULL;
	closep(&f->dir);
	closep(&f->program);
	devmap_release(&f->map);
	free(f->path);
	free(f);
	return NULL;
}

DEFINE_CLEANUP(struct devfilter *, devfilter_free)

static struct devfilter *new_filter(const char *pin_directory)
{
	struct devfilter *f = calloc(1, sizeof(*f));

	if (f)
		*f = (struct devfilter){
			.path = strdup(pin_directory), .dir = -1, .map.fd = -1, .program = -1
		};
	return f && !f->path ? devfilter_free(f) : f;
}

static bool is_on(const char *path, long magic)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == magic;
}

static int make_directory(const char *path, struct error *err)
{
	if (strncmp(path, BPFFS "/", strlen(BPFFS "/")) == 0 && !is_on(BPFFS, BPF_FS_MAGIC) &&
		mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700") < 0) {
		int r = errno == ENOENT || errno == ENODEV ? -EOPNOTSUPP : -errno;

		return error_errno(err, r, "devfilter.mount",
			"cannot mount a bpf file system at " BPFFS "; try 'mount -t bpf bpf " BPFFS
			"'");
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, -errno, "devfilter.directory",
			"cannot make the directory %s on a bpf file system", path);
	return 0;
}

/* Security: who can write there could put a program of their own in the place of ours. */
static int open_directory(struct devfilter *f, struct error *err)
{
	struct statfs fs;
	struct stat st;

	f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->dir < 0)
		return error_errno(err, -errno, "devfilter.directory", "cannot open %s", f->path);
	if (fstatfs(f->dir, &fs) < 0 || fstat(f->dir, &st) < 0)
		return error_errno(
			err, -errno, "devfilter.directory", "cannot look at %s", f->path);
	if (fs.f_type != BPF_FS_MAGIC)
		return error_set(err, -EOPNOTSUPP, "devfilter.directory",
			"%s is not on a bpf file system", f->path);
	if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return error_set(err, -EPERM, "devfilter.directory",
			"%s belongs to somebody else, or others can write to it; remove it",
			f->path);
	return 0;
}

/* Which program it is, and the only map that it asks. */
static int get_program(int fd, struct bpf_prog_info *ret, uint32_t *ret_map)
{
	memset(ret, 0, sizeof(*ret));
	*ret_map = 0;
	ret->nr_map_ids = 1;
	ret->map_ids = bpf_address(ret_map);
	return bpf_get_info(fd, ret, sizeof(*ret));
}

static bool is_same_program(int a, int b)
{
	struct bpf_prog_info one, other;
	uint32_t one_map, other_map;

	return get_program(a, &one, &one_map) == 0 && get_program(b, &other, &other_map) == 0 &&
	       one.type == other.type && memcmp(one.tag, other.tag, sizeof(one.tag)) == 0 &&
	       one.nr_map_ids == other.nr_map_ids && one_map == other_map;
}

/* The pinned map and program if they are ours, else new ones, not pinned yet. */
static int take_up(struct devfilter *f)
{
	_cleanup_(closep) int pinned = -1;
	struct bpf_prog_info info;
	uint32_t map;
	int r;

	f->map.fd = get_pin(f, MAP_PIN);
	if (f->map.fd < 0 || !devmap_is_ours(f->map.fd)) {
		closep(&f->map.fd);
		f->map.fd = devmap_create();
	} else {
		pinned = get_pin(f, PROGRAM_PIN);
	}
	if (f->map.fd < 0)
		return f->map.fd;
	f->program = devprogram_load(f->map.fd);
	if (f->program < 0)
		return f->program;
	if (pinned >= 0 && is_same_program(f->program, pinned)) {
		close(f->program);
		f->program = TAKE_FD(pinned);
		f->pinned = true;
	}
	r = get_program(f->program, &info, &map);
	f->program_id = info.id;
	return r;
}

int devfilter_open(const char *pin_directory, struct devfilter **ret, struct error *err)
{
	_cleanup_(devfilter_freep) struct devfilter *f = new_filter(pin_directory);
	int r;

	if (!f)
		return error_set(err, -ENOMEM, "devfilter.memory", "out of memory");
	r = make_directory(pin_directory, err);
	if (r == 0)
		r = open_directory(f, err);
	if (r < 0)
		return r == -EACCES ? -EPERM : r;
	r = take_up(f);
	/* -EINVAL is what the kernel says of a helper that programs of this type do not have. */
	if (r == -EINVAL || r == -ENOSYS)
		return error_set(err, -EOPNOTSUPP, "devfilter.kernel",
			"this kernel cannot filter devices by cgroup; Linux 6.1 and newer can, "
			"with CONFIG_CGROUP_BPF");
	if (r < 0)
		return error_errno(err, r, "devfilter.load", "cannot load the device filter");
	*ret = TAKE_PTR(f);
	return 0;
}

/* From now on the next one takes these up. */
static int pin(struct devfilter *f)
{
	int r = f->pinned ? 0 : set_pin(f, MAP_PIN, f->map.fd);

	if (r == 0 && !f->pinned)
		r = set_pin(f, PROGRAM_PIN, f->program);
	f->pinned = r == 0;
	return r;
}

int devfilter_set(
	struct devfilter *f, const struct devfilter_entry *entries, size_t n, struct error *err)
{
	int r = devmap_set(&f->map, entries, n);

	if (r == -E2BIG)
		return error_set(err, r, "devfilter.full",
			"the device filter holds %d entries, and more are wanted",
			DEVFILTER_ENTRIES_MAX);
	if (r == 0)
		r = pin(f);
	return r < 0 ? error_errno(err, r, "devfilter.set", "cannot change the device filter") : 0;
}

/* --- cgroups --- */

static int open_cgroup(const char *path, uint64_t *ret_id)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return -EOPNOTSUPP;
	*ret_id = st.st_ino;
	return TAKE_FD(fd);
}

int devfilter_cgroup_id(const char *path, uint64_t *ret)
{
	_cleanup_(closep) int fd = open_cgroup(path, ret);

	return MIN(fd, 0);
}

/* The program that a link has in force over this cgroup; 0 if it has none, or is no such link. */
static uint32_t program_of(int link, uint64_t id)
{
	struct bpf_link_info info = { 0 };

	if (bpf_get_info(link, &info, sizeof(info)) < 0 || info.type != BPF_LINK_TYPE_CGROUP ||
		info.cgroup.attach_type != BPF_CGROUP_DEVICE || info.cgroup.cgroup_id != id)
		return 0;
	return info.prog_id;
}

/* Returns 1 if something had to be done. */
static int attach(const struct devfilter *f, const char *path, uint64_t *ret_id)
{
	_cleanup_(closep) int cgroup = open_cgroup(path, ret_id);
	_cleanup_(closep) int link = -1;
	char name[PIN_SIZE];
	uint32_t program;
	int r;

	if (cgroup < 0)
		return cgroup;
	snprintf(name, sizeof(name), LINK_PIN "%" PRIu64, *ret_id);
	link = get_pin(f, name);
	program = link < 0 ? 0 : program_of(link, *ret_id);
	if (program == f->program_id)
		return 0;
	if (program != 0) {
		r = bpf_link_exchange(link, f->program);
		return r < 0 ? r : 1;
	}
	closep(&link);
	link = bpf_link_device(f->program, cgroup);
	if (link < 0)
		return link;
	r = set_pin(f, name, link);
	return r < 0 ? r : 1;
}

struct ids {
	uint64_t *ids; /* owned by devfilter_attach() */
	size_t n;
};

static int detach_other(struct devfilter *f, const char *name, const void *userdata)
{
	const struct ids *wanted = userdata;
	char kept[PIN_SIZE];

	if (strncmp(name, LINK_PIN, strlen(LINK_PIN)) != 0)
		return 0;
	for (size_t i = 0; i < wanted->n; i++) {
		snprintf(kept, sizeof(kept), LINK_PIN "%" PRIu64, wanted->ids[i]);
		if (strcmp(kept, name) == 0)
			return 0;
	}
	return drop_pin(f, name);
}

int devfilter_attach(struct devfilter *f, const char *const *cgroups, size_t n, struct error *err)
{
	_cleanup_(freep) uint64_t *ids = calloc(n + 1, sizeof(*ids));
	int done = 0, missing = 0, failed = 0, r;

	if (!ids)
		return error_set(err, -ENOMEM, "devfilter.memory", "out of memory");
	if (!f->pinned)
		return error_set(err, -EINVAL, "devfilter.unset",
			"the device filter has not been filled, so it is not put in force");
	for (size_t i = 0; i < n; i++) {
		r = attach(f, cgroups[i], &ids[i]);
		if (r >= 0)
			done += r;
		else if (r == -ENOENT)
			missing = error_set(
				err, r, "devfilter.cgroup", "there is no cgroup %s", cgroups[i]);
		else
			failed = error_errno(err, r, "devfilter.attach",
				"cannot attach the device filter to %s", cgroups[i]);
	}
	if (failed < 0)
		return failed; /* which of the others are to go is not known */
	r = for_each_pin(f, detach_other, &(struct ids){ ids, n });
	if (r < 0)
		return error_errno(err, r, "devfilter.detach",
			"cannot detach the device filter from a cgroup that is guarded no more");
	return missing < 0 ? missing : done;
}

static int drop_any(struct devfilter *f, const char *name, const void *userdata)
{
	return drop_pin(f, name);
}

int devfilter_remove(const char *pin_directory, struct error *err)
{
	_cleanup_(devfilter_freep) struct devfilter *f = new_filter(pin_directory);
	int r;

	if (!f)
		return error_set(err, -ENOMEM, "devfilter.memory", "out of memory");
	r = open_directory(f, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = for_each_pin(f, drop_any, NULL);
	if (r == 0 && rmdir(pin_directory) < 0)
		r = -errno;
	return r < 0 ? error_errno(err, r, "devfilter.remove", "cannot remove what is in %s",
			       pin_directory)
		     : 0;
}
