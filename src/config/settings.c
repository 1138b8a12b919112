/* SPDX-License-Identifier: MIT */
/*
 * Names of groups are looked up in /etc/group itself, not through NSS: a directory service that
 * does not answer must not hold up the daemon, and a group that decides who administers it should
 * not come from the network. The range of sensor intervals has a second as its floor because
 * durations have no smaller unit.
 */
#include "config/settings.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/strtab.h"
#include "base/text.h"

#define GROUP_FILE      "/etc/group"
#define DAY_SEC         86400
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@:/-"

static const char *const visibles[VISIBLE_MAX] = {
	[VISIBLE_UUID] = "uuid",
	[VISIBLE_INDEX] = "index",
};

static const char *const guard_modes[GUARD_MODE_MAX] = {
	[GUARD_OFF] = "off",
	[GUARD_WATCH] = "watch",
	[GUARD_DENY] = "deny",
};
DEFINE_STRTAB(guard_mode, enum guard_mode, guard_modes)

static const char *const guard_methods[GUARD_METHOD_MAX] = {
	[GUARD_AUTO] = "auto",
	[GUARD_FILTER] = "filter",
	[GUARD_ACL] = "acl",
};

static int parse_count(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	uint64_t n;

	if (parse_uint(value, row->min, row->max, &n) < 0)
		return error_set(err, -EINVAL, "config.value",
			"must be a number from %" PRIu64 " to %" PRIu64, row->min, row->max);
	*(unsigned *)field = (unsigned)n;
	return 0;
}

static bool same_unsigned(const void *a, const void *b)
{
	return *(const unsigned *)a == *(const unsigned *)b;
}

static const struct config_type type_count = { parse_count, same_unsigned };

static int read_time(const struct config_row *row, const char *value, const char *or_never,
	int64_t *field, struct error *err)
{
	char min[DURATION_TEXT_SIZE], max[DURATION_TEXT_SIZE];
	int64_t us;

	if (parse_duration(value, &us) == 0 && us >= (int64_t)row->min * USEC_PER_SEC &&
		us <= (int64_t)row->max * USEC_PER_SEC) {
		*field = us;
		return 0;
	}
	format_duration(min, (int64_t)row->min * USEC_PER_SEC);
	format_duration(max, (int64_t)row->max * USEC_PER_SEC);
	return error_set(err, -EINVAL, "config.value",
		"must be %sa duration such as 90s or 1h30m, from %s to %s", or_never, min, max);
}

static int parse_time(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	return read_time(row, value, "", field, err);
}

static bool same_time(const void *a, const void *b)
{
	return *(const int64_t *)a == *(const int64_t *)b;
}

static const struct config_type type_time = { parse_time, same_time };

/* 0 is "never"; the smallest other value is the row's min. */
static int parse_time_or_never(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	if (strcmp(value, "never") != 0 && strcmp(value, "0") != 0)
		return read_time(row, value, "'never' or ", field, err);
	*(int64_t *)field = 0;
	return 0;
}

static const struct config_type type_time_or_never = { parse_time_or_never, same_time };

static int parse_mib(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	uint64_t mib = 0;

	if (strcmp(value, "0") != 0 && (parse_size(value, &mib) < 0 || mib > row->max))
		return error_set(err, -EINVAL, "config.value",
			"must be 0 or a size such as 100M or 2G, at most %" PRIu64 "M", row->max);
	*(unsigned *)field = (unsigned)mib;
	return 0;
}

static const struct config_type type_mib = { parse_mib, same_unsigned };

static int parse_mode(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	unsigned mode = 0;
	size_t n = strlen(value);

	if (n < 3 || n > 4 || strspn(value, "01234567") != n)
		return error_set(
			err, -EINVAL, "config.value", "must be an octal mode such as 0666");
	for (; *value; value++)
		mode = mode * 8 + (unsigned)(*value - '0');
	if (mode & ~0666u)
		return error_set(err, -EINVAL, "config.value",
			"must be made of read and write bits alone, such as 0666 or 0660");
	*(unsigned *)field = mode;
	return 0;
}

