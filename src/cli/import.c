/* SPDX-License-Identifier: MIT */
/*
 * What other tools left behind. State of canhazgpu is in a Redis, whose library is not one of
 * dibs: a program of its own reads it, which this process becomes.
 */
#include <errno.h>
#include <grp.h>
#include <string.h>

#include "base/fd.h"
#include "base/program.h"
#include "cli/cli.h"
#include "cli/gpulocker.h"
#include "dibs-config.h"

#define GROUP_FILE "/etc/group" /* as dibsd reads it */

static enum client_exit import_canhazgpu(struct cli *cli)
{
	_cleanup_(freep) char *path = program_path(
		"../import/dibs-import-canhazgpu", DIBS_LIBEXECDIR "/dibs-import-canhazgpu");
	const char *redis = cli_value(cli, OPT_REDIS), *db = cli_value(cli, OPT_DB);
	const char *argv[] = { path, cli_value(cli, OPT_DRY_RUN) ? "show" : "import", redis,
		db ? db : "0", cli_value(cli, OPT_SOCKET), NULL };

	if (cli->args.n_words > 1)
		return complain(EXIT_INVALID, "'%s' is too much; see 'dibs admin import --help'",
			cli->args.words[1]);
	if (!redis)
		return complain(EXIT_INVALID,
			"where is its Redis? dibs admin import canhazgpu --redis localhost:6379");
	if (!path)
		return complain(EXIT_FAULT, "out of memory");
	execv(path, (char **)argv);
	if (errno == ENOENT)
		return complain(
			EXIT_FAULT, "%s is not there; it comes with the package dibs-import", path);
	return complain(EXIT_FAULT, "cannot execute %s: %m", path);
}

static bool has_group(const char *name)
{
	_cleanup_(fclosep) FILE *file = fopen(GROUP_FILE, "re");
	struct group *group = NULL;

	while (file && (group = fgetgrent(file)) && strcmp(group->gr_name, name) != 0)
		;
	return group;
}

static enum client_exit import_gpulocker(struct cli *cli)
{
	_cleanup_(env_file_clear) struct env_file env = { 0 };
	const char *path = cli->args.words[1];
	bool group = has_group(GPULOCKER_GROUP);
	struct gpulocker_counts n;
	struct error err = { 0 };

	if (!path)
		return complain(EXIT_INVALID,
			"which file? dibs admin import gpulocker .env > /etc/dibs/dibs.conf");
	for (enum opt opt = OPT_REDIS; opt <= OPT_DRY_RUN; opt++)
		if (cli_value(cli, opt))
			return complain(EXIT_INVALID, "--%s is for canhazgpu; this only prints",
				options[opt].name);
	if (env_file_read(path, &env, &err) < 0 ||
		gpulocker_write(&env, path, group, stdout, &n, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	complain(EXIT_OK,
		"%zu setting%s: %u taken over, %u without a counterpart (%u of them secrets, "
		"not shown), %u unknown; the comments say more",
		env.n, env.n == 1 ? "" : "s", n.taken, n.other, n.secret, n.unknown);
	if (env_file_find(&env, "PRIVILEGED_USERS") && !group)
		complain(EXIT_OK,
			"to do: the group of administrators, with the lines below [daemon]");
	return EXIT_OK;
}

enum client_exit verb_admin_import(struct cli *cli)
{
	const char *tool = cli->args.words[0];

	if (strcmp(tool, "canhazgpu") == 0)
		return import_canhazgpu(cli);
	if (strcmp(tool, "gpulocker") == 0)
		return import_gpulocker(cli);
	return complain(EXIT_INVALID, "'%s' is neither canhazgpu nor gpulocker", tool);
}
