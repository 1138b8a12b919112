/* SPDX-License-Identifier: MIT */
#include "cli/command.h"

#include <errno.h>
#include <paths.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/environment.h"

#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127

static int check_file(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return eaccess(path, X_OK) < 0 ? -errno : 0;
}

/* As the shell looks for it: what may not be executed is passed over, but remembered; a directory
 * that may not be searched holds nothing. */
static int check_path(const char *name)
{
	const char *path = getenv("PATH");
	_cleanup_(freep) char *copy = strdup(path ? path : _PATH_DEFPATH);
	char *cursor = copy, *directory;
	int result = -ENOENT;

	while ((directory = strsep(&cursor, ":"))) {
		_cleanup_(freep) char *file =
			text_format("%s/%s", *directory ? directory : ".", name);
		int r = file ? check_file(file) : -ENOMEM;

		if (r == 0)
			return 0;
		if (r == -EACCES && access(file, F_OK) == 0)
			result = r;
	}
	return result;
}

static enum client_exit cannot_run(const char *name, int r)
{
	bool missing = r == -ENOENT || r == -ENOTDIR;

	if (missing && !strchr(name, '/'))
		return complain(EXIT_NOT_FOUND, "%s: command not found", name);
	return complain(missing ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "cannot run %s: %s", name,
		strerror(-r));
}

static int look_for(const char *name)
{
	if (!*name)
		return -ENOENT;
	return strchr(name, '/') ? check_file(name) : check_path(name);
}

enum client_exit command_check(struct cli *cli, const char *name)
{
	const char *visible = cli_value(cli, OPT_VISIBLE);
	int r;

	if (visible && strcmp(visible, "uuid") != 0 && strcmp(visible, "index") != 0)
		return complain(EXIT_INVALID, "--visible takes uuid or index, not '%s'", visible);
	r = look_for(name);
	return r < 0 ? cannot_run(name, r) : EXIT_OK;
}

enum client_exit command_become(struct cli *cli, json_t *reply, char **argv)
{
	_cleanup_(environment_clear) struct environment environment = { 0 };

	if (environment_build(reply, cli_value(cli, OPT_VISIBLE), &environment) < 0 ||
		environment_set(&environment) < 0)
		return complain(EXIT_FAULT, "out of memory");
	execvp(argv[0], argv);
	return cannot_run(argv[0], -errno);
}
