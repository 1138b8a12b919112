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

#define GROUP_FILE "/etc/group"
#define DAY_SEC    86400

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

static int parse_time(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	char min[DURATION_TEXT_SIZE], max[DURATION_TEXT_SIZE];
	int64_t us;

	if (parse_duration(value, &us) == 0 && us >= (int64_t)row->min * USEC_PER_SEC &&
		us <= (int64_t)row->max * USEC_PER_SEC) {
		*(int64_t *)field = us;
		return 0;
	}
	format_duration(min, (int64_t)row->min * USEC_PER_SEC);
	format_duration(max, (int64_t)row->max * USEC_PER_SEC);
	return error_set(err, -EINVAL, "config.value",
		"must be a duration such as 90s or 1h30m, from %s to %s", min, max);
}

static bool same_time(const void *a, const void *b)
{
	return *(const int64_t *)a == *(const int64_t *)b;
}

static const struct config_type type_time = { parse_time, same_time };

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

static int parse_visible(
	const struct config_row *row, const char *value, void *field, struct error *err)
{
	static const char *const names[VISIBLE_MAX] = { "uuid", "index" };

	for (unsigned i = 0; i < VISIBLE_MAX; i++)
		if (strcmp(value, names[i]) == 0) {
			*(enum visible *)field = (enum visible)i;
			return 0;
		}
	return error_set(err, -EINVAL, "config.value", "must be 'uuid' or 'index'");
}

static bool same_visible(const void *a, const void *b)
{
	return *(const enum visible *)a == *(const enum visible *)b;
}

static const struct config_type type_visible = { parse_visible, same_visible };

#define FIELD(type, name) &type_##type, offsetof(struct config, name)
#define SOCKET_PATH_MAX   (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define PATH_LENGTH_MAX   (4096 - 256) /* room for names below it */

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
	{ { "lease", "kill-grace", "30s",
		  "How long processes may clean up between SIGTERM and SIGKILL.", true },
		FIELD(time, kill_grace_us), 0, DAY_SEC },
	{ { "lease", "visible", "uuid", "What CUDA_VISIBLE_DEVICES holds: uuid or index.", true },
		FIELD(visible, visible) },
	{ { "sensor", "interval", "1s", "How often the GPUs are read.", false },
		FIELD(time, sensor_interval_us), 1, 3600 },
	{ { "sensor", "deadline", "10s",
		  "A sensor that is silent for so long is killed and started again.", false },
		FIELD(time, sensor_deadline_us), 1, DAY_SEC },
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
