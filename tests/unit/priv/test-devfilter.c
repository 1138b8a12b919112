/* SPDX-License-Identifier: MIT */
/*
 * Against the kernel: cgroups of our own, a bpf file system of our own, and device nodes that
 * either have no driver (ENXIO = open was granted; EPERM = the filter denied) or really open. A
 * child goes into the cgroup, becomes the user, and tells what open() says.
 */
#include "priv/devfilter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <mntent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "priv/bpf.h"
#include "priv/cgroup.h"
#include "priv/devmap.h"

#define DEADLINE_MS 20000
#define ROOM        256
#define DRIVERLESS  120 /* a major for local use, documentation: admin-guide/devices.txt */
#define MEM         1
#define ALICE       60001
#define BOB         60002
#define OPENED      0 /* no errno */
#define ROUNDS      100

DEFINE_CLEANUP(FILE *, endmntent)
DEFINE_CLEANUP(struct devfilter *, devfilter_free)

static char top[ROOM], root[ROOM + 64], other[ROOM + 64]; /* the mount; guarded; not guarded */
static char lease[ROOM + 80], deep[ROOM + 96];
static char dir[] = "/tmp/dibs-devfilter-XXXXXX";
static char bpffs[ROOM], pins[ROOM + 8];
static char node0[ROOM], node1[ROOM], mem[ROOM]; /* 120:0, 120:1, and 1:7 (/dev/full) */

/* --- how others see it --- */

struct
try {
	const char *cgroup;
	uid_t uid;
	const char *node;
	int flags;
	bool userns;
};

static int try_open(const struct try *t)
{
	int fd;

	if (setgroups(0, NULL) < 0 || setresgid(t->uid, t->uid, t->uid) < 0 ||
		setresuid(t->uid, t->uid, t->uid) < 0)
		return 200;
	if (t->userns && unshare(CLONE_NEWUSER) < 0)
		return 201;
	prctl(PR_SET_DUMPABLE, 1); /* so that the map is ours to write */
	if (t->userns) {
		_cleanup_(freep) char *map = text_format("0 %u 1\n", (unsigned)t->uid);

		if (write_file_at(AT_FDCWD, "/proc/self/uid_map", map) < 0 || getuid() != 0)
			return 202;
	}
	fd = open(t->node, t->flags | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 ? OPENED : errno;
}

/* What open() says to that user in that cgroup: an errno, or OPENED. */
static int opens_as(struct try t)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(cgroup_attach(t.cgroup, getpid()) < 0 ? 203 : try_open(&t));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 204;
	return WEXITSTATUS(status);
}

static int opens(const char *cgroup, uid_t uid, const char *node)
{
	return opens_as((struct try){ cgroup, uid, node, O_RDWR, false });
}

/* The kernel lets go of a link without a pin in its own time. */
static void await_open(const char *cgroup, uid_t uid, const char *node)
{
	int64_t end = clock_monotonic_ms() + DEADLINE_MS;
	int r;

	do
		r = opens(cgroup, uid, node);
	while (r != ENXIO && clock_monotonic_ms() < end);
	CHECK_INT(r, ENXIO);
}

/* --- what the filter is told --- */

static uint64_t id_of(const char *cgroup)
{
	uint64_t id = 0;

	CHECK_INT(devfilter_cgroup_id(cgroup, &id), 0);
	return id;
}

#define GUARD(minor)                                    \
	{                                               \
		DEVFILTER_GUARDED, 0, DRIVERLESS, minor \
	}
#define MAY(uid, minor)                               \
	{                                             \
		DEVFILTER_UID, uid, DRIVERLESS, minor \
	}
#define IN(cgroup, minor)                                          \
	{                                                          \
		DEVFILTER_CGROUP, id_of(cgroup), DRIVERLESS, minor \
	}
#define CLOSE(cgroup)                                 \
	{                                             \
		DEVFILTER_CLOSED, id_of(cgroup), 0, 0 \
	}
#define CLOSE_ROOT(cgroup)                                 \
	{                                                  \
		DEVFILTER_CLOSED_ROOT, id_of(cgroup), 0, 0 \
	}
#define SET(filter, ...)                                                                    \
	do {                                                                                \
		const struct devfilter_entry entries_[] = { __VA_ARGS__ };                  \
		struct error err_ = { 0 };                                                  \
		CHECK_INT(devfilter_set(filter, entries_, ELEMENTSOF(entries_), &err_), 0); \
	} while (0)

