/* SPDX-License-Identifier: MIT */
/*
 * Each check reads a few files, changes nothing and starts nothing; so an ordinary user can run
 * them all. What only root may see is skipped, and says so.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <mntent.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "cli/public.h"
#include "dibs-config.h"

#define CONFIG_PATH "/etc/dibs/dibs.conf"
#define STATE_PATH  "/var/lib/dibs"
#define UNIT        "dibsd.service"

static _printf_(3, 4) void finding_set(
	struct finding *finding, enum health health, const char *fmt, ...)
{
	va_list ap;

	finding->health = health;
	va_start(ap, fmt);
	vsnprintf(finding->what, sizeof(finding->what), fmt, ap);
	va_end(ap);
}

static _printf_(3, 4) void finding_fix(
	struct finding *finding, const char *why, const char *fmt, ...)
{
	va_list ap;

	text_copy(finding->why, sizeof(finding->why), why);
	va_start(ap, fmt);
	vsnprintf(finding->fix, sizeof(finding->fix), fmt, ap);
	va_end(ap);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static bool has_systemd(void)
{
	return exists("/run/systemd/system");
}

static void look_daemon(struct cli *cli, struct finding *finding)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	struct error err = { 0 };
	const char *version;

	if (client_call(cli_value(cli, OPT_SOCKET), "org.dibs.GetStatus", NULL, &reply, &err) !=
		EXIT_OK) {
		finding_set(finding, HEALTH_PROBLEM, "dibsd does not answer: %s", err.text);
		finding_fix(finding, "nobody can get a GPU, and who has one keeps it", "%s",
			has_systemd() ? "systemctl restart dibsd; journalctl -u dibsd -n 20"
				      : "dibsd &");
		return;
	}
	version = wire_text(reply, "version");
	if (strcmp(version, DIBS_VERSION) == 0) {
		finding_set(finding, HEALTH_OK, "dibsd answers, version %s", version);
		return;
	}
	finding_set(finding, HEALTH_PROBLEM, "dibsd is version %s, dibs is " DIBS_VERSION, version);
	finding_fix(finding, "one of them was upgraded without the other; leases outlive a restart",
		"systemctl restart dibsd");
}

static void look_gpus(struct cli *cli, struct finding *finding)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	struct error err = { 0 };
	json_t *gpus, *gpu, *first_lost = NULL;
	size_t n, i, n_lost = 0;

	if (client_call(cli_value(cli, OPT_SOCKET), "org.dibs.GetStatus", NULL, &reply, &err) !=
		EXIT_OK) {
		finding_set(finding, HEALTH_SKIPPED, "no dibsd to ask for its GPUs");
		return;
	}
	gpus = json_object_get(reply, "gpus");
	n = json_array_size(gpus);
	json_array_foreach (gpus, i, gpu) {
		if (strcmp(wire_text(gpu, "state"), "lost") != 0)
			continue;
		n_lost++;
		first_lost = first_lost ? first_lost : gpu;
	}
	if (n_lost > 0) {
		finding_set(finding, HEALTH_PROBLEM, "%zu of %zu GPUs lost: %s", n_lost, n,
			wire_text(first_lost, "reason"));
		finding_fix(finding, "nobody gets them until they are back",
			"dmesg | grep -i nvrm; dibs status");
		return;
	}
	finding_set(finding, n > 0 ? HEALTH_OK : HEALTH_PROBLEM, "dibsd sees %zu GPU%s", n,
		n == 1 ? "" : "s");
	if (n == 0)
		finding_fix(finding, "there is nothing to share; the sensor says why it sees none",
			"journalctl -u dibsd -n 50 | grep sensor");
}

static void look_socket(struct cli *cli, struct finding *finding)
{
	const char *path = client_path(cli_value(cli, OPT_SOCKET));
	struct stat st;

	if (stat(path, &st) < 0) {
		finding_set(finding, HEALTH_SKIPPED, "no socket %s to look at", path);
	} else if (!S_ISSOCK(st.st_mode)) {
		finding_set(finding, HEALTH_PROBLEM, "%s is not a socket", path);
		finding_fix(finding, "dibsd cannot listen there", "rm %s", path);
	} else if (access(path, W_OK) < 0) {
		finding_set(finding, HEALTH_PROBLEM, "you may not use %s (mode %04o, group %u)",
			path, st.st_mode & 07777, (unsigned)st.st_gid);
		finding_fix(finding, "an administrator has to let you in",
			"usermod -aG %u $USER # then log in again", (unsigned)st.st_gid);
	} else {
		finding_set(finding, HEALTH_OK, "socket %s, mode %04o", path, st.st_mode & 07777);
	}
}

/* A file or directory must belong to root and must not be writable by others than its owner.
 * missing: what it means that it is not there. */
