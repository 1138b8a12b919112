/* SPDX-License-Identifier: MIT */
/*
 * Against the kernel, with nodes on a tmpfs of our own, opened as users of our own. There is no
 * driver behind them: ENXIO (or what else comes after the permissions) is access, EACCES is none.
 */
#include "priv/acl.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "../tap.h"
#include "base/macro.h"

#define MAJOR       195
#define MINOR       240
#define OTHER_MINOR 241
#define ALICE       12001
#define BOB         12002
#define CAROL       12003
#define MANY        1000
#define TRIES       3000
#define DEADLINE_S  30
#define ACL_NAME    "system.posix_acl_access"
#define ACL_SIZE    1024

/* linux/posix_acl_xattr.h, acl(5) */
struct entry {
	uint16_t tag, allowed;
	uint32_t id;
};
enum { U_OBJ = 1, U = 2, G_OBJ = 4, G = 8, MASK = 16, OTHER = 32 };
#define NO_ID UINT32_MAX

static char top[64], node[128], victim[128], file[128], spare[128];

static mode_t mode_of(const char *path)
{
	struct stat st;

	CHECK_INT(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void fresh(const char *path, unsigned minor, mode_t mode)
{
	unlink(path);
	CHECK_INT(mknod(path, S_IFCHR, makedev(MAJOR, minor)), 0);
	CHECK_INT(chmod(path, mode), 0);
}

static pid_t become(uid_t uid)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	/* In this order: becoming somebody else clears it. */
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
		setresuid(uid, uid, uid) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
		getppid() != parent)
		_exit(2);
	return 0;
}

static bool try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != EACCES;
}

static bool opens(uid_t uid, const char *path, int flags)
{
	int status = -1;
	pid_t pid = become(uid);

	if (pid == 0)
		_exit(try_open(path, flags) ? 0 : 1);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 2);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool has_no_way(uid_t uid)
{
	return !opens(uid, node, O_RDONLY) && !opens(uid, node, O_WRONLY) &&
	       !opens(uid, node, O_RDWR);
}

static int set(const uid_t *uids, size_t n)
{
	struct error err = { 0 };
	int r = acl_set(node, MAJOR, MINOR, uids, n, &err);

	CHECK_INT(!err.id, r >= 0);
	return r;
}

#define SET(...) set((const uid_t[]){ __VA_ARGS__ }, ELEMENTSOF(((const uid_t[]){ __VA_ARGS__ })))

static void write_acl(const char *path, const struct entry *entries, size_t n)
{
	unsigned char raw[ACL_SIZE] = { 2 }; /* the version, little endian */

	memcpy(raw + 4, entries, n * sizeof(*entries));
	CHECK_INT(lsetxattr(path, ACL_NAME, raw, 4 + n * sizeof(*entries), 0), 0);
}

static void check_acl(const char *path, const struct entry *entries, size_t n)
{
	unsigned char raw[ACL_SIZE];

	CHECK_INT(lgetxattr(path, ACL_NAME, raw, sizeof(raw)), 4 + n * sizeof(*entries));
	CHECK(memcmp(raw + 4, entries, n * sizeof(*entries)) == 0);
}

static const struct entry foreign[] = {
	{ U_OBJ, 0, NO_ID },
	{ U, 7, BOB },
	{ U, 0, ALICE },
	{ G_OBJ, 6, NO_ID },
	{ G, 6, CAROL },
	{ MASK, 7, NO_ID },
	{ OTHER, 4, NO_ID },
};

static void only_who_is_named_may_open(void)
{
	fresh(node, MINOR, 0666);
	CHECK(opens(BOB, node, O_RDWR));
	CHECK_INT(SET(ALICE, CAROL), 1);
	CHECK(opens(ALICE, node, O_RDWR) && opens(CAROL, node, O_RDWR));
	CHECK(has_no_way(BOB));
	CHECK_INT(mode_of(node), 0660);

	CHECK_INT(SET(BOB), 1);
	CHECK(opens(BOB, node, O_RDWR) && has_no_way(ALICE) && has_no_way(CAROL));
	CHECK_INT(SET(BOB), 0);
}