static struct devfilter *open_filter(void)
{
	struct devfilter *filter = NULL;
	struct error err = { 0 };

	if (devfilter_open(pins, &filter, &err) < 0)
		printf("# %s\n", err.text);
	CHECK(filter);
	return filter;
}

static int attach_to(struct devfilter *filter, const char *cgroup)
{
	struct error err = { 0 };
	int r = devfilter_attach(filter, &cgroup, cgroup ? 1 : 0, &err);

	if (r < 0)
		printf("# %s\n", err.text);
	return r;
}

/* Two guarded nodes over root, nobody may open them. */
static struct devfilter *guard(void)
{
	struct devfilter *filter = open_filter();

	SET(filter, GUARD(0), GUARD(1));
	CHECK_INT(attach_to(filter, root), 1);
	return filter;
}

static void remove_all(struct devfilter *filter)
{
	struct error err = { 0 };

	devfilter_free(filter);
	CHECK_INT(devfilter_remove(pins, &err), 0);
	CHECK(access(pins, F_OK) < 0);
	CHECK_INT(opens(lease, ALICE, node0), ENXIO);
}

static char *pin_path(const char *cgroup)
{
	return text_format("%s/cgroup-%" PRIu64, pins, id_of(cgroup));
}

static uint32_t program_in_force(const char *cgroup)
{
	_cleanup_(freep) char *path = pin_path(cgroup);
	_cleanup_(closep) int link = bpf_get(path);
	struct bpf_link_info info = { 0 };

	return link >= 0 && bpf_get_info(link, &info, sizeof(info)) == 0 ? info.prog_id : 0;
}

/* --- tests --- */

static void only_guarded_devices_are_judged(void)
{
	_cleanup_(freep) char *block = text_format("%s/block", dir);
	struct devfilter *filter = guard();

	SET(filter, GUARD(0));
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	CHECK_INT(opens(lease, ALICE, node0), EPERM);
	CHECK_INT(opens(root, ALICE, node1), ENXIO);
	CHECK_INT(opens(root, ALICE, mem), OPENED);
	CHECK_INT(opens(root, ALICE, "/dev/null"), OPENED);
	CHECK_INT(opens(other, ALICE, node0), ENXIO);
	CHECK_INT(opens_as((struct try){ root, ALICE, node0, O_RDONLY, false }), EPERM);
	CHECK_INT(opens_as((struct try){ root, ALICE, node0, O_WRONLY, false }), EPERM);
	CHECK_INT(opens_as((struct try){ root, ALICE, node0, O_ACCMODE, false }), EPERM);
	/* A block device with the same numbers is another device. */
	CHECK_INT(mknod(block, S_IFBLK | 0666, makedev(DRIVERLESS, 0)), 0);
	chmod(block, 0666);
	CHECK_INT(opens(root, ALICE, block), ENXIO);
	remove_all(filter);
}

static void devices_that_open_are_guarded(void)
{
	struct devfilter *filter = guard();

	SET(filter, { DEVFILTER_GUARDED, 0, MEM, 7 });
	CHECK_INT(opens(root, ALICE, mem), EPERM);
	CHECK_INT(opens(root, ALICE, "/dev/full"), EPERM);
	CHECK_INT(opens(root, 0, mem), OPENED);
	SET(filter, { DEVFILTER_GUARDED, 0, MEM, 7 }, { DEVFILTER_UID, ALICE, MEM, 7 });
	CHECK_INT(opens(root, ALICE, mem), OPENED);
	CHECK_INT(opens(root, BOB, mem), EPERM);
	remove_all(filter);
}

static int make_and_open(const char *path)
{
	int fd;

	if (mknod(path, S_IFCHR | 0666, makedev(DRIVERLESS, 0)) < 0)
		return 200;
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd >= 0 ? OPENED : errno;
}

static void nodes_can_be_made_but_not_opened(void)
{
	_cleanup_(freep) char *path = text_format("%s/made", dir);
	struct devfilter *filter = guard();
	int status = 0;
	pid_t pid;

	SET(filter, GUARD(0), CLOSE_ROOT(root));
	pid = fork();
	if (pid == 0)
		_exit(cgroup_attach(root, getpid()) < 0 ? 203 : make_and_open(path));
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(WEXITSTATUS(status), EPERM);
	CHECK_INT(unlink(path), 0);
	remove_all(filter);
}

