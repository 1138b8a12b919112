/* SPDX-License-Identifier: MIT */
/*
 * What batch jobs need of the machine. Under systemd dibsd is confined, and so is what it starts;
 * there dibs-exec has to be started by systemd itself, at its socket (data/dibs-exec.socket).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/fd.h"
#include "base/program.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "dibs-config.h"

#define DAEMON_UNIT    "dibsd.service"
#define SOCKET_UNIT    "dibs-exec.socket"
#define DEFAULT_SOCKET "/run/dibs/socket"
#define UNIT_PATH      "/run/dibs/exec" /* ListenSequentialPacket= */
#define ACCEPTS        "00010000"       /* __SO_ACCEPTCON, in /proc/net/unix */
#define DRIVER_MIN     570              /* the first that cuda-checkpoint knows */

/* Reads a setting of [jobs]; if that cannot be, the check is skipped. */
static bool read_setting(const struct host *host, struct finding *finding, const char *key,
	const char *fallback, char *dst, size_t size)
{
	int r = host_setting(host, "jobs", key, fallback, dst, size);

	if (r < 0)
		finding_set(finding, HEALTH_SKIPPED, "cannot read [jobs] %s of dibs.conf: %s", key,
			strerrordesc_np(-r));
	return r >= 0;
}

/* True if there is something to say. */
static bool judge_program(
	const struct host *host, struct finding *finding, const char *path, const char *why)
{
	struct stat st;

	if (fstatat(host->root, path + 1, &st, 0) < 0) {
		finding_set(finding, errno == ENOENT ? HEALTH_PROBLEM : HEALTH_SKIPPED,
			"cannot find %s: %m", path);
		return true;
	}
	if (S_ISREG(st.st_mode) && st.st_mode & 0111)
		return false;
	finding_set(
		finding, HEALTH_PROBLEM, "%s is no program (mode %04o)", path, st.st_mode & 07777);
	finding_fix(finding, why, "chmod 0755 %s", path);
	return true;
}

static void look_supervisor(const struct host *host, struct finding *finding)
{
	static const char why[] = "no batch job can start";
	_cleanup_(freep) char *path =
		program_path("../exec/dibs-exec", DIBS_LIBEXECDIR "/dibs-exec");

	if (!path)
		finding_set(finding, HEALTH_SKIPPED, "out of memory");
	else if (!judge_program(host, finding, path, why))
		finding_set(finding, HEALTH_OK, "%s supervises jobs", path);
	else if (finding->health == HEALTH_PROBLEM && !*finding->fix)
		finding_fix(finding, why, "meson install");
}

/* Does anybody listen at path? Whether the file is there does not tell. */
static bool is_listening(const struct host *host, const char *path)
{
	_cleanup_(fclosep) FILE *sockets = fopen_at(host->root, "proc/net/unix");
	char line[512], flags[16], name[256];

	while (sockets && fgets(line, sizeof(line), sockets))
		if (sscanf(line, "%*s %*s %*s %15s %*s %*s %*s %255s", flags, name) == 2 &&
			strcmp(flags, ACCEPTS) == 0 && strcmp(name, path) == 0)
			return true;
	return false;
}

/* Where dibsd looks for dibs-exec: beside its own socket. */
static int exec_path(const struct host *host, char *dst, size_t size)
{
	char socket[256], *slash;
	int r = host_setting(host, "daemon", "socket", DEFAULT_SOCKET, socket, sizeof(socket));

	if (r < 0)
		return r;
	slash = strrchr(socket, '/');
	if (slash)
		*slash = '\0';
	snprintf(dst, size, "%s/exec", socket);
	return 0;
}