static void the_mask_stays_when_nobody_is_named(void)
{
	const struct entry expected[] = { { U_OBJ, 6, NO_ID }, { G_OBJ, 0, NO_ID },
		{ MASK, 6, NO_ID }, { OTHER, 0, NO_ID } };

	fresh(node, MINOR, 0666);
	CHECK_INT(set(NULL, 0), 1);
	CHECK_INT(set(NULL, 0), 0);
	check_acl(node, expected, ELEMENTSOF(expected));
	CHECK_INT(mode_of(node), 0660);
	CHECK(has_no_way(ALICE));
}

static void what_others_wrote_is_removed(void)
{
	const struct entry expected[] = { { U_OBJ, 6, NO_ID }, { U, 6, ALICE }, { G_OBJ, 0, NO_ID },
		{ MASK, 6, NO_ID }, { OTHER, 0, NO_ID } };
	struct stat st;

	fresh(node, MINOR, 0600);
	write_acl(node, foreign, ELEMENTSOF(foreign));
	CHECK_INT(chown(node, BOB, CAROL), 0);
	CHECK_INT(SET(ALICE), 1);
	check_acl(node, expected, ELEMENTSOF(expected));
	CHECK_INT(stat(node, &st), 0);
	CHECK_INT(st.st_uid, 0);
	CHECK_INT(st.st_gid, CAROL);
	CHECK(has_no_way(BOB) && has_no_way(CAROL) && opens(ALICE, node, O_RDWR));
}

static void small_changes_are_seen(void)
{
	fresh(node, MINOR, 0600);
	CHECK_INT(SET(ALICE), 1);
	CHECK_INT(chmod(node, 0600), 0); /* the mask */
	CHECK(has_no_way(ALICE));
	CHECK_INT(SET(ALICE), 1);
	CHECK(opens(ALICE, node, O_RDWR));
	CHECK_INT(chmod(node, 0664), 0);
	CHECK_INT(SET(ALICE), 1);
	CHECK_INT(chown(node, BOB, -1), 0);
	CHECK_INT(SET(ALICE), 1);
	CHECK(has_no_way(BOB));
	CHECK_INT(SET(ALICE), 0);
}

static void doubles_order_and_root_do_not_matter(void)
{
	fresh(node, MINOR, 0666);
	CHECK_INT(SET(CAROL, 0, ALICE, CAROL, 0, ALICE), 1);
	CHECK_INT(SET(ALICE, CAROL), 0);
	CHECK(has_no_way(BOB));
}

static void a_thousand_users_fit(void)
{
	uid_t uids[MANY];

	fresh(node, MINOR, 0666);
	for (size_t i = 0; i < MANY; i++)
		uids[i] = 20000 + 2 * (uid_t)(i * 7 % MANY);
	CHECK_INT(set(uids, MANY), 1);
	CHECK_INT(set(uids, MANY), 0);
	CHECK(opens(20000, node, O_RDWR) && opens(20000 + 2 * (MANY - 1), node, O_RDWR));
	CHECK(has_no_way(20001));
	CHECK_INT(set(uids, MANY - 1), 1);
	CHECK(has_no_way(uids[MANY - 1]));
}

static void nobody_is_no_user(void)
{
	fresh(node, MINOR, 0600);
	CHECK_INT(SET((uid_t)-1, ALICE), -EINVAL);
	CHECK_INT(mode_of(node), 0600);
	CHECK(has_no_way(ALICE));
}

