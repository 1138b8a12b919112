/* SPDX-License-Identifier: MIT */
/* The machine around dibsd: its files, cgroups, users, processes and clock. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include "base/fd.h"
#include "cli/doctor.h"

#define CONFIG_PATH "etc/dibs/dibs.conf"
#define STATE_PATH  "var/lib/dibs"
#define STORE_PATH  STATE_PATH "/dibs.db"

#define FREE_MIB_LOW   256 /* of the file system of the database: soon full */
#define FREE_MIB_EMPTY 16  /* as good as full */

static void look_config(const struct host *host, struct finding *finding)
{
	if (host_has(host, CONFIG_PATH))
		check_owner(host, finding, CONFIG_PATH, HEALTH_OK);
	else
		finding_set(finding, HEALTH_OK, "no /" CONFIG_PATH ": defaults apply");
}

static void look_state(const struct host *host, struct finding *finding)
{
	check_owner(host, finding, STATE_PATH, HEALTH_NOTE);
	if (finding->health == HEALTH_NOTE)
		finding_fix(finding, "dibsd keeps its leases there, or where it is told to",
			"install -d -m 0700 /" STATE_PATH);
}

static void judge_space(
	const struct host *host, struct finding *finding, unsigned long long size_mib)
{
	_cleanup_(closep) int fd = openat(host->root, STORE_PATH, O_PATH | O_CLOEXEC);
	struct statvfs space;
	unsigned long long mib;

	if (fd < 0 || fstatvfs(fd, &space) < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot look at the disk of the database: %m");
		return;
	}
	mib = (unsigned long long)space.f_bavail * space.f_frsize >> 20;
	finding_set(finding,
		mib < FREE_MIB_EMPTY ? HEALTH_PROBLEM
		: mib < FREE_MIB_LOW ? HEALTH_NOTE
				     : HEALTH_OK,
		"database /" STORE_PATH ", %llu MiB; %llu MiB free on its disk", size_mib, mib);
	if (finding->health != HEALTH_OK)
		finding_fix(finding, "on a full disk no lease can begin, as none can be written",
			"du -xh /var | sort -h | tail");
}

static void look_store(const struct host *host, struct finding *finding)
{
	struct stat st;

	if (fstatat(host->root, STORE_PATH, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		finding_set(finding, HEALTH_SKIPPED,
			errno == ENOENT ? "no database /" STORE_PATH " yet"
					: "cannot look at /" STORE_PATH ": %m");
		return;
	}
	if (!S_ISREG(st.st_mode)) {
		finding_set(finding, HEALTH_PROBLEM, "/" STORE_PATH " is no file");
		finding_fix(finding, "dibsd does not start without its database",
			"mv /" STORE_PATH " /" STORE_PATH ".old && systemctl restart dibsd");
		return;
	}
	check_owner(host, finding, STORE_PATH, HEALTH_OK);
	if (finding->health == HEALTH_OK && st.st_mode & 0044) {
		finding_set(
			finding, HEALTH_NOTE, "/" STORE_PATH " has mode %04o", st.st_mode & 07777);
		finding_fix(finding, "everybody can read who did what and when",
			"chmod 0600 /" STORE_PATH);
	} else if (finding->health == HEALTH_OK) {
		judge_space(host, finding, (unsigned long long)st.st_size >> 20);
	}
}

static void look_cgroup(const struct host *host, struct finding *finding)
{
	static const char why[] =
		"a run ends with the process that dibs started, not with the last of its children; "
		"and no device filter keeps others off";
	char path[PATH_MAX];

	if (!host_mount(host, "cgroup2", NULL, path, sizeof(path))) {
		finding_set(finding, HEALTH_NOTE, "cgroup v2 is not mounted");
		finding_fix(finding, why,
			"mount -t cgroup2 none /sys/fs/cgroup "
			"# with systemd: boot with systemd.unified_cgroup_hierarchy=1");
	} else if (geteuid() == 0 && faccessat(host->root, path + 1, W_OK, AT_EACCESS) < 0) {
		finding_set(finding, HEALTH_NOTE, "cgroup v2 at %s is read-only", path);
		finding_fix(finding, why,
			"mount -o remount,rw %s # of a container: start it with the host's cgroup "
			"namespace writable",
			path);
	} else {
		finding_set(finding, HEALTH_OK, "cgroup v2 at %s", path);
	}
}

static void look_user(const struct host *host, struct finding *finding)
{
	const struct passwd *pw = getpwnam("dibs");

	if (pw && pw->pw_uid == 0) {
		finding_set(finding, HEALTH_PROBLEM, "user dibs is root");
		finding_fix(finding, "the sensor must not be able to do more than to look",
			"usermod -u 989 dibs");
	} else if (pw) {
		finding_set(finding, HEALTH_OK, "user dibs exists");
	} else {
		finding_set(finding, HEALTH_NOTE, "there is no user dibs");
		finding_fix(finding, "the sensor should run as a user that can do nothing else",
			"useradd --system --no-create-home --shell /usr/sbin/nologin dibs");
	}
}

static void look_hidepid(const struct host *host, struct finding *finding)
{
	char text[65536], *cursor = text, *line;

	if (read_file_at(host->root, "proc/self/mounts", text, sizeof(text)) < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot read /proc/self/mounts");
		return;
	}
	finding_set(finding, HEALTH_OK, "/proc shows all processes");
	while ((line = strsep(&cursor, "\n"))) {
		const char *option = strstr(line, "hidepid=");

		if (strncmp(line, "proc /proc ", 11) != 0 || !option ||
			strncmp(option, "hidepid=0", 9) == 0 ||
			strncmp(option, "hidepid=off", 11) == 0)
			continue;
		finding_set(finding, HEALTH_NOTE, "/proc is mounted with hidepid");
		finding_fix(finding, "a dibsd without root cannot see whose processes use a GPU",
			"mount -o remount,hidepid=0 /proc # not needed if dibsd runs as root");
	}
}

static void look_clock(const struct host *host, struct finding *finding)
{
	struct timex state = { 0 }; /* changes nothing */
	int r = adjtimex(&state);

	if (r < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot ask for the state of the clock: %m");
	} else if (r == TIME_ERROR || state.status & STA_UNSYNC) {
		finding_set(finding, HEALTH_NOTE, "the clock is not synchronised");
		finding_fix(finding,
			"holds last as long as they should, but times shown may be wrong", "%s",
			host_has_systemd(host) ? "timedatectl set-ntp true" : "chronyd -q");
	} else {
		finding_set(finding, HEALTH_OK, "the clock is synchronised");
	}
}

const struct check host_checks[] = {
	{ "configuration", look_config },
	{ "state", look_state },
	{ "database", look_store },
	{ "cgroup", look_cgroup },
	{ "user", look_user },
	{ "proc", look_hidepid },
	{ "clock", look_clock },
	{ 0 },
};