static void fix_socket(struct finding *finding, const char *path)
{
	static const char why[] =
		"no batch job can start: dibsd is confined by its unit, and must not start jobs "
		"that would be, too";

	if (strcmp(path, UNIT_PATH) == 0)
		finding_fix(finding, why, "systemctl enable --now " SOCKET_UNIT);
	else
		finding_fix(finding, why,
			"install -d /etc/systemd/system/" SOCKET_UNIT ".d && "
			"printf '[Socket]\\nListenSequentialPacket=%%s\\n' '' %s "
			">/etc/systemd/system/" SOCKET_UNIT ".d/path.conf && "
			"systemctl enable --now " SOCKET_UNIT,
			path);
}

/* Does it come up at boot, by itself or with dibsd? */
static bool is_started(const struct host *host)
{
	char path[PATH_MAX], text[16384];

	if (host_find_unit(host, "sockets.target.wants/" SOCKET_UNIT))
		return true;
	snprintf(path, sizeof(path), "%s/" DAEMON_UNIT, host_find_unit(host, DAEMON_UNIT));
	return read_file_at(host->root, path, text, sizeof(text)) > 0 &&
	       strstr(text, "\nWants=" SOCKET_UNIT "\n");
}

static void look_socket(const struct host *host, struct finding *finding)
{
	char path[300];

	if (!host_has_systemd(host) || !host_find_unit(host, DAEMON_UNIT)) {
		finding_set(finding, HEALTH_SKIPPED,
			"dibsd is not started by systemd, and starts dibs-exec itself");
	} else if (!host_find_unit(host, SOCKET_UNIT)) {
		finding_set(finding, HEALTH_PROBLEM, SOCKET_UNIT " is not installed");
		finding_fix(finding, "no batch job can start",
			"meson install && systemctl daemon-reload && "
			"systemctl enable --now " SOCKET_UNIT);
	} else if (exec_path(host, path, sizeof(path)) < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot read dibs.conf");
	} else if (!is_listening(host, path)) {
		finding_set(finding, HEALTH_PROBLEM, "dibs-exec does not listen at %s", path);
		fix_socket(finding, path);
	} else if (!is_started(host)) {
		finding_set(finding, HEALTH_PROBLEM, SOCKET_UNIT " is not enabled");
		finding_fix(finding, "after the next boot no batch job can start",
			"systemctl enable " SOCKET_UNIT);
	} else {
		finding_set(finding, HEALTH_OK, "dibs-exec listens at %s", path);
	}
}

/* Some systems refuse all services that have no file of their own. */
static bool other_refuses(const struct host *host)
{
	char text[4096], *cursor = text, *line;

	if (read_file_at(host->root, "etc/pam.d/other", text, sizeof(text)) < 0)
		return true;
	while ((line = strsep(&cursor, "\n")))
		if (*line != '#' && strstr(line, "pam_deny"))
			return true;
	return false;
}

static void look_pam(const struct host *host, struct finding *finding)
{
	char service[256], path[300];

	if (!read_setting(host, finding, "pam-service", "dibs", service, sizeof(service)))
		return;
	snprintf(path, sizeof(path), "etc/pam.d/%s", service);
	if (strcmp(service, "none") == 0) {
		finding_set(finding, HEALTH_OK, "jobs have no PAM session");
	} else if (host_has(host, path)) {
		check_owner(host, finding, path, HEALTH_PROBLEM);
	} else {
		bool refuses = other_refuses(host);

		finding_set(finding, refuses ? HEALTH_PROBLEM : HEALTH_NOTE, "no /%s", path);
		finding_fix(finding,
			refuses ? "PAM asks its service 'other' instead, which refuses all jobs"
				: "PAM asks its service 'other' instead, which may bring in "
				  "pam_systemd: "
				  "that ends supervisors with the last session of their user",
			"install -m 0644 data/dibs.pam /%s # in the source of dibs", path);
	}
}

static const struct {
	const char *key, *controller, *why;
} limits[] = {
	{ "memory-max", "memory", "jobs can take all memory of the host" },
	{ "processes-max", "pids",
		"the limit counts all processes of a user, and not those of a job (RLIMIT_NPROC)" },
	{ "cpu-max", "cpu", "jobs can take all CPUs of the host" },
};

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (; *list; list += strcspn(list, " \n"), list += strspn(list, " \n"))
		if (strcspn(list, " \n") == n && strncmp(list, word, n) == 0)
			return true;
	return false;
}

