/* SPDX-License-Identifier: MIT */
/* Lists of leases. */
#include "base/clock.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

/* Those of one user; owned by the caller. */
static json_t *leases_of(json_t *leases, int64_t uid)
{
	json_t *mine = json_array(), *lease;
	size_t i;

	json_array_foreach (leases, i, lease)
		if (wire_int(lease, "uid", -1) == uid)
			json_array_append(mine, lease);
	return mine;
}

static enum client_exit print_json(struct cli *cli, json_t *leases)
{
	_cleanup_(json_decrefp) json_t *array = json_array();
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease)
		if (json_array_append_new(array, public_lease(lease, &cli->people)) < 0)
			return complain(EXIT_FAULT, "out of memory");
	return cli_print_json(array);
}

enum client_exit verb_list(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *leases = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	bool all = cli_value(cli, OPT_EVERYBODY);
	enum client_exit exit = cli_call(cli, "org.dibs.GetStatus", NULL, &reply);

	if (exit != EXIT_OK)
		return exit;
	leases = json_object_get(reply, "leases");
	leases = all ? json_incref(leases) : leases_of(leases, getuid());
	if (cli_value(cli, OPT_JSON))
		return print_json(cli, leases);
	if (json_array_size(leases) == 0) {
		puts(all ? "nobody has a lease" : "you have no lease; 'dibs list --all' shows all");
		return EXIT_OK;
	}
	if (table_draw_leases(stdout, &view, leases, all) < 0)
		return complain(EXIT_FAULT, "out of memory");
	lease_note_idle(&(struct notes){ stdout, &view }, leases);
	return EXIT_OK;
}

enum client_exit verb_queue(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *queue = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	enum client_exit exit = cli_call(cli, "org.dibs.GetStatus", NULL, &reply);

	if (exit != EXIT_OK)
		return exit;
	queue = lease_queue(json_object_get(reply, "leases"));
	if (!queue)
		return complain(EXIT_FAULT, "out of memory");
	if (cli_value(cli, OPT_JSON))
		return print_json(cli, queue);
	if (json_array_size(queue) == 0) {
		puts("nobody waits");
		return EXIT_OK;
	}
	return table_draw_queue(stdout, &view, queue) < 0 ? complain(EXIT_FAULT, "out of memory")
							  : EXIT_OK;
}