static void what_is_not_the_node_is_left_alone(void)
{
	struct error err = { 0 };

	fresh(victim, OTHER_MINOR, 0644);
	CHECK_INT(acl_set(victim, MAJOR, MINOR, NULL, 0, &err), -ENODEV);
	CHECK_STR(err.id, "acl.not-the-node");
	CHECK_INT(acl_clear(victim, MAJOR, MINOR, &err), -ENODEV);
	CHECK_INT(mode_of(victim), 0644);

	fresh(victim, MINOR, 0644); /* the right one, behind a link */
	unlink(node);
	CHECK_INT(symlink(victim, node), 0);
	CHECK_INT(SET(ALICE), -ENODEV);
	CHECK_INT(mode_of(victim), 0644);

	unlink(node);
	CHECK_INT(SET(ALICE), -ENOENT);
	CHECK_INT(mknod(node, S_IFREG | 0640, 0), 0);
	CHECK_INT(SET(ALICE), -ENODEV);
	CHECK_INT(mode_of(node), 0640);
	unlink(node);
	CHECK_INT(mknod(node, S_IFBLK | 0640, makedev(MAJOR, MINOR)), 0);
	CHECK_INT(SET(ALICE), -ENODEV);
	unlink(node);
}

static void clearing_opens_to_everybody(void)
{
	struct error err = { 0 };

	fresh(node, MINOR, 0600);
	write_acl(node, foreign, ELEMENTSOF(foreign));
	CHECK_INT(acl_clear(node, MAJOR, MINOR, &err), 1);
	CHECK_INT(acl_clear(node, MAJOR, MINOR, &err), 0);
	CHECK_INT(mode_of(node), 0666);
	CHECK(lgetxattr(node, ACL_NAME, NULL, 0) < 0 && errno == ENODATA);
	CHECK(opens(ALICE, node, O_RDWR));
}

static void file_systems_without_acls_are_told(void)
{
	struct error err = { 0 };

	CHECK_INT(mount("dibs-test", top, "ramfs", 0, NULL), 0); /* over the one we have */
	fresh(node, MINOR, 0640);
	CHECK_INT(SET(ALICE), -EOPNOTSUPP);
	CHECK_INT(acl_clear(node, MAJOR, MINOR, &err), -EOPNOTSUPP);
	CHECK_INT(mode_of(node), 0640);
	CHECK_INT(umount(top), 0);
}

/* --- at the same time --- */

struct attempts {
	atomic_int allowed, denied;
};

static struct attempts *shared(void)
{
	struct attempts *a =
		mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return a == MAP_FAILED ? NULL : a;
}

/* A user who tries to open the node all the time, while change() changes it. */
static void try_during(uid_t uid, void (*change)(int round), struct attempts *a)
{
	time_t end = time(NULL) + DEADLINE_S;
	pid_t pid = become(uid);

	if (pid == 0)
		for (;;)
			atomic_fetch_add(try_open(node, O_RDWR) ? &a->allowed : &a->denied, 1);
	for (int round = 0; a->allowed + a->denied < TRIES || round < TRIES; round++) {
		change(round);
		if (time(NULL) > end)
			break;
	}
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	CHECK(a->allowed + a->denied >= TRIES);
}

static void others_come_and_go(int round)
{
	if (round % 3 == 0)
		SET(ALICE);
	else if (round % 3 == 1)
		SET(ALICE, CAROL);
	else
		SET(CAROL + 1, ALICE);
}

static void who_stays_is_never_shut_out(void)
{
	struct attempts *a = shared();

	fresh(node, MINOR, 0600);
	CHECK_INT(SET(ALICE), 1);
	try_during(ALICE, others_come_and_go, a);
	CHECK_INT(a->denied, 0);
	munmap(a, sizeof(*a));
}

/* In the old ACL there is one who is kept out by nothing but its mask. */
static void from_behind_the_mask(int round)
{
	const struct entry hidden[] = { { U_OBJ, 0, NO_ID }, { U, 6, BOB }, { G_OBJ, 6, NO_ID },
		{ MASK, 0, NO_ID }, { OTHER, 0, NO_ID } };

	write_acl(node, hidden, ELEMENTSOF(hidden));
	if (round % 2)
		SET(ALICE);
	else
		set(NULL, 0);
}