static void users_open_what_is_theirs(void)
{
	struct devfilter *filter = guard();

	SET(filter, GUARD(0), GUARD(1), MAY(ALICE, 0), MAY(BOB, 1));
	CHECK_INT(opens(deep, ALICE, node0), ENXIO);
	CHECK_INT(opens(deep, ALICE, node1), EPERM);
	CHECK_INT(opens(deep, BOB, node0), EPERM);
	CHECK_INT(opens(deep, BOB, node1), ENXIO);
	CHECK_INT(opens(deep, 0, node0), ENXIO);
	/* Handed over. */
	SET(filter, GUARD(0), GUARD(1), MAY(BOB, 0), MAY(BOB, 1));
	CHECK_INT(opens(deep, ALICE, node0), EPERM);
	CHECK_INT(opens(deep, BOB, node0), ENXIO);
	remove_all(filter);
}

static void a_user_namespace_does_not_make_root(void)
{
	struct devfilter *filter = guard();
	struct try alice = { root, ALICE, node0, O_RDWR, true }, bob = alice;

	SET(filter, GUARD(0), MAY(BOB, 0));
	bob.uid = BOB;
	CHECK_INT(opens_as(alice), EPERM);
	CHECK_INT(opens_as(bob), ENXIO);
	remove_all(filter);
}

static void a_cgroup_opens_for_all_below(void)
{
	struct devfilter *filter = guard();

	SET(filter, GUARD(0), GUARD(1), IN(lease, 0));
	CHECK_INT(opens(lease, ALICE, node0), ENXIO);
	CHECK_INT(opens(deep, BOB, node0), ENXIO);
	CHECK_INT(opens(deep, BOB, node1), EPERM);
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	remove_all(filter);
}

static void a_closed_cgroup_knows_only_its_own(void)
{
	struct devfilter *filter = guard();

	SET(filter, GUARD(0), GUARD(1), MAY(ALICE, 0), MAY(ALICE, 1), CLOSE(lease), IN(lease, 1));
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK_INT(opens(lease, ALICE, node0), EPERM);
	CHECK_INT(opens(deep, ALICE, node0), EPERM);
	CHECK_INT(opens(lease, ALICE, node1), ENXIO);
	CHECK_INT(opens(deep, BOB, node1), ENXIO);
	CHECK_INT(opens(lease, 0, node0), ENXIO);
	/* Not even what the cgroup above may. */
	SET(filter, GUARD(0), IN(root, 0), CLOSE(lease));
	CHECK_INT(opens(root, BOB, node0), ENXIO);
	CHECK_INT(opens(lease, BOB, node0), EPERM);
	/* The innermost answers. */
	SET(filter, GUARD(0), CLOSE(root), IN(lease, 0), CLOSE(deep));
	CHECK_INT(opens(root, BOB, node0), EPERM);
	CHECK_INT(opens(lease, BOB, node0), ENXIO);
	CHECK_INT(opens(deep, BOB, node0), EPERM);
	remove_all(filter);
}

static void some_are_closed_to_root(void)
{
	struct devfilter *filter = guard();

	SET(filter, GUARD(0), GUARD(1), CLOSE_ROOT(lease), MAY(ALICE, 0));
	CHECK_INT(opens(root, 0, node0), ENXIO);
	CHECK_INT(opens(lease, 0, node0), EPERM);
	CHECK_INT(opens(deep, 0, node0), EPERM);
	CHECK_INT(opens(lease, ALICE, node0), EPERM);
	SET(filter, GUARD(0), GUARD(1), CLOSE_ROOT(lease), IN(deep, 1));
	CHECK_INT(opens(deep, 0, node1), ENXIO);
	CHECK_INT(opens(deep, 0, node0), EPERM);
	CHECK_INT(opens(lease, 0, node1), EPERM);
	/* Said twice, the stricter counts; an inner one may be open to root again. */
	SET(filter, GUARD(0), CLOSE_ROOT(lease), CLOSE(lease));
	CHECK_INT(opens(lease, 0, node0), EPERM);
	SET(filter, GUARD(0), CLOSE_ROOT(lease), CLOSE(deep));
	CHECK_INT(opens(deep, 0, node0), ENXIO);
	CHECK_INT(opens(deep, ALICE, node0), EPERM);
	remove_all(filter);
}