static const struct config_type type_mode = { parse_mode, same_unsigned };

static int parse_yes(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	bool yes = strcmp(value, "yes") == 0;

	if (!yes && strcmp(value, "no") != 0)
		return error_set(err, -EINVAL, "config.value", "must be 'yes' or 'no'");
	*(bool *)field = yes;
	return 0;
}

static bool same_bool(const void *a, const void *b)
{
	return *(const bool *)a == *(const bool *)b;
}

static const struct config_type type_yes = { parse_yes, same_bool };

static bool same_text(const void *a, const void *b)
{
	const char *left = *(char *const *)a, *right = *(char *const *)b;

	return left == right || (left && right && strcmp(left, right) == 0);
}

static int parse_path(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	char *copy;

	if (value[0] != '/')
		return error_set(err, -EINVAL, "config.value", "must be an absolute path");
	if (strlen(value) > row->max)
		return error_set(err, -EINVAL, "config.value",
			"must be a path of at most %" PRIu64 " bytes", row->max);
	copy = strdup(value);
	if (!copy)
		return error_set(err, -ENOMEM, "config.memory", "out of memory");
	free(*(char **)field);
	*(char **)field = copy;
	return 0;
}

static const struct config_type type_path = { parse_path, same_text };

/* An empty value means: none. */
static int parse_optional_path(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	if (*value)
		return parse_path(row, value, field, err);
	free(*(char **)field);
	*(char **)field = NULL;
	return 0;
}

static const struct config_type type_optional_path = { parse_optional_path, same_text };

static int find_group(const char *name, gid_t *ret, struct error *err)
{
	_cleanup_(fclosep) FILE *file = fopen(GROUP_FILE, "re");
	struct group *group;

	while (file && (group = fgetgrent(file)))
		if (strcmp(group->gr_name, name) == 0) {
			*ret = group->gr_gid;
			return 0;
		}
	return error_set(err, -EINVAL, "config.group",
		"is a group that is not in " GROUP_FILE "; write its number instead");
}

static int parse_group(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	uint64_t gid;
	int r = parse_uint(value, 0, (gid_t)-2, &gid);

	if (!*value)
		*(gid_t *)field = (gid_t)-1;
	else if (r == 0)
		*(gid_t *)field = (gid_t)gid;
	else if (r == -ERANGE)
		return error_set(err, -EINVAL, "config.value", "is too large for a group number");
	else
		return find_group(value, field, err);
	return 0;
}

static bool same_group(const void *a, const void *b)
{
	return *(const gid_t *)a == *(const gid_t *)b;
}

static const struct config_type type_group = { parse_group, same_group };

/* The fields are enums, which are all as large. */
static int parse_choice(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	char names[128] = "";
	size_t length = 0;

	for (unsigned i = 0; i < row->max; i++) {
		const char *separator = i == 0 ? "" : i + 1 < row->max ? ", " : " or ";

		if (strcmp(value, row->choices[i]) == 0) {
			*(unsigned *)field = i;
			return 0;
		}
		length += (size_t)snprintf(names + length, sizeof(names) - length, "%s'%s'",
			separator, row->choices[i]);
	}
	return error_set(err, -EINVAL, "config.value", "must be %s", names);
}

static const struct config_type type_choice = { parse_choice, same_unsigned };

static bool is_name(const struct config_row *row, const char *piece)
{
	size_t n = strlen(piece);

	return n > 0 && n < CONFIG_NAME_SIZE && strspn(piece, NAME_CHARACTERS) == n;
}

static bool is_number(const struct config_row *row, const char *piece)
{
	uint64_t n;

	return parse_uint(piece, row->min, row->max, &n) == 0;
}