static void tell_limit(struct finding *finding, size_t i)
{
	finding_set(finding, HEALTH_PROBLEM, "[jobs] %s needs controller '%s' in cgroup v2",
		limits[i].key, limits[i].controller);
	finding_fix(finding, limits[i].why,
		"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 "
		"cgroup_enable=memory /' /etc/default/grub && update-grub && reboot");
}

static void look_limits(const struct host *host, struct finding *finding)
{
	char mount[PATH_MAX], path[PATH_MAX + 32], list[512] = "", value[64];
	unsigned n = 0;

	if (host_mount(host, "cgroup2", NULL, mount, sizeof(mount))) {
		snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
		read_file_at(host->root, path + 1, list, sizeof(list));
	}
	for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
		if (!read_setting(host, finding, limits[i].key, "0", value, sizeof(value)))
			return;
		if (strcmp(value, "0") == 0)
			continue;
		if (!has_word(list, limits[i].controller)) {
			tell_limit(finding, i);
			return;
		}
		n++;
	}
	if (n > 0)
		finding_set(finding, HEALTH_OK, "cgroup v2 can limit what jobs use of the host");
	else
		finding_set(finding, HEALTH_OK, "jobs have no limits on this host but their own");
}

/* The first number of the driver's version, or 0. The file: "NVRM version: ... 570.86.15 ...". */
static unsigned driver_version(const struct host *host)
{
	char text[1024], *cursor = text, *word;
	unsigned major, minor;

	if (read_file_at(host->root, "proc/driver/nvidia/version", text, sizeof(text)) < 0)
		return 0;
	while ((word = strsep(&cursor, " \n")))
		if (sscanf(word, "%u.%u", &major, &minor) == 2)
			return major;
	return 0;
}

static void judge_driver(const struct host *host, struct finding *finding, const char *path)
{
	unsigned version = driver_version(host);

	if (version == 0) {
		finding_set(finding, HEALTH_SKIPPED,
			"%s, but no NVIDIA driver that tells its version", path);
	} else if (version < DRIVER_MIN) {
		finding_set(finding, HEALTH_PROBLEM, "NVIDIA driver %u is too old for %s", version,
			path);
		finding_fix(finding, "no job can be suspended before driver 570",
			"apt-get install nvidia-driver && reboot # 570 or later");
	} else if (!host_has_persistenced(host)) {
		finding_set(finding, HEALTH_NOTE, "%s, but nvidia-persistenced does not run", path);
		finding_fix(finding, "without persistence mode suspending may end the job",
			"systemctl enable --now nvidia-persistenced");
	} else {
		finding_set(finding, HEALTH_OK, "%s suspends jobs, with driver %u", path, version);
	}
}

static void look_checkpoint(const struct host *host, struct finding *finding)
{
	static const char why[] = "no job can be suspended; --on-limit suspend means requeue";
	char path[PATH_MAX];

	if (!read_setting(host, finding, "checkpoint", "", path, sizeof(path)))
		return;
	if (path[0] != '/') {
		finding_set(finding, HEALTH_SKIPPED,
			"no [jobs] checkpoint, so no job can be suspended");
	} else if (judge_program(host, finding, path, why)) {
		if (finding->health == HEALTH_PROBLEM && !*finding->fix)
			finding_fix(finding, why, "install -m 0755 cuda-checkpoint %s", path);
	} else {
		check_owner(host, finding, path + 1, HEALTH_PROBLEM);
		if (finding->health == HEALTH_OK)
			judge_driver(host, finding, path);
	}
}

const struct check jobs_checks[] = {
	{ "dibs-exec", look_supervisor },
	{ "dibs-exec-socket", look_socket },
	{ "pam", look_pam },
	{ "job-limits", look_limits },
	{ "checkpoint", look_checkpoint },
	{ 0 },
};
