/* SPDX-License-Identifier: MIT */
#include "daemon/job_limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "priv/controllers.h"

#define PERIOD_US 100000 /* of cpu.max */

static bool prepare(const struct manager *m, const char *controller, bool wanted, const char *key)
{
	int r;

	if (!wanted)
		return false;
	r = m->cgroup_root ? controller_enable(m->cgroup_root, controller) : 0;
	if (r <= 0)
		log_warning(
			"[jobs] %s has no effect: the controller '%s' does not work below %s%s%s",
			key, controller, m->cgroup_root ? m->cgroup_root : "no cgroup",
			r < 0 ? ": " : "", r < 0 ? strerrordesc_np(-r) : "");
	return r > 0;
}

void job_limits_prepare(struct manager *m)
{
	const struct config *config = m->config;

	prepare(m, "memory", config->jobs_memory_max_mib > 0, "memory-max");
	prepare(m, "cpu", config->jobs_cpu_max > 0, "cpu-max");
	m->limits_processes = prepare(m, "pids", config->jobs_processes_max > 0, "processes-max");
}

static void set(const struct lease *lease, const char *file, const char *value)
{
	int r = controller_limit(lease->cgroup, file, value);

	if (r < 0 && r != -ENOENT) /* that was said at start */
		log_warning(
			"job %" PRId64 ": cannot set %s: %s", lease->id, file, strerrordesc_np(-r));
}

void job_limits_set(const struct manager *m, const struct lease *lease)
{
	const struct config *config = m->config;
	char value[48];

	if (config->jobs_memory_max_mib > 0) {
		snprintf(value, sizeof(value), "%uM", config->jobs_memory_max_mib);
		set(lease, "memory.max", value);
		/* One process less is a job that hangs: all of it ends, and says why. */
		set(lease, "memory.oom.group", "1");
	}
	if (config->jobs_processes_max > 0) {
		snprintf(value, sizeof(value), "%u", config->jobs_processes_max);
		set(lease, "pids.max", value);
	}
	if (config->jobs_cpu_max > 0) {
		snprintf(value, sizeof(value), "%" PRIu64 " %d",
			(uint64_t)config->jobs_cpu_max * (PERIOD_US / 100), PERIOD_US);
		set(lease, "cpu.max", value);
	}
}