/* 16 levels are asked; one more does not bring back what was taken. */
static void depth_opens_nothing(void)
{
	char path[ROOM * 2];
	struct devfilter *filter = guard();
	size_t n, shallow = strlen(deep);

	snprintf(path, sizeof(path), "%s", deep);
	for (n = shallow; n < shallow + 40; n += 2) {
		memcpy(path + n, "/d", 3);
		CHECK_INT(cgroup_create(path), 0);
	}
	SET(filter, GUARD(0), GUARD(1), CLOSE(lease), IN(lease, 1), MAY(ALICE, 0));
	CHECK_INT(opens(path, ALICE, node0), EPERM);
	CHECK_INT(opens(path, ALICE, node1), ENXIO);
	remove_all(filter);
	path[shallow + 2] = '\0';
	CHECK_INT(cgroup_remove(path), 0);
}

static void entries_are_normal(void)
{
	struct devfilter *filter = guard();

	SET(filter, GUARD(0), { DEVFILTER_GUARDED, 7, DRIVERLESS, 1 }, GUARD(1), GUARD(0),
		{ DEVFILTER_CLOSED, id_of(lease), 5, 6 }, MAY(ALICE, 0), MAY(ALICE, 0));
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK_INT(opens(root, ALICE, node1), EPERM);
	CHECK_INT(opens(lease, ALICE, node0), EPERM);
	CHECK_INT(devfilter_set(filter, NULL, 0, NULL), 0);
	CHECK_INT(opens(lease, BOB, node0), ENXIO);
	remove_all(filter);
}

static void the_next_one_finds_all(void)
{
	struct devfilter *filter = guard();
	uint32_t program = program_in_force(root);

	SET(filter, GUARD(0), GUARD(1), MAY(ALICE, 0));
	devfilter_free(filter); /* all that is left of a daemon that crashed */
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK_INT(opens(root, BOB, node0), EPERM);

	filter = open_filter();
	CHECK_INT(attach_to(filter, root), 0);
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK(program != 0);
	CHECK_INT(program_in_force(root), program);
	/* It knows the entry, although another one made it. */
	SET(filter, GUARD(0), GUARD(1));
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	remove_all(filter);
}

static void an_unfilled_one_is_not_put_in_force(void)
{
	_cleanup_(devfilter_freep) struct devfilter *filter = open_filter();
	const char *const cgroups[] = { root };
	struct error err = { 0 };

	CHECK_INT(devfilter_attach(filter, cgroups, 1, &err), -EINVAL);
	CHECK_STR(err.id, "devfilter.unset");
	CHECK_INT(devfilter_remove(pins, &err), 0);
}

static void attaches_to_just_these(void)
{
	_cleanup_(freep) char *nowhere = text_format("%s/nowhere", root);
	struct devfilter *filter = guard();
	const char *const both[] = { root, other, root }, *const some[] = { nowhere, other };
	const char *const wrong[] = { "/tmp" };
	struct error err = { 0 };

	CHECK_INT(devfilter_attach(filter, both, 3, &err), 1);
	CHECK_INT(opens(other, ALICE, node0), EPERM);
	CHECK_INT(devfilter_attach(filter, some, 2, &err), -ENOENT);
	CHECK_STR(err.id, "devfilter.cgroup");
	CHECK(strstr(err.text, nowhere));
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK_INT(opens(other, ALICE, node0), EPERM);
	/* After a fault, nothing is opened. */
	CHECK_INT(devfilter_attach(filter, wrong, 1, &err), -EOPNOTSUPP);
	CHECK_INT(opens(other, ALICE, node0), EPERM);
	CHECK_INT(attach_to(filter, NULL), 0);
	CHECK_INT(opens(other, ALICE, node0), ENXIO);
	remove_all(filter);
}

static void a_cgroup_that_is_gone_is_let_go(void)
{
	_cleanup_(freep) char *path = text_format("%s/short", root);
	_cleanup_(freep) char *pin = NULL;
	struct devfilter *filter = guard();
	const char *const both[] = { root, path };
	struct error err = { 0 };
	uint64_t id;

	CHECK_INT(cgroup_create(path), 0);
	CHECK_INT(devfilter_attach(filter, both, 2, &err), 1);
	pin = pin_path(path);
	CHECK(access(pin, F_OK) == 0);
	CHECK_INT(cgroup_remove(path), 0);
	CHECK_INT(devfilter_cgroup_id(path, &id), -ENOENT);
	CHECK_INT(devfilter_attach(filter, both, 2, &err), -ENOENT);
	CHECK(access(pin, F_OK) < 0);
	/* The next one of that name is another one. */
	CHECK_INT(cgroup_create(path), 0);
	CHECK_INT(devfilter_attach(filter, both, 2, &err), 1);
	CHECK_INT(cgroup_remove(path), 0);
	remove_all(filter);
}

