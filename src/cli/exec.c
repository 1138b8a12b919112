/* SPDX-License-Identifier: MIT */
/*
 * dibs exec enters a lease and becomes the command, as dibs run does: whatever kind of lease it is,
 * the daemon puts this very process where those of the lease are.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cli/command.h"
#include "cli/public.h"

/* What the command of a job finds in its environment, for one that stands beside it. */
static int set_job(json_t *lease)
{
	json_t *job = json_object_get(lease, "job");
	int64_t array = wire_int(job, "array", 0), id = wire_int(lease, "id", 0);
	_cleanup_(freep) char *array_id = text_format("%" PRId64, array), *index = NULL;
	_cleanup_(freep) char *name = NULL;

	if (!json_is_object(job))
		return 0;
	index = text_format("%" PRId64, wire_int(job, "index", 0));
	name = array ? text_format("%s.%s", array_id, index) : text_format("%" PRId64, id);
	if (!array_id || !index || !name || setenv("DIBS_JOB", name, 1) < 0)
		return -ENOMEM;
	if (array && (setenv("DIBS_ARRAY_ID", array_id, 1) < 0 ||
			     setenv("DIBS_ARRAY_INDEX", index, 1) < 0))
		return -ENOMEM;
	return 0;
}

enum client_exit verb_exec(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	char **argv = cli->args.words + 1;
	const char *id = cli->args.words[0];
	enum client_exit exit;

	argv += strcmp(*argv, "--") == 0;
	if (!*argv)
		return complain(EXIT_INVALID, "something is missing: dibs exec ID [--] COMMAND...");
	exit = command_check(cli, argv[0]);
	if (exit != EXIT_OK)
		return exit;
	parameters = json_pack("{ss}", "id", id + (*id == '#'));
	if (!parameters)
		return complain(EXIT_INVALID, "'%s' is not the number of a lease", id);
	exit = cli_call(cli, "org.dibs.Enter", parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	if (set_job(json_object_get(reply, "lease")) < 0)
		return complain(EXIT_FAULT, "out of memory");
	return command_become(cli, reply, argv);
}
