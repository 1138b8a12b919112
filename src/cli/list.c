/* SPDX-License-Identifier: MIT */
/* Lists of leases. */
#include "base/clock.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

#define WAITING_SHOWN 20

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

/* On a terminal, the first of those that wait, and all others: a new array, owned by the caller.
 * *ret_left: how many are missing. NULL without memory. */
static json_t *cut_waiting(const struct term *term, json_t *leases, size_t *ret_left)
{
	_cleanup_(json_decrefp) json_t *shown = json_array();
	size_t n = 0, i;
	json_t *lease;

	json_array_foreach (leases, i, lease)
		if (!term->width || !lease_waits(lease) || n++ < WAITING_SHOWN)
			if (json_array_append(shown, lease) < 0)
				return NULL;
	*ret_left = n > WAITING_SHOWN ? n - WAITING_SHOWN : 0;
	return TAKE_PTR(shown);
}

static enum client_exit print_table(struct cli *cli, json_t *leases, bool with_users)
{
	struct view view = { &cli->term, &cli->people, clock_wall() };
	_cleanup_(json_decrefp) json_t *shown = NULL;
	size_t left;

	shown = cut_waiting(&cli->term, leases, &left);
	if (!shown || table_draw_leases(stdout, &view, shown, with_users) < 0)
		return complain(EXIT_FAULT, "out of memory");
	if (left)
		printf("and %zu more that wait; 'dibs queue' shows all\n", left);
	lease_note_idle(&(struct notes){ stdout, &view }, leases);
	return EXIT_OK;
}

enum client_exit verb_list(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *leases = NULL;
	bool all = cli_value(cli, OPT_EVERYBODY);
	enum client_exit exit = cli_call(cli, "org.dibs.GetStatus", NULL, &reply);

	if (exit != EXIT_OK)
		return exit;
	leases = json_object_get(reply, "leases");
	leases = all ? json_incref(leases) : leases_of(leases, getuid());
	if (cli_value(cli, OPT_JSON))
		return cli_print_leases(cli, leases, public_lease);
	if (json_array_size(leases) == 0) {
		puts(all ? "nobody has a lease" : "you have no lease; 'dibs list --all' shows all");
		return EXIT_OK;
	}
	return print_table(cli, leases, all);
}

static bool is_running_job(json_t *lease)
{
	return job_of(lease) && !job_is_array(lease) && !lease_waits(lease);
}

/* Jobs that run, then all that waits: a new array, owned by the caller. NULL without memory. */
static json_t *jobs_and_queue(json_t *leases)
{
	_cleanup_(json_decrefp) json_t *jobs = json_array(), *queue = lease_queue(leases);
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease)
		if (is_running_job(lease) && json_array_append(jobs, lease) < 0)
			return NULL;
	if (!queue || json_array_extend(jobs, queue) < 0)
		return NULL;
	return TAKE_PTR(jobs);
}

enum client_exit verb_queue(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *queue = NULL;
	struct view view = { &cli->term, &cli->people, clock_wall() };
	enum client_exit exit = cli_call(cli, "org.dibs.GetStatus", NULL, &reply);

	if (exit != EXIT_OK)
		return exit;
	queue = jobs_and_queue(json_object_get(reply, "leases"));
	if (!queue)
		return complain(EXIT_FAULT, "out of memory");
	if (cli_value(cli, OPT_JSON))
		return cli_print_leases(cli, queue, public_lease);
	if (json_array_size(queue) == 0) {
		puts("nobody waits");
		return EXIT_OK;
	}
	return table_draw_queue(stdout, &view, queue) < 0 ? complain(EXIT_FAULT, "out of memory")
							  : EXIT_OK;
}