/* Keeps it as "a,b", without blanks, as text_list_next() wants it. */
static int parse_list(const struct config_row *row, const char *value, void *field,
	bool (*is_valid)(const struct config_row *row, const char *piece))
{
	_cleanup_(freep) char *pieces = strdup(value), *list = strdup(value);
	char *cursor = pieces;
	size_t n = 0;

	if (!pieces || !list)
		return -ENOMEM;
	*list = '\0';
	for (char *piece; *value && (piece = text_next(&cursor));) {
		piece = text_strip(piece);
		if (!is_valid(row, piece))
			return -EINVAL;
		n += (size_t)snprintf(
			list + n, strlen(value) + 1 - n, "%s%s", n > 0 ? "," : "", piece);
	}
	free(*(char **)field);
	*(char **)field = TAKE_PTR(list);
	return 0;
}

static int parse_names(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	int r = parse_list(row, value, field, is_name);

	if (r == -ENOMEM)
		return error_set(err, r, "config.memory", "out of memory");
	return r < 0 ? error_set(err, r, "config.value",
			       "must be names of letters, digits and ._@:/-, with a comma between "
			       "two of them")
		     : 0;
}

static const struct config_type type_names = { parse_names, same_text };

/* One name; "none" is NULL. */
static int parse_name(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	char *copy = NULL;

	if (!is_name(row, value) || strchr(value, '/'))
		return error_set(err, -EINVAL, "config.value",
			"must be a name of letters, digits and ._@:-, or 'none'");
	if (strcmp(value, "none") != 0 && !(copy = strdup(value)))
		return error_set(err, -ENOMEM, "config.memory", "out of memory");
	free(*(char **)field);
	*(char **)field = copy;
	return 0;
}

static const struct config_type type_name = { parse_name, same_text };

static int parse_numbers(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	int r = parse_list(row, value, field, is_number);

	if (r == -ENOMEM)
		return error_set(err, r, "config.memory", "out of memory");
	return r < 0 ? error_set(err, r, "config.value",
			       "must be numbers from %" PRIu64 " to %" PRIu64
			       ", with a comma between two of them",
			       row->min, row->max)
		     : 0;
}

static const struct config_type type_numbers = { parse_numbers, same_text };

#define FIELD(type, name) &type_##type, offsetof(struct config, name)
#define CHOICES(names)    .max = ELEMENTSOF(names), .choices = names
#define SOCKET_PATH_MAX   (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define PATH_LENGTH_MAX   (4096 - 256) /* room for names below it */
#define MAJOR_MAX         4095
#define MEMORY_MIB_MAX    (16 * 1024 * 1024)
#define IGNORED                                                                                  \
	"Xorg,Xwayland,gnome-shell,gnome-remote-desktop,kwin_x11,kwin_wayland,plasmashell,"      \
	"nvidia-persistenced,nvidia-cuda-mps-control,nvidia-cuda-mps-server,nv-hostengine,dcgm," \
	"dcgmi,dcgm-exporter"