/* --- what others did to it --- */

/* A program that allows everything. */
static int load_open_program(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = bpf_address(insns);
	attr.insn_cnt = ELEMENTSOF(insns);
	attr.license = bpf_address("MIT");
	return bpf_call(BPF_PROG_LOAD, &attr);
}

static void what_was_undone_is_repaired(void)
{
	struct devfilter *filter = guard();
	_cleanup_(freep) char *pin = pin_path(root);
	_cleanup_(closep) int link = bpf_get(pin);
	_cleanup_(closep) int open_program = load_open_program();

	CHECK(link >= 0 && open_program >= 0);
	CHECK_INT(bpf_link_exchange(link, open_program), 0);
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK_INT(attach_to(filter, root), 1);
	CHECK_INT(opens(root, ALICE, node0), EPERM);

	CHECK_INT(bpf_link_end(link), 0);
	CHECK_INT(opens(root, ALICE, node0), ENXIO);
	CHECK_INT(attach_to(filter, root), 1);
	CHECK_INT(opens(root, ALICE, node0), EPERM);

	CHECK_INT(unlink(pin), 0);
	await_open(root, ALICE, node0);
	CHECK_INT(attach_to(filter, root), 1);
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	CHECK_INT(attach_to(filter, root), 0);
	remove_all(filter);
}

/* Something else under the names of our pins, and what a crash leaves under the other names. */
static void foreign_pins_are_replaced(void)
{
	static const char *const names[] = { "map", "program", "new-map", "new-program" };
	_cleanup_(closep) int program = load_open_program();
	_cleanup_(freep) char *link = pin_path(root);
	struct devfilter *filter;

	CHECK_INT(mkdir(pins, 0700), 0);
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		_cleanup_(freep) char *path = text_format("%s/%s", pins, names[i]);

		CHECK_INT(bpf_pin(program, path), 0);
	}
	CHECK_INT(bpf_pin(program, link), 0);
	filter = guard();
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	devfilter_free(filter);
	filter = open_filter();
	CHECK_INT(attach_to(filter, root), 0);
	remove_all(filter);
}

