/* SPDX-License-Identifier: MIT */
/* dibs wait: quiet but for what failed. Whoever ends it ends nothing else. */
#include "cli/job.h"
#include "cli/public.h"

static enum client_exit print_json(struct cli *cli, json_t *leases)
{
	_cleanup_(json_decrefp) json_t *array = json_array();
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease)
		if (json_array_append_new(array, public_ended(lease, &cli->people)) < 0)
			return complain(EXIT_FAULT, "out of memory");
	return cli_print_json(array);
}

enum client_exit verb_wait(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *ids = NULL, *leases = NULL;
	struct error err = { 0 };
	int code;

	ids = job_parse_all((const char *const *)cli->args.words, &err);
	if (!ids)
		return complain_error(cli, EXIT_INVALID, &err);
	code = job_wait(cli, ids, &leases);
	if (leases && cli_value(cli, OPT_JSON) && print_json(cli, leases) != EXIT_OK)
		return EXIT_FAULT;
	return (enum client_exit)code;
}