static const struct config_row rows[] = {
	{ { "daemon", "socket", "/run/dibs/socket", "Where clients connect.", false },
		FIELD(path, socket), 0, SOCKET_PATH_MAX },
	{ { "daemon", "socket-mode", "0666", "Permissions of the socket.", false },
		FIELD(mode, socket_mode) },
	{ { "daemon", "socket-group", "",
		  "Group of the socket: a name in /etc/group or a number. Empty: leave it.",
		  false },
		FIELD(group, socket_group) },
	{ { "daemon", "state-directory", "/var/lib/dibs", "Where the database is.", false },
		FIELD(path, state_directory), 0, PATH_LENGTH_MAX },
	{ { "daemon", "admin-group", "",
		  "Whose members may administer: a name in /etc/group or a number. Empty: root "
		  "alone.",
		  true },
		FIELD(group, admin_group) },
	{ { "daemon", "cgroup-root", "",
		  "cgroup below which leases get theirs. Empty: that of the service, or 'dibs'.",
		  false },
		FIELD(optional_path, cgroup_root), 0, PATH_LENGTH_MAX },
	{ { "lease", "default-hold", "8h", "How long 'dibs reserve' holds when not told.", true },
		FIELD(time, default_hold_us), 1, 3650 * DAY_SEC },
	{ { "lease", "max-hold", "7d", "How long anybody may hold.", true },
		FIELD(time, max_hold_us), 1, 3650 * DAY_SEC },
	{ { "lease", "hold-grace", "0s",
		  "How long a hold goes on after its time, with its owner warned.", true },
		FIELD(time, hold_grace_us), 0, 3650 * DAY_SEC },
	{ { "lease", "kill-grace", "30s",
		  "How long processes may clean up between SIGTERM and SIGKILL.", true },
		FIELD(time, kill_grace_us), 0, DAY_SEC },
	{ { "lease", "visible", "uuid", "What CUDA_VISIBLE_DEVICES holds: uuid or index.", true },
		FIELD(choice, visible), CHOICES(visibles) },
	{ { "sensor", "interval", "1s", "How often the GPUs are read.", false },
		FIELD(time, sensor_interval_us), 1, 3600 },
	{ { "sensor", "deadline", "10s",
		  "A sensor that is silent for so long is killed and started again.", false },
		FIELD(time, sensor_deadline_us), 1, DAY_SEC },
	{ { "sensor", "exec", "",
		  "A program of the site that is asked instead of the hardware. Empty: none.",
		  false },
		FIELD(optional_path, sensor_exec), 0, PATH_LENGTH_MAX },
	{ { "guard", "mode", "off",
		  "Who uses GPUs without a lease is let (off), told of (watch), or kept off "
		  "(deny).",
		  true },
		FIELD(choice, guard_mode), CHOICES(guard_modes) },
	{ { "guard", "method", "auto", "How users are kept off: filter, acl, or auto.", false },
		FIELD(choice, guard_method), CHOICES(guard_methods) },
	{ { "guard", "session-cgroups",
		  "user.slice,-system.slice/cron.service,-system.slice/crond.service,"
		  "-system.slice/atd.service",
		  "Cgroups of what users start: names below the cgroup file system, or paths; with "
		  "- in "
		  "front if it need not exist.",
		  false },
		FIELD(names, session_cgroups) },
	{ { "guard", "container-cgroups", "", "Parents of containers; root is kept off there, too.",
		  false },
		FIELD(names, container_cgroups) },
	{ { "guard", "device-majors", "",
		  "Majors that may be guarded beside those of GPUs; for tests and unusual "
		  "drivers.",
		  false },
		FIELD(numbers, device_majors), 1, MAJOR_MAX },
	{ { "foreign", "ignore", IGNORED,
		  "Programs that may be on a GPU without a lease, by their names.", true },
		FIELD(names, foreign_ignore) },
	{ { "foreign", "min-memory", "0",
		  "Processes that use less memory of a GPU are no use of it.", true },
		FIELD(mib, foreign_min_memory_mib), 0, MEMORY_MIB_MAX },
	{ { "idle", "hold-after", "2h",
		  "A hold whose GPUs do nothing for so long is given back. never: it is not.",
		  true },
		FIELD(time_or_never, idle_hold_us), 1, 3650 * DAY_SEC },
	{ { "idle", "run-after", "never", "The same for 'dibs run'.", true },
		FIELD(time_or_never, idle_run_us), 1, 3650 * DAY_SEC },
	{ { "idle", "job-after", "never", "The same for jobs.", true },
		FIELD(time_or_never, idle_job_us), 1, 3650 * DAY_SEC },
	{ { "idle", "grace", "15m", "How long its owner is warned before.", true },
		FIELD(time, idle_grace_us), 0, 7 * DAY_SEC },
	{ { "jobs", "pam-service", "dibs", "PAM service of jobs. none: jobs have no PAM session.",
		  true },
		FIELD(name, jobs_pam_service) },
	{ { "jobs", "max-time", "never",
		  "How long a job may run; what does not say less is ended then.", true },
		FIELD(time_or_never, jobs_max_time_us), 1, 3650 * DAY_SEC },
	{ { "jobs", "time-slice", "never",
		  "A job that has run for so long makes room while others wait for its GPUs.",
		  true },
		FIELD(time_or_never, jobs_time_slice_us), 1, 3650 * DAY_SEC },
	{ { "jobs", "start-timeout", "1m",
		  "A job whose home, user database or log does not answer for so long has failed.",
		  true },
		FIELD(time, jobs_start_timeout_us), 1, DAY_SEC },
	{ { "jobs", "retry-delay", "30s",
		  "Before a failed job is tried again; doubles with each time.", true },
		FIELD(time, jobs_retry_delay_us), 0, DAY_SEC },
	{ { "jobs", "max-grace", "10m", "The longest time that 'dibs submit --grace' may ask for.",
		  true },
		FIELD(time, jobs_max_grace_us), 0, DAY_SEC },
	{ { "jobs", "memory-max", "0", "Host memory of a job. 0: no limit.", true },
		FIELD(mib, jobs_memory_max_mib), 0, MEMORY_MIB_MAX },
	{ { "jobs", "processes-max", "0", "Processes of a job. 0: no limit.", true },
		FIELD(count, jobs_processes_max), 0, 4194304 },
	{ { "jobs", "cpu-max", "0", "CPU time of a job in percent of one CPU. 0: no limit.", true },
		FIELD(count, jobs_cpu_max), 0, 1000000 },
	{ { "jobs", "checkpoint", "",
		  "The program cuda-checkpoint. Empty: jobs cannot be suspended.", true },
		FIELD(optional_path, jobs_checkpoint), 0, PATH_LENGTH_MAX },
	{ { "share", "enabled", "no", "May jobs share a GPU by its memory?", true },
		FIELD(yes, share_enabled) },
	{ { "share", "grace", "30s",
		  "How long who uses more than its share is warned before it is ended.", true },
		FIELD(time, share_grace_us), 0, DAY_SEC },
	{ { "gpu-lock", "directory", "",
		  "Where users of the Python package gpu_lock have their lock files. Empty: there "
		  "are none.",
		  false },
		FIELD(optional_path, lock_directory), 0, PATH_LENGTH_MAX },
	{ { "mgpu", "foreground", "yes", "Does mgpu_srun stay and show the output when not told?",
		  true },
		FIELD(yes, mgpu_foreground) },
	{ { "journal", "keep", "never",
		  "How long what has ended is kept for history and reports. never: it is not "
		  "deleted.",
		  true },
		FIELD(time_or_never, journal_keep_us), DAY_SEC, 3650 * DAY_SEC },
	{ { "hook", "on-event", "", "A program that is told of every event. Empty: none.", true },
		FIELD(optional_path, hook_on_event), 0, PATH_LENGTH_MAX },
	{ { "hook", "timeout", "30s", "A hook that runs for so long is killed.", true },
		FIELD(time, hook_timeout_us), 1, 3600 },
	{ { "limits", "connections-per-user", "200", "Connections of one user.", true },
		FIELD(count, connections_per_user), 1, 1000000 },
	{ { "limits", "connections", "4096", "Connections in all.", true },
		FIELD(count, connections), 1, 1000000 },
	{ { "limits", "requests-per-user", "1000", "Waiting requests and leases of one user.",
		  true },
		FIELD(count, requests_per_user), 1, 1000000 },
	{ { "limits", "requests", "20000", "Waiting requests and leases in all.", true },
		FIELD(count, requests), 1, 1000000 },
	{ { "limits", "changes-per-hour", "20000",
		  "Calls of one user in an hour that change something, and so fill the journal.",
		  true },
		FIELD(count, changes_per_hour), 1, 1000000000 },
};

_Static_assert(ELEMENTSOF(rows) <= CONFIG_ROWS_MAX, "CONFIG_ROWS_MAX is too small");

const struct config_row *config_row(size_t i)
{
	return i < ELEMENTSOF(rows) ? &rows[i] : NULL;
}

const struct setting *config_setting(size_t i)
{
	return i < ELEMENTSOF(rows) ? &rows[i].setting : NULL;
}