/* An open() after the other, until one says something else or the pipe is closed. */
static void hammer(uid_t uid, int expected, int ready, int stop)
{
	struct pollfd end = { .fd = stop, .events = POLLIN };
	bool told = false;

	if (setresuid(uid, uid, uid) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(2); /* in this order: another uid takes the signal away */
	while (poll(&end, 1, 0) == 0) {
		if (open(node0, O_RDWR | O_CLOEXEC) >= 0 || errno != expected)
			_exit(errno);
		if (!told)
			told = write(ready, "x", 1) == 1;
	}
	_exit(0);
}

struct hammer {
	pid_t pid;
	int stop;
};

static struct hammer start_hammer(uid_t uid, int expected)
{
	int ready[2], stop[2];
	char byte;
	pid_t pid;

	CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
	CHECK_INT(pipe2(stop, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		close(stop[1]);
		if (cgroup_attach(lease, getpid()) < 0)
			_exit(3);
		hammer(uid, expected, ready[1], stop[0]);
	}
	close(ready[1]);
	close(stop[0]);
	CHECK_INT(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return (struct hammer){ pid, stop[1] };
}

/* Was it the same from the first to the last? */
static void end_hammer(struct hammer h)
{
	int status = 0;

	/* Written, because others that were started later hold this end, too. */
	CHECK_INT(write(h.stop, "x", 1), 1);
	close(h.stop);
	CHECK_INT(waitpid(h.pid, &status, 0), h.pid);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 0);
}

/* Makes the pins look like those of a version that had another map. What is in force stays. */
static void pretend_older(void)
{
	_cleanup_(freep) char *map_path = text_format("%s/map", pins);
	union bpf_attr attr;
	int map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = sizeof(struct devkey);
	attr.value_size = 4;
	attr.max_entries = 16;
	map = bpf_call(BPF_MAP_CREATE, &attr);
	CHECK(map >= 0);
	CHECK_INT(unlink(map_path), 0);
	CHECK_INT(bpf_pin(map, map_path), 0);
	close(map);
}

static void an_older_one_is_exchanged_without_a_gap(void)
{
	struct devfilter *filter = guard();
	struct hammer alice = start_hammer(ALICE, EPERM);

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t before = program_in_force(root);

		pretend_older();
		devfilter_free(filter);
		filter = open_filter();
		SET(filter, GUARD(0), GUARD(1), MAY(BOB, 0));
		CHECK_INT(program_in_force(root), before);
		CHECK_INT(attach_to(filter, root), 1);
		CHECK(program_in_force(root) != before);
	}
	end_hammer(alice);
	CHECK_INT(opens(root, BOB, node0), ENXIO);
	remove_all(filter);
}

/* A crash after opening and before filling changes nothing, nor does one between the two pins. */
static void a_crash_between_is_no_gap(void)
{
	_cleanup_(freep) char *program = text_format("%s/program", pins);
	struct devfilter *filter = guard();
	const char *const cgroups[] = { root };

	pretend_older();
	devfilter_free(filter);
	devfilter_free(open_filter());
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	filter = open_filter();
	CHECK_INT(devfilter_attach(filter, cgroups, 1, NULL), -EINVAL);
	SET(filter, GUARD(0));
	CHECK_INT(unlink(program), 0);
	devfilter_free(filter);
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	filter = open_filter();
	SET(filter, GUARD(0));
	CHECK_INT(attach_to(filter, root), 1);
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	remove_all(filter);
}

/* All the while alice has no right, and bob has his. */
static void changes_touch_nobody_else(void)
{
	struct devfilter *filter = guard();
	struct hammer alice, bob;

	SET(filter, GUARD(0), MAY(BOB, 0));
	alice = start_hammer(ALICE, EPERM);
	bob = start_hammer(BOB, ENXIO);
	for (int i = 0; i < ROUNDS * 10; i++) {
		SET(filter, GUARD(0), MAY(BOB, 0), MAY(ALICE, 1), GUARD(1));
		SET(filter, GUARD(0), MAY(BOB, 0), IN(other, 0), MAY(ALICE + 7, 0));
		SET(filter, GUARD(1), MAY(BOB, 0), MAY(ALICE, 1), CLOSE(other), GUARD(0));
	}
	end_hammer(alice);
	end_hammer(bob);
	remove_all(filter);
}

/* From open to guarded, without a moment in which who has a right lacks it. */
static void who_has_a_right_keeps_it(void)
{
	struct devfilter *filter = guard();
	struct hammer bob;

	SET(filter, GUARD(1));
	bob = start_hammer(BOB, ENXIO);
	for (int i = 0; i < ROUNDS * 10; i++) {
		SET(filter, GUARD(0), MAY(BOB, 0));
		SET(filter, GUARD(0), MAY(BOB, 0), MAY(ALICE, 0), IN(lease, 0));
		SET(filter, GUARD(1));
	}
	end_hammer(bob);
	remove_all(filter);
}

static void a_full_map_is_refused(void)
{
	static struct devfilter_entry entries[DEVFILTER_ENTRIES_MAX + 2];
	struct devfilter *filter = guard();
	struct error err = { 0 };

	SET(filter, GUARD(0), MAY(ALICE, 0), MAY(BOB, 0));
	for (size_t i = 2; i < ELEMENTSOF(entries); i++)
		entries[i] = (struct devfilter_entry){ DEVFILTER_UID, 100000 + i, DRIVERLESS, 1 };
	entries[0] = (struct devfilter_entry)MAY(BOB, 0);
	entries[1] = (struct devfilter_entry)MAY(BOB, 1);
	CHECK_INT(devfilter_set(filter, entries, ELEMENTSOF(entries), &err), -E2BIG);
	CHECK_STR(err.id, "devfilter.full");
	CHECK_INT(opens(root, ALICE, node0), EPERM); /* taken away all the same */
	CHECK_INT(opens(root, BOB, node0), ENXIO);
	SET(filter, GUARD(0), GUARD(1), MAY(BOB, 0));
	CHECK_INT(opens(root, BOB, node1), EPERM);
	/* All that fit, then as many others, which lie beside them for a moment. */
	CHECK_INT(devfilter_set(filter, entries, DEVFILTER_ENTRIES_MAX, &err), 0);
	for (size_t i = 2; i < ELEMENTSOF(entries); i++)
		entries[i] = (struct devfilter_entry){ DEVFILTER_GUARDED, 0, 300, (uint32_t)i };
	CHECK_INT(devfilter_set(filter, entries, DEVFILTER_ENTRIES_MAX, &err), 0);
	for (size_t i = 2; i < ELEMENTSOF(entries); i++)
		entries[i].major = 301;
	CHECK_INT(devfilter_set(filter, entries, DEVFILTER_ENTRIES_MAX, &err), 0);
	CHECK_INT(opens(root, BOB, node0), ENXIO);
	remove_all(filter);
}

/* --- who may, and where --- */

static void doubtful_directories_are_refused(void)
{
	_cleanup_(freep) char *plain = text_format("%s/plain", dir);
	_cleanup_(freep) char *link = text_format("%s/link", dir);
	struct devfilter *filter = NULL;
	struct error err = { 0 };

	CHECK_INT(devfilter_open(plain, &filter, &err), -EOPNOTSUPP);
	CHECK_INT(rmdir(plain), 0);
	CHECK_INT(mkdir(pins, 0700), 0);
	CHECK_INT(symlink(pins, link), 0);
	CHECK(devfilter_open(link, &filter, &err) < 0);
	CHECK_INT(chmod(pins, 0770), 0);
	CHECK_INT(devfilter_open(pins, &filter, &err), -EPERM);
	CHECK_INT(devfilter_remove(pins, &err), -EPERM);
	CHECK_INT(chmod(pins, 0700), 0);
	CHECK_INT(chown(pins, ALICE, ALICE), 0);
	CHECK_INT(devfilter_open(pins, &filter, &err), -EPERM);
	CHECK_STR(err.id, "devfilter.directory");
	CHECK_INT(chown(pins, 0, 0), 0);
	CHECK(!filter);
	CHECK_INT(devfilter_remove(pins, &err), 0);
	CHECK_INT(devfilter_remove(pins, &err), 0);
}

/* What a daemon of that user gets there: an errno. */
static int open_as_user(const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct devfilter *filter = NULL;
		struct error err = { 0 };
		int r = setresuid(ALICE, ALICE, ALICE);

		if (r == 0)
			r = devfilter_open(path, &filter, &err);
		_exit(r < 0 && !filter && err.text[0] ? -r : 200);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 201;
}

static void others_get_an_error(void)
{
	_cleanup_(freep) char *theirs = text_format("%s/theirs", bpffs);

	CHECK_INT(open_as_user(pins), EPERM);
	/* Where the directory is theirs, the kernel says no. */
	CHECK_INT(mkdir(theirs, 0700), 0);
	CHECK_INT(chown(theirs, ALICE, ALICE), 0);
	CHECK_INT(chmod(bpffs, 0711), 0);
	CHECK_INT(open_as_user(theirs), EPERM);
	CHECK_INT(chmod(bpffs, 0700), 0);
	CHECK_INT(rmdir(theirs), 0);
}

static int keep_two_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	data[CAP_TO_INDEX(CAP_BPF)].permitted |= CAP_TO_MASK(CAP_BPF);
	data[CAP_TO_INDEX(CAP_NET_ADMIN)].permitted |= CAP_TO_MASK(CAP_NET_ADMIN);
	for (size_t i = 0; i < ELEMENTSOF(data); i++)
		data[i].effective = data[i].permitted;
	return (int)syscall(SYS_capset, &header, data);
}