static void it_is_never_open_in_between(void)
{
	struct attempts *a = shared();

	fresh(node, MINOR, 0600);
	try_during(BOB, from_behind_the_mask, a);
	CHECK_INT(a->allowed, 0);
	munmap(a, sizeof(*a));
}

static void put(const char *what, bool as_link)
{
	CHECK_INT(as_link ? symlink(what, spare) : link(what, spare), 0);
	CHECK_INT(rename(spare, node), 0);
	unlink(spare); /* still there if both names were of one file */
}

/* What is the node one moment is a link to another, or a file, the next. */
static void what_takes_its_place_is_left_alone(void)
{
	char real[160];
	int changed = 0, refused = 0;
	time_t end = time(NULL) + DEADLINE_S;
	pid_t parent = getpid(), pid;

	snprintf(real, sizeof(real), "%s/real", top);
	fresh(real, MINOR, 0600);
	fresh(victim, MINOR, 0644);
	CHECK_INT(mknod(file, S_IFREG | 0644, 0), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent) {
			put(real, false);
			put(victim, true);
			put(file, false);
		}
		_exit(0);
	}
	for (int i = 0; (i < TRIES || !changed || !refused) && time(NULL) < end; i++) {
		int r = i % 2 ? SET(ALICE) : SET(BOB);

		changed += r == 1;
		refused += r == -ENODEV;
		CHECK(r >= 0 || r == -ENODEV || r == -ENOENT || r == -EBUSY);
	}
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	CHECK(changed > 0 && refused > 0);
	CHECK_INT(mode_of(victim), 0644);
	CHECK_INT(mode_of(file), 0644);
	CHECK(lgetxattr(victim, ACL_NAME, NULL, 0) < 0);
	CHECK(lgetxattr(file, ACL_NAME, NULL, 0) < 0);
	unlink(spare);
	unlink(real);
}

static void who_changes_it_back_is_noticed(void)
{
	time_t end = time(NULL) + DEADLINE_S;
	pid_t parent = getpid(), pid;
	struct error err = { 0 };
	int r = 0;

	fresh(node, MINOR, 0600);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			chmod(node, 0664);
		_exit(0);
	}
	while (r >= 0 && time(NULL) < end)
		r = acl_set(node, MAJOR, MINOR, NULL, 0, &err);
	CHECK_INT(r, -EBUSY);
	CHECK_STR(err.id, "acl.undone");
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
}

/* --- finding --- */

struct found {
	char paths[1024];
	int answer;
};

static int note(const char *path, void *userdata)
{
	struct found *found = userdata;
	size_t n = strlen(found->paths);

	CHECK(strncmp(path, top, strlen(top)) == 0);
	snprintf(found->paths + n, sizeof(found->paths) - n, "%s ", path + strlen(top));
	return found->answer;
}

static void make_node(const char *name, unsigned minor)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fresh(path, minor, 0600);
}

static void make_dir(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	CHECK_INT(mkdir(path, 0755), 0);
}

static void make_link(const char *target, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	CHECK_INT(symlink(target, path), 0);
}

