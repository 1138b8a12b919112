/* SPDX-License-Identifier: MIT */
/*
 * The systemd unit, as its files say it: what systemd made of them only systemctl could tell, which
 * a container may lack. Settings that reach the processes of users through the cgroup (see the
 * comments of dibsd.service) are wrong wherever they stand.
 */
#include <limits.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "cli/public.h"

#define UNIT      "dibsd.service"
#define UNIT_SIZE 65536

/* Units of the first hide those of the others; drop-ins add up. */
static const char *const places[] = { "etc/systemd/system", "run/systemd/system",
	"usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system" };

const char *host_find_unit(const struct host *host, const char *name)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < ELEMENTSOF(places); i++) {
		snprintf(path, sizeof(path), "%s/%s", places[i], name);
		if (host_has(host, path))
			return places[i];
	}
	return NULL;
}

/* What the last line "Key=VALUE" says, copied into dst; false if there is none. */
static bool unit_value(const char *text, const char *key, char *dst, size_t size)
{
	size_t n = strlen(key), length;
	bool found = false;

	for (const char *line = text; *line; line += length + (line[length] == '\n')) {
		length = strcspn(line, "\n");
		if (strncmp(line, key, n) != 0 || line[n] != '=')
			continue;
		snprintf(dst, size, "%.*s", (int)(length - n - 1), line + n + 1);
		found = true;
	}
	return found;
}

static bool is_true(const char *value)
{
	static const char *const words[] = { "1", "yes", "true", "on" };

	for (size_t i = 0; i < ELEMENTSOF(words); i++)
		if (strcasecmp(value, words[i]) == 0)
			return true;
	return false;
}

/* The setting of this text that keeps users off their devices, or NULL. */
static const char *device_setting(const char *text)
{
	char value[256];

	if (unit_value(text, "DevicePolicy", value, sizeof(value)) && *value &&
		strcmp(value, "auto") != 0)
		return "DevicePolicy";
	if (unit_value(text, "DeviceAllow", value, sizeof(value)) && *value)
		return "DeviceAllow";
	if (unit_value(text, "PrivateDevices", value, sizeof(value)) && is_true(value))
		return "PrivateDevices";
	if (unit_value(text, "ProtectClock", value, sizeof(value)) && is_true(value))
		return "ProtectClock";
	return NULL;
}

static void look_unit(const struct host *host, struct finding *finding)
{
	if (!host_has_systemd(host)) {
		finding_set(
			finding, HEALTH_SKIPPED, "no systemd here: start dibsd by your own means");
	} else if (!host_find_unit(host, UNIT)) {
		finding_set(finding, HEALTH_PROBLEM, UNIT " is not installed");
		finding_fix(finding, "dibsd does not start with the machine", "meson install");
	} else if (!host_find_unit(host, "multi-user.target.wants/" UNIT)) {
		finding_set(finding, HEALTH_PROBLEM, UNIT " is not enabled");
		finding_fix(finding, "dibsd does not start with the machine",
			"systemctl enable --now dibsd");
	} else {
		finding_set(finding, HEALTH_OK, UNIT " is enabled");
	}
}

/* Judges the text of a file; true if there is something to say. */
static bool judge_devices(struct finding *finding, const char *path, const char *text)
{
	const char *setting = device_setting(text);

	if (!setting)
		return false;
	finding_set(finding, HEALTH_PROBLEM, "/%s sets %s=", path, setting);
	finding_fix(finding,
		"systemd then keeps all runs of users, whose cgroups are below that of dibsd, off "
		"their GPUs",
		"sed -i '/^%s=/d' /%s && systemctl daemon-reload && systemctl restart dibsd",
		setting, path);
	return true;
}

static bool judge_drop_in(const struct host *host, struct finding *finding, const char *path)
{
	char text[UNIT_SIZE];

	return read_file_at(host->root, path, text, sizeof(text)) >= 0 &&
	       judge_devices(finding, path, text);
}

static bool judge_drop_ins(const struct host *host, struct finding *finding, const char *place)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" UNIT ".d", place);
	dir = opendir_at(host->root, path);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		size_t n = strlen(entry->d_name);

		if (n < 5 || strcmp(entry->d_name + n - 5, ".conf") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/" UNIT ".d/%s", place, entry->d_name);
		if (judge_drop_in(host, finding, path))
			return true;
	}
	return false;
}

static bool judge_unit(struct finding *finding, const char *path, const char *text)
{
	char value[1024];

	if (judge_devices(finding, path, text))
		return true;
	if (!unit_value(text, "Delegate", value, sizeof(value)) || !*value ||
		strcasecmp(value, "no") == 0) {
		finding_set(finding, HEALTH_PROBLEM, "/%s is old: it has no Delegate=yes", path);
		finding_fix(finding,
			"systemd may put the cgroups of runs in order as it likes, and ends runs",
			"meson install && systemctl daemon-reload && systemctl restart dibsd");
		return true;
	}
	if (unit_value(text, "CapabilityBoundingSet", value, sizeof(value)) &&
		!strstr(value, "CAP_BPF") && !strstr(value, "CAP_SYS_ADMIN")) {
		finding_set(finding, HEALTH_NOTE, "/%s is old: it lets dibsd load no device filter",
			path);
		finding_fix(finding, "'dibs admin guard deny' can only use ACLs",
			"meson install && systemctl daemon-reload && systemctl restart dibsd");
		return true;
	}
	return false;
}

static void look_settings(const struct host *host, struct finding *finding)
{
	const char *place = host_find_unit(host, UNIT);
	char path[PATH_MAX], text[UNIT_SIZE];

	if (!host_has_systemd(host) || !place) {
		finding_set(finding, HEALTH_SKIPPED, "no unit to look at");
		return;
	}
	snprintf(path, sizeof(path), "%s/" UNIT, place);
	if (read_file_at(host->root, path, text, sizeof(text)) < 0) {
		finding_set(finding, HEALTH_SKIPPED, "cannot read /%s: %m", path);
		return;
	}
	if (judge_unit(finding, path, text))
		return;
	for (size_t i = 0; i < ELEMENTSOF(places); i++)
		if (judge_drop_ins(host, finding, places[i]))
			return;
	finding_set(finding, HEALTH_OK, "/%s and its drop-ins leave users their devices", path);
}

const struct check unit_checks[] = {
	{ "unit", look_unit },
	{ "unit-settings", look_settings },
	{ 0 },
};