static void check_owner(struct finding *finding, const char *path, enum health missing)
{
	struct stat st;

	if (lstat(path, &st) < 0) {
		if (errno == ENOENT)
			finding_set(finding, missing, "no %s", path);
		else
			finding_set(finding, HEALTH_SKIPPED, "cannot look at %s: %m", path);
	} else if (st.st_uid != 0) {
		finding_set(finding, HEALTH_PROBLEM, "%s belongs to uid %u, not to root", path,
			(unsigned)st.st_uid);
		finding_fix(finding, "its owner decides what dibsd does as root",
			"chown root:root %s", path);
	} else if (st.st_mode & 0022) {
		finding_set(finding, HEALTH_PROBLEM, "%s has mode %04o", path, st.st_mode & 07777);
		finding_fix(finding, "others could change what only root should", "chmod %04o %s",
			st.st_mode & 07777 & ~0022u, path);
	} else {
		finding_set(finding, HEALTH_OK, "%s belongs to root, mode %04o", path,
			st.st_mode & 07777);
	}
}

static void look_config(struct cli *cli, struct finding *finding)
{
	check_owner(finding, CONFIG_PATH, HEALTH_OK);
	if (strncmp(finding->what, "no ", 3) == 0)
		finding_set(finding, HEALTH_OK, "no " CONFIG_PATH ": defaults apply");
}

static void look_state(struct cli *cli, struct finding *finding)
{
	check_owner(finding, STATE_PATH, HEALTH_NOTE);
	if (finding->health == HEALTH_NOTE)
		finding_fix(finding, "dibsd keeps its leases there, or where it is told to",
			"install -d -m 0700 " STATE_PATH);
}

/* Where cgroup v2 is mounted (beside v1, not at /sys/fs/cgroup itself); false if nowhere. */
static bool find_cgroup2(char *ret, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *mount = NULL;

	while (mounts && (mount = getmntent(mounts)) && strcmp(mount->mnt_type, "cgroup2") != 0)
		;
	if (mount)
		text_copy(ret, size, mount->mnt_dir);
	if (mounts)
		endmntent(mounts);
	return mount != NULL;
}

static void look_cgroup(struct cli *cli, struct finding *finding)
{
	static const char why[] =
		"a run ends with the process that dibs started, not with the last of its children";
	char path[PATH_MAX];

	if (!find_cgroup2(path, sizeof(path))) {
		finding_set(finding, HEALTH_NOTE, "cgroup v2 is not mounted");
		finding_fix(finding, why,
			"mount -t cgroup2 none /sys/fs/cgroup "
			"# with systemd: boot with systemd.unified_cgroup_hierarchy=1");
	} else if (geteuid() == 0 && access(path, W_OK) < 0) {
		finding_set(finding, HEALTH_NOTE, "cgroup v2 at %s is read-only", path);
		finding_fix(finding, why,
			"mount -o remount,rw %s # of a container: start it with the host's cgroup "
			"namespace writable",
			path);
	} else {
		finding_set(finding, HEALTH_OK, "cgroup v2 at %s", path);
	}
}

/* Below which directory a unit, or the link that enables it, lies. */
static bool unit_exists(const char *suffix)
{
	static const char *const places[] = { "/etc/systemd/system",
		"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system" };

	for (size_t i = 0; i < ELEMENTSOF(places); i++) {
		_cleanup_(freep) char *path = text_format("%s/%s", places[i], suffix);
		struct stat st;

		if (path && lstat(path, &st) == 0)
			return true;
	}
	return false;
}

