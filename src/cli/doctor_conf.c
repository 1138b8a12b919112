/* SPDX-License-Identifier: MIT */
/*
 * Single settings of dibs.conf(5), for checks that depend on one. The file is read again for each:
 * it is small, and its errors are for dibsd to tell.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/doctor.h"

#define CONFIG_PATH "etc/dibs/dibs.conf"
#define DROP_INS    CONFIG_PATH ".d"

/* "[section]"? Then *ret_inside says whether it is ours. */
static bool read_section(char *line, const char *section, bool *ret_inside)
{
	size_t n = strlen(line);

	if (*line != '[' || line[n - 1] != ']')
		return false;
	line[n - 1] = '\0';
	*ret_inside = strcmp(text_strip(line + 1), section) == 0;
	return true;
}

/* 1: the file has the setting, and dst its value; 0: not; or a negative errno. */
static int look_up(const struct host *host, const char *path, const char *section, const char *key,
	char *dst, size_t size)
{
	_cleanup_(fclosep) FILE *file = fopen_at(host->root, path);
	_cleanup_(freep) char *buffer = NULL;
	bool inside = false;
	size_t allocated = 0;
	int found = 0;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	while (getline(&buffer, &allocated, file) >= 0) {
		char *line, *equals;

		buffer[strcspn(buffer, "\r\n")] = '\0';
		line = text_strip(buffer);
		equals = strchr(line, '=');
		if (read_section(line, section, &inside) || !inside || !equals)
			continue;
		*equals = '\0';
		if (strcmp(text_strip(line), key) != 0)
			continue;
		text_copy(dst, size, text_strip(equals + 1));
		found = 1;
	}
	return found;
}

static bool is_drop_in(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".conf") == 0;
}

/* The last of the drop-ins that have it decides. */
static int look_up_drop_ins(
	const struct host *host, const char *section, const char *key, char *dst, size_t size)
{
	_cleanup_(closedirp) DIR *dir = opendir_at(host->root, DROP_INS);
	char path[PATH_MAX], value[PATH_MAX], last[NAME_MAX + 1] = "";

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	for (struct dirent *entry; (entry = readdir(dir));) {
		int r;

		if (!is_drop_in(entry->d_name) || strcmp(entry->d_name, last) < 0)
			continue;
		snprintf(path, sizeof(path), DROP_INS "/%s", entry->d_name);
		r = look_up(host, path, section, key, value, sizeof(value));
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		text_copy(last, sizeof(last), entry->d_name);
		text_copy(dst, size, value);
	}
	return 0;
}

int host_setting(const struct host *host, const char *section, const char *key,
	const char *fallback, char *dst, size_t size)
{
	int r;

	text_copy(dst, size, fallback);
	r = look_up(host, CONFIG_PATH, section, key, dst, size);
	return r < 0 ? r : look_up_drop_ins(host, section, key, dst, size);
}
