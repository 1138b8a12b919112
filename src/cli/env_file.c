/* SPDX-License-Identifier: MIT */
/*
 * The file is opened so that a FIFO or a device does not hang or do anything. Values may be
 * secrets: no message quotes one.
 */
#include "cli/env_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/text.h"

#define ID "env.file"

void env_file_clear(struct env_file *file)
{
	free(file->lines);
	free(file->text);
	*file = (struct env_file){ 0 };
}

const struct env_line *env_file_find(const struct env_file *file, const char *name)
{
	for (size_t i = 0; i < file->n; i++)
		if (strcmp(file->lines[i].name, name) == 0)
			return &file->lines[i];
	return NULL;
}

static bool is_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	while (isalnum((unsigned char)*s) || *s == '_')
		s++;
	return !*s;
}

static char *strip(char *s)
{
	size_t n = strlen(s);

	if (n > 0 && s[n - 1] == '\r')
		s[n - 1] = '\0';
	return text_strip(s);
}

static char *unquote(char *value)
{
	size_t n = strlen(value);

	if (n < 2 || (*value != '"' && *value != '\'') || value[n - 1] != *value)
		return value;
	value[n - 1] = '\0';
	return value + 1;
}

static char *skip_export(char *name)
{
	size_t n = strlen("export");

	if (strncmp(name, "export", n) == 0 && (name[n] == ' ' || name[n] == '\t'))
		return text_strip(name + n);
	return name;
}

static int add(struct env_file *file, size_t *allocated, struct env_line line, struct error *err)
{
	for (size_t i = 0; i < file->n; i++)
		if (strcmp(file->lines[i].name, line.name) == 0) {
			file->lines[i] = line;
			return 0;
		}
	if (file->n == ENV_LINES_MAX)
		return error_set(err, -EINVAL, ID, "more than %d settings", ENV_LINES_MAX);
	if (array_make_room(file->lines, file->n, *allocated) < 0)
		return error_set(err, -ENOMEM, ID, "out of memory");
	file->lines[file->n++] = line;
	return 0;
}

static int read_line(
	struct env_file *file, size_t *allocated, char *text, unsigned number, struct error *err)
{
	char *equals = strchr(text, '='), *name;

	if (!equals || *text == '#')
		return 0;
	*equals = '\0';
	name = skip_export(strip(text));
	if (!is_name(name))
		return error_set(err, -EINVAL, ID, "'%.40s' is not the name of a setting", name);
	return add(file, allocated, (struct env_line){ name, unquote(strip(equals + 1)), number },
		err);
}

int env_file_parse(
	const char *text, size_t size, const char *path, struct env_file *ret, struct error *err)
{
	_cleanup_(env_file_clear) struct env_file file = { 0 };
	size_t allocated = 0;
	char *rest, *line;

	if (memchr(text, '\0', size))
		return error_set(err, -EINVAL, ID, "%s is binary, not a file of settings", path);
	file.text = rest = malloc(size + 1);
	if (!file.text)
		return error_set(err, -ENOMEM, ID, "out of memory");
	memcpy(file.text, text, size);
	file.text[size] = '\0';
	for (unsigned number = 1; (line = strsep(&rest, "\n")); number++) {
		int r = read_line(&file, &allocated, strip(line), number, err);

		if (r < 0)
			return error_prefix(err, r, "%s:%u", path, number);
	}
	*ret = file;
	file = (struct env_file){ 0 };
	return 0;
}

int env_file_read(const char *path, struct env_file *ret, struct error *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, -errno, ID, "cannot read %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, ID, "%s is not a regular file", path);
	text = malloc(ENV_FILE_MAX + 1);
	if (!text)
		return error_set(err, -ENOMEM, ID, "out of memory");
	n = read_all(fd, text, ENV_FILE_MAX + 1);
	if (n < 0)
		return error_errno(err, (int)n, ID, "cannot read %s", path);
	if (n > ENV_FILE_MAX)
		return error_set(err, -EFBIG, ID, "%s has more than %d KiB: no file of settings",
			path, ENV_FILE_MAX / 1024);
	return env_file_parse(text, (size_t)n, path, ret, err);
}
