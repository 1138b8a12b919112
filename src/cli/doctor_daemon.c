/* SPDX-License-Identifier: MIT */
/* What dibsd says of itself, and whether it can be asked. */
#include <string.h>

#include "cli/doctor.h"
#include "cli/gpu.h"
#include "cli/public.h"
#include "dibs-config.h"

static void look_daemon(const struct host *host, struct finding *finding)
{
	const char *version;

	if (!host->status) {
		finding_set(finding, HEALTH_PROBLEM, "dibsd does not answer: %s", host->silent);
		finding_fix(finding, "nobody can get a GPU, and who has one keeps it", "%s",
			host_has_systemd(host)
				? "systemctl restart dibsd; journalctl -u dibsd -n 20"
				: "dibsd &");
		return;
	}
	version = wire_text(host->status, "version");
	if (strcmp(version, DIBS_VERSION) == 0) {
		finding_set(finding, HEALTH_OK, "dibsd answers, version %s", version);
		return;
	}
	finding_set(finding, HEALTH_PROBLEM, "dibsd is version %s, dibs is " DIBS_VERSION, version);
	finding_fix(finding, "one of them was upgraded without the other; leases outlive a restart",
		"systemctl restart dibsd");
}

static json_t *first_in_state(json_t *gpus, const char *state, size_t *ret_n)
{
	json_t *gpu, *first = NULL;
	size_t i, n = 0;

	json_array_foreach (gpus, i, gpu) {
		if (!gpu_has_state(gpu, state))
			continue;
		first = first ? first : gpu;
		n++;
	}
	*ret_n = n;
	return first;
}

static void look_gpus(const struct host *host, struct finding *finding)
{
	json_t *gpus = json_object_get(host->status, "gpus"), *lost, *draining;
	size_t n = json_array_size(gpus), n_lost, n_draining;

	lost = first_in_state(gpus, "lost", &n_lost);
	draining = first_in_state(gpus, "draining", &n_draining);
	if (!host->status) {
		finding_set(finding, HEALTH_SKIPPED, "no dibsd to ask for its GPUs");
	} else if (n == 0) {
		finding_set(finding, HEALTH_PROBLEM, "dibsd sees 0 GPUs");
		finding_fix(finding, "there is nothing to share; the sensor says why it sees none",
			"journalctl -u dibsd -n 50 | grep sensor");
	} else if (lost) {
		finding_set(finding, HEALTH_PROBLEM, "%zu of %zu GPUs lost: %s", n_lost, n,
			wire_text(lost, "reason"));
		finding_fix(finding, "nobody gets them until they are back",
			"dmesg | grep -i nvrm; dibs status");
	} else if (draining) {
		finding_set(finding, HEALTH_NOTE, "%zu of %zu GPUs draining: %s", n_draining, n,
			wire_text(draining, "reason"));
		finding_fix(finding, "nobody gets them until an administrator says so",
			"dibs admin undrain %lld # when it is mended",
			(long long)wire_int(draining, "index", 0));
	} else {
		finding_set(finding, HEALTH_OK, "dibsd sees %zu GPU%s", n, n == 1 ? "" : "s");
	}
}

static void look_socket(const struct host *host, struct finding *finding)
{
	const char *path = host->socket;
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

static void look_guard(const struct host *host, struct finding *finding)
{
	const char *mode = wire_text(host->status, "guard");
	const char *method = wire_text(host->status, "guard_method");
	const char *problem = wire_text(host->status, "guard_problem");

	if (!*mode) {
		finding_set(finding, HEALTH_SKIPPED, "no dibsd to ask for its guard");
	} else if (*problem) {
		finding_set(finding, HEALTH_PROBLEM, "guard %s: %s", mode, problem);
		finding_fix(finding, "who has no lease may be able to use a GPU all the same",
			"dibs admin guard; journalctl -u dibsd -n 50 | grep -i guard");
	} else if (strcmp(mode, "deny") == 0) {
		finding_set(finding, HEALTH_OK, "guard deny, by %s",
			strcmp(method, "acl") == 0 ? "ACLs of the device nodes"
						   : "a device filter");
	} else {
		finding_set(
			finding, HEALTH_OK, "guard %s: the kernel keeps nobody off a GPU", mode);
	}
}

const struct check daemon_checks[] = {
	{ "daemon", look_daemon },
	{ "gpus", look_gpus },
	{ "socket", look_socket },
	{ "guard", look_guard },
	{ 0 },
};
