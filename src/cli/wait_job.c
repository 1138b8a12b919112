/* SPDX-License-Identifier: MIT */
/* dibs wait: quiet but for what failed. Whoever ends it ends nothing else. */
#include "cli/job.h"
#include "cli/public.h"

enum client_exit verb_wait(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *ids = NULL, *leases = NULL;
	struct error err = { 0 };
	int code;

	ids = job_parse_all((const char *const *)cli->args.words, &err);
	if (!ids)
		return complain_error(cli, EXIT_INVALID, &err);
	code = job_wait(cli, ids, &leases);
	if (leases && cli_value(cli, OPT_JSON) &&
		cli_print_leases(cli, leases, public_ended) != EXIT_OK)
		return EXIT_FAULT;
	return (enum client_exit)code;
}