static void look_unit(struct cli *cli, struct finding *finding)
{
	if (!has_systemd()) {
		finding_set(
			finding, HEALTH_SKIPPED, "no systemd here: start dibsd by your own means");
	} else if (!unit_exists(UNIT)) {
		finding_set(finding, HEALTH_PROBLEM, UNIT " is not installed");
		finding_fix(finding, "dibsd does not start with the machine", "meson install");
	} else if (!unit_exists("multi-user.target.wants/" UNIT)) {
		finding_set(finding, HEALTH_PROBLEM, UNIT " is not enabled");
		finding_fix(finding, "dibsd does not start with the machine",
			"systemctl enable --now dibsd");
	} else {
		finding_set(finding, HEALTH_OK, UNIT " is enabled");
	}
}

static void look_user(struct cli *cli, struct finding *finding)
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

static bool pci_is_nvidia_gpu(int devices, const char *name)
{
	char path[300], vendor[16], class[16];

	snprintf(path, sizeof(path), "%s/vendor", name);
	if (read_file_at(devices, path, vendor, sizeof(vendor)) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/class", name);
	if (read_file_at(devices, path, class, sizeof(class)) < 0)
		return false;
	/* Class 03: display controllers, of which 0302 is one without outputs. */
	return strncmp(vendor, "0x10de", 6) == 0 && strncmp(class, "0x03", 4) == 0;
}

static unsigned count_nvidia_pci(void)
{
	_cleanup_(closedirp) DIR *dir = opendir("/sys/bus/pci/devices");
	unsigned n = 0;

	if (!dir)
		return 0;
	for (struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.' && pci_is_nvidia_gpu(dirfd(dir), entry->d_name);
	return n;
}

static unsigned count_nvidia_nodes(void)
{
	_cleanup_(closedirp) DIR *dir = opendir("/dev");
	unsigned n = 0;

	if (!dir)
		return 0;
	for (struct dirent *entry; (entry = readdir(dir));)
		n += strncmp(entry->d_name, "nvidia", 6) == 0 && entry->d_name[6] >= '0' &&
		     entry->d_name[6] <= '9';
	return n;
}

static void look_nvidia(struct cli *cli, struct finding *finding)
{
	unsigned cards = count_nvidia_pci(), nodes = count_nvidia_nodes();

	if (cards == 0) {
		finding_set(finding, HEALTH_SKIPPED, "no NVIDIA GPU on the PCI bus");
	} else if (!exists("/proc/driver/nvidia/version")) {
		finding_set(finding, HEALTH_PROBLEM, "%u NVIDIA GPU%s, but no driver is loaded",
			cards, cards == 1 ? "" : "s");
		finding_fix(finding, "without its driver nobody can use a GPU", "modprobe nvidia");
	} else if (nodes < cards) {
		finding_set(finding, HEALTH_PROBLEM, "%u NVIDIA GPUs, but %u of /dev/nvidia*",
			cards, nodes);
		finding_fix(finding, "programs open the GPU through these files",
			"nvidia-modprobe -c 0 -u; nvidia-smi -L");
	} else {
		finding_set(finding, HEALTH_OK, "NVIDIA driver and %u of /dev/nvidia*", nodes);
	}
}

static void look_hidepid(struct cli *cli, struct finding *finding)
{
	char text[65536], *cursor = text, *line;

	if (read_file_at(AT_FDCWD, "/proc/self/mounts", text, sizeof(text)) < 0) {
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

static void look_clock(struct cli *cli, struct finding *finding)
{
	struct timex state = { 0 }; /* changes nothing */
	int r = adjtimex(&state);

	if (r < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot ask for the state of the clock: %m");
	} else if (r == TIME_ERROR || state.status & STA_UNSYNC) {
		finding_set(finding, HEALTH_NOTE, "the clock is not synchronised");
		finding_fix(finding,
			"holds last as long as they should, but times shown may be wrong", "%s",
			has_systemd() ? "timedatectl set-ntp true" : "chronyd -q");
	} else {
		finding_set(finding, HEALTH_OK, "the clock is synchronised");
	}
}

const struct check checks[] = {
	{ "daemon", look_daemon },
	{ "gpus", look_gpus },
	{ "socket", look_socket },
	{ "configuration", look_config },
	{ "state", look_state },
	{ "cgroup", look_cgroup },
	{ "unit", look_unit },
	{ "user", look_user },
	{ "nvidia", look_nvidia },
	{ "proc", look_hidepid },
	{ "clock", look_clock },
	{ 0 },
};
