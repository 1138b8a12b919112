/* SPDX-License-Identifier: MIT */
/*
 * A new struct config is filled from the fallbacks of the table, by the same parsers as a file,
 * then from the file and its drop-ins; only a complete and consistent one is handed out. So a
 * reload that fails leaves nothing behind.
 *
 * Files are trusted by what is open (fstat), not by name: a symbolic link in /etc is an ordinary
 * thing, and what counts is who can write the text that is read. Opened without blocking, so that a
 * FIFO is refused instead of waited for.
 */
#include "config/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "config/ini.h"
#include "config/settings.h"

#define DROP_IN_SUFFIX ".conf"
#define TYPING_ERRORS  2 /* a key with more of them is not guessed */
#define KEY_SIZE       32

/* --- keys --- */

struct reading {
	struct config *config;      /* borrowed from config_load() */
	bool seen[CONFIG_ROWS_MAX]; /* in this file */
};

/* Levenshtein; strings that do not fit count as far apart. */
static size_t distance(const char *a, const char *b)
{
	size_t row[KEY_SIZE], n = strlen(b);

	if (n >= KEY_SIZE || strlen(a) >= KEY_SIZE)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[n];
}

static int unknown_key(const char *section, const char *key, struct error *err)
{
	const struct setting *s, *best = NULL;
	size_t least = TYPING_ERRORS + 1;
	bool section_known = false;

	for (size_t i = 0; (s = config_setting(i)); i++) {
		bool here = strcmp(s->section, section) == 0;
		size_t d = distance(key, s->key);

		section_known |= here;
		if (d < least && (here || d == 0)) {
			least = d;
			best = s;
		}
	}
	if (!section_known)
		return error_set(
			err, -EINVAL, "config.unknown-section", "unknown section [%.60s]", section);
	if (best)
		return error_set(err, -EINVAL, "config.unknown-key",
			"unknown key '%.60s' in [%s]; did you mean '%s' in [%s]?", key, section,
			best->key, best->section);
	return error_set(
		err, -EINVAL, "config.unknown-key", "unknown key '%.60s' in [%s]", key, section);
}

static int read_setting(
	const char *section, const char *key, const char *value, void *userdata, struct error *err)
{
	struct reading *reading = userdata;
	const struct config_row *row;
	int r;

	for (size_t i = 0; (row = config_row(i)); i++) {
		if (strcmp(row->setting.section, section) != 0 ||
			strcmp(row->setting.key, key) != 0)
			continue;
		if (reading->seen[i])
			return error_set(err, -EINVAL, "config.duplicate-key",
				"'%s' is set a second time in this file", key);
		reading->seen[i] = true;
		r = row->type->parse(row, value, config_field(reading->config, row), err);
		return r < 0 ? error_prefix(err, r, "%s = %.60s", key, value) : 0;
	}
	return unknown_key(section, key, err);
}

/* --- files --- */

/* Security: whoever can write the configuration of a root daemon is root. */
static int check_trust(int fd, mode_t type, const char *name, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, -errno, "config.open", "cannot read %s", name);
	if ((st.st_mode & S_IFMT) != type)
		return error_set(err, -EINVAL, "config.open", "%s is not a %s", name,
			type == S_IFDIR ? "directory" : "regular file");
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return error_set(err, -EPERM, "config.owner",
			"%s belongs to user %" PRIu32 "; chown it to root", name, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return error_set(err, -EPERM, "config.writable",
			"%s can be written by others than its owner; run 'chmod go-w %s'", name,
			name);
	return 0;
}

/* 0 if it was read, -ENOENT (with *err set) if there is none. */
static int read_file(
	int dirfd, const char *path, const char *name, struct config *config, struct error *err)
{
	struct reading reading = { .config = config };
	_cleanup_(fclosep) FILE *file = NULL;
	int r, fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return error_errno(err, -errno, "config.open", "cannot open %s", name);
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return error_set(err, -ENOMEM, "config.memory", "out of memory");
	}
	r = check_trust(fd, S_IFREG, name, err);
	return r < 0 ? r : ini_read(file, name, read_setting, &reading, err);
}

