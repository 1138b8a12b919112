/* SPDX-License-Identifier: MIT */
/*
 * dibs run becomes the command: same process, same terminal, same descriptors, same signals, so
 * that nothing stands between the shell and it, and its exit status needs no translation. The
 * daemon took this very process as the leader of the lease.
 *
 * Whether the command can be run is looked at before anybody is asked for anything, so that a
 * typing error does not wait for hours.
 */
#include <errno.h>
#include <paths.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/environment.h"
#include "cli/quote.h"
#include "cli/request.h"
#include "model/request.h"

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

static int check_command(const char *name)
{
	if (!*name)
		return -ENOENT;
	return strchr(name, '/') ? check_file(name) : check_path(name);
}

static int add_command(json_t *parameters, char **argv, struct error *err)
{
	_cleanup_(freep) char *command =
		quote_command((const char *const *)argv, REQUEST_COMMAND_MAX);

	if (!command || json_object_set_new(parameters, "command", json_string(command)) < 0)
		return error_set(err, -ENOMEM, "cli.memory", "out of memory");
	return 0;
}

/* Becomes the command; comes back only if that fails. */
static enum client_exit become(struct cli *cli, json_t *reply)
{
	_cleanup_(environment_clear) struct environment environment = { 0 };
	char **argv = cli->args.words;

	if (environment_build(reply, cli_value(cli, OPT_VISIBLE), &environment) < 0 ||
		environment_set(&environment) < 0)
		return complain(EXIT_FAULT, "out of memory");
	execvp(argv[0], argv);
	return cannot_run(argv[0], -errno);
}

enum client_exit verb_run(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *visible = cli_value(cli, OPT_VISIBLE);
	char **argv = cli->args.words;
	struct error err = { 0 };
	enum client_exit exit;
	int r;

	if (visible && strcmp(visible, "uuid") != 0 && strcmp(visible, "index") != 0)
		return complain(EXIT_INVALID, "--visible takes uuid or index, not '%s'", visible);
	if (request_parameters(&cli->args, "run", &parameters, &err) < 0 ||
		add_command(parameters, argv, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	r = check_command(argv[0]);
	if (r < 0)
		return cannot_run(argv[0], r);
	exit = request_wait(cli, parameters, &reply);
	return exit == EXIT_OK ? become(cli, reply) : exit;
}
