/* SPDX-License-Identifier: MIT */
/*
 * The owner of a range stands in the file by name, which is not looked up: a range is an account of
 * its own, beside that of its owner, so everybody has two at most for each line. Lines that are not
 * understood are passed over, as newuidmap(1) does. Ranges that only a directory service knows are
 * not seen.
 */
#include "daemon/account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/macro.h"
#include "base/parse.h"

#define PEOPLE_MIN  1000  /* login.defs(5), UID_MIN */
#define DYNAMIC_MIN 61184 /* systemd.exec(5), DynamicUser= */
#define DYNAMIC_MAX 65519
#define NOBODY      65534

DEFINE_CLEANUP(FILE *, fclose)

void accounts_clear(struct accounts *accounts)
{
	free(accounts->ranges);
	*accounts = (struct accounts){ 0 };
}

/* "name:first:count"; the line is changed. */
static bool parse_range(char *line, struct account_range *ret)
{
	uint64_t first, count;
	const char *part;

	line[strcspn(line, "\n")] = '\0';
	strsep(&line, ":");
	part = strsep(&line, ":");
	if (!part || !line || parse_uint(part, 1, UINT32_MAX - 1, &first) < 0 ||
		parse_uint(line, 1, UINT32_MAX - first, &count) < 0)
		return false;
	*ret = (struct account_range){ (uid_t)first, (uid_t)(first + count - 1) };
	return true;
}

static void add(struct accounts *accounts, struct account_range range)
{
	if (accounts->n == accounts->allocated) {
		size_t n = accounts->allocated ? accounts->allocated * 2 : 16;
		struct account_range *larger = reallocarray(accounts->ranges, n, sizeof(*larger));

		if (!larger)
			return;
		accounts->ranges = larger;
		accounts->allocated = n;
	}
	accounts->ranges[accounts->n++] = range;
}

static void read_ranges(struct accounts *accounts, const char *path)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	_cleanup_(freep) char *line = NULL;
	size_t size = 0;

	accounts->n = 0;
	while (file && getline(&line, &size, file) >= 0) {
		struct account_range range;

		if (parse_range(line, &range))
			add(accounts, range);
	}
}

/* The range of uid, or NULL. */
static const struct account_range *find(struct accounts *accounts, const char *path, uid_t uid)
{
	struct stat st;

	if (stat(path, &st) < 0)
		st.st_ctim = (struct timespec){ 0 };
	if (memcmp(&st.st_ctim, &accounts->changed, sizeof(st.st_ctim)) != 0) {
		read_ranges(accounts, path);
		accounts->changed = st.st_ctim;
	}
	for (size_t i = 0; i < accounts->n; i++)
		if (uid >= accounts->ranges[i].first && uid <= accounts->ranges[i].last)
			return &accounts->ranges[i];
	return NULL;
}

uid_t account_of(struct accounts *accounts, const char *path, uid_t uid)
{
	const struct account_range *range = find(accounts, path, uid);

	return range ? range->first : uid;
}

bool account_is_subordinate(struct accounts *accounts, const char *path, uid_t uid)
{
	return find(accounts, path, uid) != NULL;
}

bool account_is_system(uid_t uid)
{
	return uid < PEOPLE_MIN || (uid >= DYNAMIC_MIN && uid <= DYNAMIC_MAX) || uid == NOBODY;
}