static int is_drop_in(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name), suffix = strlen(DROP_IN_SUFFIX);

	return entry->d_name[0] != '.' && n > suffix &&
	       strcmp(entry->d_name + n - suffix, DROP_IN_SUFFIX) == 0;
}

/* By bytes, not by the locale: the order must not depend on who starts the daemon. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_ins(const char *path, struct config *config, struct error *err)
{
	_cleanup_(freep) char *dir = text_format("%s.d", path);
	_cleanup_(closep) int fd = -1;
	struct dirent **entries;
	int n, r;

	if (!dir)
		return error_set(err, -ENOMEM, "config.memory", "out of memory");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return error_errno(err, -errno, "config.open", "cannot open %s", dir);
	r = check_trust(fd, S_IFDIR, dir, err);
	if (r < 0)
		return r;
	n = scandirat(fd, ".", &entries, is_drop_in, by_name);
	if (n < 0)
		return error_errno(err, -errno, "config.open", "cannot list %s", dir);
	for (int i = 0; i < n; i++) {
		_cleanup_(freep) char *name = text_format("%s/%s", dir, entries[i]->d_name);

		if (r == 0)
			r = name ? read_file(fd, entries[i]->d_name, name, config, err)
				 : error_set(err, -ENOMEM, "config.memory", "out of memory");
		free(entries[i]);
	}
	free(entries);
	return r;
}

/* --- the whole --- */

static int set_fallbacks(struct config *config, struct error *err)
{
	const struct config_row *row;
	int r = 0;

	for (size_t i = 0; r == 0 && (row = config_row(i)); i++)
		r = row->type->parse(row, row->setting.fallback, config_field(config, row), err);
	return r;
}

static int check_together(const struct config *config, struct error *err)
{
	char less[DURATION_TEXT_SIZE], more[DURATION_TEXT_SIZE];

	if (config->default_hold_us > config->max_hold_us) {
		format_duration(less, config->max_hold_us);
		format_duration(more, config->default_hold_us);
		return error_set(err, -EINVAL, "config.value",
			"[lease] default-hold (%s) is longer than max-hold (%s)", more, less);
	}
	if (config->sensor_deadline_us <= config->sensor_interval_us) {
		format_duration(less, config->sensor_deadline_us);
		format_duration(more, config->sensor_interval_us);
		return error_set(err, -EINVAL, "config.value",
			"[sensor] deadline (%s) must be longer than interval (%s)", less, more);
	}
	return 0;
}

int config_load(const char *path, struct config **ret, struct error *err)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));
	int r;

	if (!config)
		return error_set(err, -ENOMEM, "config.memory", "out of memory");
	r = set_fallbacks(config, err);
	if (r < 0)
		return r;
	r = read_file(AT_FDCWD, path, path, config, err);
	if (r == -ENOENT && strcmp(path, CONFIG_PATH) == 0) {
		if (err)
			err->id = NULL;
	} else if (r < 0) {
		return r;
	}
	r = read_drop_ins(path, config, err);
	if (r < 0)
		return r;
	r = check_together(config, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	free(config->socket);
	free(config->state_directory);
	free(config->lock_directory);
	free(config->cgroup_root);
	free(config->sensor_exec);
	free(config->session_cgroups);
	free(config->container_cgroups);
	free(config->device_majors);
	free(config->foreign_ignore);
	free(config->jobs_pam_service);
	free(config->jobs_checkpoint);
	free(config->hook_on_event);
	free(config);
	return NULL;
}

const char *config_needs_restart(const struct config *before, const struct config *after)
{
	const struct config_row *row;

	for (size_t i = 0; (row = config_row(i)); i++)
		if (!row->setting.reload &&
			!row->type->same(config_field(before, row), config_field(after, row)))
			return row->setting.key;
	return NULL;
}