static void nodes_are_found_two_levels_deep(void)
{
	struct found found = { 0 };
	char path[160];

	make_dir("tree");
	make_dir("tree/sub");
	make_dir("tree/sub/below");
	make_dir("tree/shm");
	snprintf(path, sizeof(path), "%s/tree/shm", top);
	CHECK_INT(mount("dibs-test", path, "tmpfs", 0, NULL), 0);
	make_node("tree/shm/theirs", 9);
	make_node("tree/sub/b", 9);
	make_node("tree/sub/c", 10);
	make_node("tree/sub/below/too-deep", 9);
	make_link("sub/b", "tree/link");
	make_link("sub", "tree/again");
	snprintf(path, sizeof(path), "%s/tree/block", top);
	CHECK_INT(mknod(path, S_IFBLK | 0600, makedev(MAJOR, 9)), 0);
	snprintf(path, sizeof(path), "%s/tree", top);
	CHECK_INT(acl_find_nodes(path, MAJOR, 9, note, &found), 0);
	CHECK_STR(found.paths, "/tree/sub/b ");

	found = (struct found){ .answer = -ENOENT }; /* an answer, not a vanished directory */
	CHECK_INT(acl_find_nodes(path, MAJOR, 9, note, &found), -ENOENT);
	make_node("tree/a", 9);
	found = (struct found){ 0 };
	CHECK_INT(acl_find_nodes(path, MAJOR, 9, note, &found), 0);
	CHECK(strstr(found.paths, "/tree/a ") && strstr(found.paths, "/tree/sub/b "));
	found = (struct found){ .answer = 7 };
	CHECK_INT(acl_find_nodes(path, MAJOR, 9, note, &found), 7);
	CHECK(!strchr(found.paths, ' ')[1]);

	found = (struct found){ 0 };
	CHECK_INT(acl_find_nodes("/nowhere", MAJOR, 9, note, &found), -ENOENT);
	CHECK_INT(acl_find_nodes(file, MAJOR, 9, note, &found), -ENOTDIR);
	CHECK_STR(found.paths, "");
}

static void what_vanishes_is_skipped(void)
{
	time_t end = time(NULL) + DEADLINE_S;
	pid_t parent = getpid(), pid;
	char path[128], dir[160], inner[192];

	snprintf(path, sizeof(path), "%s/restless", top);
	snprintf(dir, sizeof(dir), "%s/comes", path);
	snprintf(inner, sizeof(inner), "%s/node", dir);
	make_dir("restless");
	make_node("restless/stays", 9);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent) {
			mkdir(dir, 0755);
			mknod(inner, S_IFCHR | 0600, makedev(MAJOR, 10));
			unlink(inner);
			rmdir(dir);
			(void)!symlink("/proc", dir);
			unlink(dir);
		}
		_exit(0);
	}
	for (int i = 0; i < TRIES && time(NULL) < end; i++) {
		struct found found = { 0 };

		CHECK_INT(acl_find_nodes(path, MAJOR, 9, note, &found), 0);
		CHECK_STR(found.paths, "/restless/stays ");
	}
	kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
}

/* A file system of our own, in a mount namespace of our own: nothing stays behind. */
static bool set_up(void)
{
	static char template[] = "/tmp/dibs-test-acl-XXXXXX";

	umask(0);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
		mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 || !mkdtemp(template))
		return false;
	snprintf(top, sizeof(top), "%s", template);
	snprintf(node, sizeof(node), "%s/node", top);
	snprintf(victim, sizeof(victim), "%s/victim", top);
	snprintf(file, sizeof(file), "%s/file", top);
	snprintf(spare, sizeof(spare), "%s/spare", top);
	return mount("dibs-test", top, "tmpfs", 0, "mode=755") == 0 &&
	       mknod(node, S_IFCHR | 0600, makedev(MAJOR, MINOR)) == 0;
}

int main(void)
{
	if (!set_up()) {
		printf("1..0 # SKIP needs root, who may mount and make device nodes\n");
		if (*top)
			rmdir(top);
		return 0;
	}
	TEST(only_who_is_named_may_open);
	TEST(the_mask_stays_when_nobody_is_named);
	TEST(what_others_wrote_is_removed);
	TEST(small_changes_are_seen);
	TEST(doubles_order_and_root_do_not_matter);
	TEST(a_thousand_users_fit);
	TEST(nobody_is_no_user);
	TEST(what_is_not_the_node_is_left_alone);
	TEST(clearing_opens_to_everybody);
	TEST(file_systems_without_acls_are_told);
	TEST(who_stays_is_never_shut_out);
	TEST(it_is_never_open_in_between);
	TEST(what_takes_its_place_is_left_alone);
	TEST(who_changes_it_back_is_noticed);
	TEST(nodes_are_found_two_levels_deep);
	TEST(what_vanishes_is_skipped);
	umount2(top, MNT_DETACH);
	rmdir(top);
	return tap_done();
}
