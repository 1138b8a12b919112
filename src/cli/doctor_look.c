/* SPDX-License-Identifier: MIT */
/* What several checks need. */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdarg.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "cli/public.h"

void finding_set(struct finding *finding, enum health health, const char *fmt, ...)
{
	va_list ap;

	finding->health = health;
	va_start(ap, fmt);
	text_vprint(finding->what, sizeof(finding->what), fmt, ap);
	va_end(ap);
	text_sanitize(finding->what);
}

void finding_fix(struct finding *finding, const char *why, const char *fmt, ...)
{
	va_list ap;

	text_copy(finding->why, sizeof(finding->why), why);
	va_start(ap, fmt);
	text_vprint(finding->fix, sizeof(finding->fix), fmt, ap);
	va_end(ap);
	text_sanitize(finding->fix);
}

bool host_has(const struct host *host, const char *path)
{
	struct stat st;

	return fstatat(host->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool host_has_systemd(const struct host *host)
{
	return host_has(host, "run/systemd/system");
}

bool host_mount(const struct host *host, const char *type, const char *path, char *ret, size_t size)
{
	_cleanup_(fclosep) FILE *mounts = fopen_at(host->root, "proc/self/mounts");
	const struct mntent *mount;

	while (mounts && (mount = getmntent(mounts)))
		if (strcmp(mount->mnt_type, type) == 0 &&
			(!path || strcmp(mount->mnt_dir, path) == 0)) {
			text_copy(ret, size, mount->mnt_dir);
			return true;
		}
	return false;
}

bool host_nvreg(const struct host *host, struct nvreg *ret)
{
	char text[16384];

	if (read_file_at(host->root, "proc/driver/nvidia/params", text, sizeof(text)) < 0)
		return false;
	nvreg_parse(text, ret);
	return true;
}

bool host_guard_is(const struct host *host, const char *mode, const char *method)
{
	return strcmp(wire_text(host->status, "guard"), mode) == 0 &&
	       strcmp(wire_text(host->status, "guard_method"), method) == 0;
}

void check_owner(
	const struct host *host, struct finding *finding, const char *path, enum health missing)
{
	struct stat st;

	if (fstatat(host->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			finding_set(finding, missing, "no /%s", path);
		else
			finding_set(finding, HEALTH_SKIPPED, "cannot look at /%s: %m", path);
	} else if (st.st_uid != host->owner) {
		finding_set(finding, HEALTH_PROBLEM, "/%s belongs to uid %u, not to root", path,
			(unsigned)st.st_uid);
		finding_fix(finding, "its owner decides what dibsd does as root",
			"chown root:root /%s", path);
	} else if (st.st_mode & 0022) {
		finding_set(finding, HEALTH_PROBLEM, "/%s has mode %04o", path, st.st_mode & 07777);
		finding_fix(finding, "others could change what only root should", "chmod %04o /%s",
			st.st_mode & 07777 & ~0022u, path);
	} else {
		finding_set(finding, HEALTH_OK, "/%s belongs to root, mode %04o", path,
			st.st_mode & 07777);
	}
}
