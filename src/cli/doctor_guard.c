/* SPDX-License-Identifier: MIT */
/*
 * What a guard needs of the machine, by device filter or by ACL, and who gets around it. What does
 * not concern the method in use is at most a note.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "cli/public.h"

#define BPFFS    "/sys/fs/bpf"
#define PIN_ROOT "sys/fs/bpf"
#define PIN_PATH PIN_ROOT "/dibs"

#define DATABASE_SIZE (1 << 20) /* of /etc/group and /etc/passwd */

static void look_nvreg(const struct host *host, struct finding *finding)
{
	bool acl = host_guard_is(host, "deny", "acl");
	const char *problem, *fix;
	struct nvreg nvreg;

	if (!host_nvreg(host, &nvreg)) {
		finding_set(finding, HEALTH_SKIPPED, "no NVIDIA driver, so no settings of it");
		return;
	}
	if (nvreg_acl_holds(&nvreg, &problem, &fix)) {
		finding_set(finding, HEALTH_OK,
			"the settings of the NVIDIA driver leave ACLs alone (mode %04o%s)",
			nvreg.mode, nvreg.modify ? "" : ", nodes are not touched");
	} else if (!acl) {
		finding_set(
			finding, HEALTH_OK, "no ACL would hold (%s), but none is in use", problem);
	} else {
		finding_set(finding, HEALTH_PROBLEM, "%s", problem);
		finding_fix(finding, "the ACLs of 'dibs admin guard deny' do not hold", "%s", fix);
	}
}

/* Programs for cgroups know the ancestors of a cgroup since 6.1 (kernel/bpf/cgroup.c). */
static bool kernel_is_old(const struct host *host)
{
	unsigned major, minor;
	char text[128];

	return read_file_at(host->root, "proc/sys/kernel/osrelease", text, sizeof(text)) > 0 &&
	       sscanf(text, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 1));
}

static bool kernel_has_bpf(const struct host *host)
{
	char text[16384];

	return read_file_at(host->root, "proc/filesystems", text, sizeof(text)) > 0 &&
	       strstr(text, "\tbpf\n");
}

static void look_bpf(const struct host *host, struct finding *finding)
{
	char path[PATH_MAX];

	if (!kernel_has_bpf(host)) {
		finding_set(finding, HEALTH_NOTE, "this kernel has no BPF");
		finding_fix(finding, "a guard can only use ACLs, which hold less",
			"grep -E 'CONFIG_(CGROUP_BPF|BPF_SYSCALL)' /boot/config-$(uname -r)");
	} else if (kernel_is_old(host)) {
		finding_set(finding, HEALTH_NOTE, "this kernel is older than 6.1");
		finding_fix(finding, "a guard can only use ACLs, which hold less",
			"apt-get install linux-image-generic && reboot");
	} else if (!host_mount(host, "bpf", BPFFS, path, sizeof(path))) {
		finding_set(finding, HEALTH_NOTE, "no BPF file system at " BPFFS);
		finding_fix(finding,
			"device filters are kept there, so that they outlive dibsd; it mounts one "
			"if it may",
			"mount -t bpf bpf " BPFFS);
	} else {
		finding_set(finding, HEALTH_OK, "BPF can be used, file system at " BPFFS);
	}
}

/* A dibsd with another state directory than the usual has a suffix to its name. */
static bool has_other_pins(const struct host *host)
{
	_cleanup_(closedirp) DIR *dir = opendir_at(host->root, PIN_ROOT);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (strncmp(entry->d_name, "dibs-", 5) == 0)
			return true;
	return false;
}

