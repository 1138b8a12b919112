/* SPDX-License-Identifier: MIT */
#include "exec/rlimits.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"

static const char *const names[RLIM_NLIMITS] = {
	[RLIMIT_AS] = "as",
	[RLIMIT_CORE] = "core",
	[RLIMIT_CPU] = "cpu",
	[RLIMIT_DATA] = "data",
	[RLIMIT_FSIZE] = "fsize",
	[RLIMIT_LOCKS] = "locks",
	[RLIMIT_MEMLOCK] = "memlock",
	[RLIMIT_MSGQUEUE] = "msgqueue",
	[RLIMIT_NICE] = "nice",
	[RLIMIT_NOFILE] = "nofile",
	[RLIMIT_NPROC] = "nproc",
	[RLIMIT_RSS] = "rss",
	[RLIMIT_RTPRIO] = "rtprio",
	[RLIMIT_RTTIME] = "rttime",
	[RLIMIT_SIGPENDING] = "sigpending",
	[RLIMIT_STACK] = "stack",
};

static int find(const char *name, size_t size)
{
	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
			return i;
	return -1;
}

int rlimits_parse(struct rlimits_wanted *wanted, const char *text, struct error *err)
{
	size_t n = strcspn(text, ":");
	int resource = find(text, n);
	uint64_t value = RLIM_INFINITY;

	if (resource < 0 || text[n] != ':')
		return error_set(err, -EINVAL, "limit.name", "no such limit: %.40s", text);
	if (wanted->given & 1u << resource)
		return error_set(
			err, -EINVAL, "limit.twice", "limit %s is given twice", names[resource]);
	if (strcmp(text + n + 1, "unlimited") != 0 &&
		parse_uint(text + n + 1, 0, RLIM_INFINITY - 1, &value) < 0)
		return error_set(err, -EINVAL, "limit.value", "limit %s is no number: %.40s",
			names[resource], text + n + 1);
	wanted->soft[resource] = value;
	wanted->given |= 1u << resource;
	return 0;
}

int rlimits_get(struct rlimits *ret)
{
	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (getrlimit(i, &ret->of[i]) < 0)
			return -errno;
	return 0;
}

int rlimits_set(const struct rlimits *limits)
{
	int r = 0;

	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (setrlimit(i, &limits->of[i]) < 0 && r == 0)
			r = -errno;
	return r;
}

int rlimits_lower(const struct rlimits_wanted *wanted)
{
	struct rlimit limit;

	for (int i = 0; i < RLIM_NLIMITS; i++) {
		if (!(wanted->given & 1u << i))
			continue;
		if (getrlimit(i, &limit) < 0)
			return -errno;
		limit.rlim_cur = MIN(wanted->soft[i], limit.rlim_max);
		if (setrlimit(i, &limit) < 0)
			return -errno;
	}
	return 0;
}

int rlimits_cap(int resource, rlim_t max, bool hard)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return -errno;
	limit.rlim_cur = MIN(limit.rlim_cur, max);
	if (hard)
		limit.rlim_max = MIN(limit.rlim_max, max);
	return setrlimit(resource, &limit) < 0 ? -errno : 0;
}