/* Those that data/dibsd.service gives it for this. */
static void two_capabilities_are_enough(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct devfilter *filter;

		tap_failed_now = 0;
		CHECK_INT(keep_two_capabilities(), 0);
		filter = guard();
		devfilter_free(filter);
		filter = open_filter();
		CHECK_INT(attach_to(filter, root), 0);
		devfilter_free(filter);
		fflush(stdout);
		_exit(tap_failed_now);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK_INT(opens(root, ALICE, node0), EPERM);
	remove_all(NULL);
}

static void mounts_a_file_system_for_pins(void)
{
	_cleanup_(freep) char *path = text_format("/sys/fs/bpf/dibs-test-%d", getpid());
	struct devfilter *filter = NULL;
	struct error err = { 0 };

	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		; /* in our mount namespace alone */
	for (int i = 0; i < 2; i++) {
		CHECK_INT(devfilter_open(path, &filter, &err), 0);
		filter = devfilter_free(filter);
	}
	CHECK_INT(devfilter_remove(path, &err), 0);
	CHECK_INT(umount2("/sys/fs/bpf", 0), 0);
	CHECK(umount2("/sys/fs/bpf", 0) < 0); /* once */
}

static void ids_are_those_of_cgroups(void)
{
	uint64_t id = 5;

	CHECK(id_of(root) != id_of(other));
	CHECK_INT(devfilter_cgroup_id("/tmp", &id), -EOPNOTSUPP);
	CHECK_INT(devfilter_cgroup_id("/dibs-nowhere", &id), -ENOENT);
	CHECK_INT(id, 5);
}