static void look_filter(const struct host *host, struct finding *finding)
{
	bool used = host_guard_is(host, "deny", "filter"), unknown;
	struct stat st;
	bool pinned = fstatat(host->root, PIN_PATH, &st, AT_SYMLINK_NOFOLLOW) == 0;

	unknown = !pinned && errno != ENOENT;
	if (unknown) {
		finding_set(finding, HEALTH_SKIPPED,
			"cannot look for a device filter at /" PIN_PATH ": %m");
	} else if (used && !pinned && !has_other_pins(host)) {
		finding_set(finding, HEALTH_PROBLEM, "no device filter is pinned at /" PIN_PATH);
		finding_fix(finding, "it ends with dibsd, and until that is back everybody gets in",
			"mountpoint -q " BPFFS " || mount -t bpf bpf " BPFFS
			"; systemctl restart dibsd");
	} else if (used) {
		finding_set(finding, HEALTH_OK, "the device filter is pinned at /%s%s", PIN_PATH,
			pinned ? "" : "-*");
	} else if (pinned && host->status) {
		finding_set(finding, HEALTH_NOTE,
			"a device filter is pinned at /" PIN_PATH ", but not in use");
		finding_fix(finding, "it may keep users off GPUs that they have",
			"dibs admin guard off");
	} else {
		finding_set(finding, HEALTH_OK, "no device filter is in use");
	}
}

/* Appends a name, unless it is there already. */
static void add_member(char *list, size_t size, const char *name)
{
	size_t n = strlen(list), length = strlen(name);

	for (const char *s = list; (s = strstr(s, name)); s += length)
		if ((s == list || s[-1] == ' ') && (!s[length] || s[length] == ','))
			return;
	if (length > 0)
		snprintf(list + n, size - n, "%s%s", n ? ", " : "", name);
}

/* The members that the line of a group names; returns its gid, or -1 if there is no such group. */
static int64_t read_group(char *text, const char *group, char *list, size_t size)
{
	char *cursor = text, *line;
	uint64_t gid;

	while ((line = strsep(&cursor, "\n"))) {
		char *name = strsep(&line, ":"), *id, *member;

		strsep(&line, ":");
		id = strsep(&line, ":");
		if (strcmp(name, group) != 0 || !id || parse_uint(id, 0, UINT32_MAX, &gid) < 0)
			continue;
		while ((member = strsep(&line, ",")))
			add_member(list, size, member);
		return (int64_t)gid;
	}
	return -1;
}

/* Those whose own group it is. */
static void read_passwd(char *text, int64_t group, char *list, size_t size)
{
	char *cursor = text, *line;
	uint64_t gid;

	while ((line = strsep(&cursor, "\n"))) {
		char *name = strsep(&line, ":"), *id;

		strsep(&line, ":");
		strsep(&line, ":");
		id = strsep(&line, ":");
		if (id && parse_uint(id, 0, UINT32_MAX, &gid) == 0 && (int64_t)gid == group)
			add_member(list, size, name);
	}
}

static void look_docker(const struct host *host, struct finding *finding)
{
	_cleanup_(freep) char *text = malloc(DATABASE_SIZE);
	char list[320] = "";
	int64_t gid;

	if (!text || read_file_at(host->root, "etc/group", text, DATABASE_SIZE) < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot read /etc/group");
		return;
	}
	gid = read_group(text, "docker", list, sizeof(list));
	if (gid >= 0 && read_file_at(host->root, "etc/passwd", text, DATABASE_SIZE) >= 0)
		read_passwd(text, gid, list, sizeof(list));
	if (!*list) {
		finding_set(finding, HEALTH_OK, "nobody is in group docker");
		return;
	}
	finding_set(finding, HEALTH_NOTE, "in group docker, which is to be root: %s", list);
	finding_fix(finding,
		"who may start containers can open every GPU and read every file; no guard is for "
		"them",
		"gpasswd -d %.*s docker # and each other; rootless docker or podman does without",
		(int)strcspn(list, ","), list);
}

const struct check guard_checks[] = {
	{ "nvreg", look_nvreg },
	{ "bpf", look_bpf },
	{ "filter", look_filter },
	{ "docker", look_docker },
	{ 0 },
};