static int count_descriptors(void)
{
	_cleanup_(closedirp) DIR *fds = opendir("/proc/self/fd");
	int n = 0;

	while (fds && readdir(fds))
		n++;
	return n;
}

static void nothing_is_left_open(void)
{
	int before = count_descriptors();

	for (int i = 0; i < ROUNDS; i++) {
		struct devfilter *filter = guard();

		pretend_older();
		devfilter_free(filter);
		filter = open_filter();
		SET(filter, GUARD(0));
		CHECK_INT(attach_to(filter, root), 1);
		CHECK_INT(attach_to(filter, NULL), 0);
		CHECK(devfilter_remove(pins, NULL) == 0);
		devfilter_free(filter);
	}
	CHECK_INT(count_descriptors(), before);
}

/* --- the place for it --- */

static bool find_top(void)
{
	_cleanup_(endmntentp) FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;

	while (mounts && (entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0) {
			text_copy(top, sizeof(top), entry->mnt_dir);
			return true;
		}
	return false;
}

static bool make_node_at(char *dst, const char *name, unsigned major, unsigned minor)
{
	snprintf(dst, ROOM, "%s/%s", dir, name);
	return mknod(dst, S_IFCHR | 0666, makedev(major, minor)) == 0;
}

static bool set_up(void)
{
	struct devfilter *filter = NULL;

	snprintf(root, sizeof(root), "%s/dibs-test-%d", top, getpid());
	snprintf(other, sizeof(other), "%s/dibs-test-%d-other", top, getpid());
	snprintf(lease, sizeof(lease), "%s/lease-4", root);
	snprintf(deep, sizeof(deep), "%s/a", lease);
	snprintf(bpffs, sizeof(bpffs), "%s/bpf", dir);
	snprintf(pins, sizeof(pins), "%s/dibs", bpffs);
	umask(0);
	return cgroup_create(root) == 0 && cgroup_create(other) == 0 && cgroup_create(lease) == 0 &&
	       cgroup_create(deep) == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("dibs-test", dir, "tmpfs", 0, "mode=755") == 0 && mkdir(bpffs, 0700) == 0 &&
	       mount("dibs-test", bpffs, "bpf", 0, "mode=700") == 0 &&
	       make_node_at(node0, "0", DRIVERLESS, 0) && make_node_at(node1, "1", DRIVERLESS, 1) &&
	       make_node_at(mem, "mem", MEM, 7) && devfilter_open(pins, &filter, NULL) == 0 &&
	       !devfilter_free(filter) && devfilter_remove(pins, NULL) == 0;
}

static void tear_down(void)
{
	cgroup_remove(root);
	cgroup_remove(other);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

int main(void)
{
	if (geteuid() != 0 || !find_top()) {
		printf("1..0 # SKIP needs root and a cgroup2 mount\n");
		return 0;
	}
	if (!mkdtemp(dir) || !set_up()) {
		printf("1..0 # SKIP root cannot load device filters here\n");
		tear_down();
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	TEST(only_guarded_devices_are_judged);
	TEST(devices_that_open_are_guarded);
	TEST(nodes_can_be_made_but_not_opened);
	TEST(users_open_what_is_theirs);
	TEST(a_user_namespace_does_not_make_root);
	TEST(a_cgroup_opens_for_all_below);
	TEST(a_closed_cgroup_knows_only_its_own);
	TEST(some_are_closed_to_root);
	TEST(depth_opens_nothing);
	TEST(entries_are_normal);
	TEST(the_next_one_finds_all);
	TEST(an_unfilled_one_is_not_put_in_force);
	TEST(attaches_to_just_these);
	TEST(a_cgroup_that_is_gone_is_let_go);
	TEST(what_was_undone_is_repaired);
	TEST(foreign_pins_are_replaced);
	TEST(an_older_one_is_exchanged_without_a_gap);
	TEST(a_crash_between_is_no_gap);
	TEST(changes_touch_nobody_else);
	TEST(who_has_a_right_keeps_it);
	TEST(a_full_map_is_refused);
	TEST(doubtful_directories_are_refused);
	TEST(others_get_an_error);
	TEST(two_capabilities_are_enough);
	TEST(mounts_a_file_system_for_pins);
	TEST(ids_are_those_of_cgroups);
	TEST(nothing_is_left_open);
	tear_down();
	return tap_done();
}
