/* SPDX-License-Identifier: MIT */
/* status: of this host, of another, of all that are configured. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "compat/canhazgpu.h"

/* This host, like another. */
struct local {
	struct chg *chg;
	struct chg_host *host;
	bool with_pids;
};

static void ask_here(void *userdata)
{
	struct local *local = userdata;
	struct chg *chg = local->chg;
	_cleanup_(json_decrefp) json_t *reply = NULL;
	struct error err = { 0 };

	if (client_call(NULL, "org.dibs.GetStatus", NULL, &reply, &err) == EXIT_OK)
		local->host->statuses =
			chg_status(reply, &chg->cli.people, clock_wall(), local->with_pids);
	if (!local->host->statuses && *err.text)
		local->host->error = strdup(err.text);
}

static void clear(struct chg_host *host)
{
	json_decref(host->statuses);
	free(host->error);
}

const char *chg_host_error(const struct chg_host *host)
{
	return host->error ? host->error : "out of memory";
}

static int print_json(json_t *owned)
{
	_cleanup_(json_decrefp) json_t *json = owned;

	return cli_print_json(json) == EXIT_OK ? 0 : 1;
}

static int print_one(
	struct chg *chg, const struct term *term, const struct chg_host *host, bool readme)
{
	if (chg_is(chg, CHG_SUMMARY))
		chg_draw_summary(stdout, term, host, 1);
	else if (chg_is(chg, CHG_JSON))
		return print_json(json_incref(host->statuses));
	else if (readme)
		chg_draw_readme(stdout, host->statuses);
	else
		chg_draw_status(stdout, term, host->statuses);
	return 0;
}

static int show_here(struct chg *chg, const struct term *term, bool readme)
{
	_cleanup_(clear) struct chg_host host = { .name = "localhost" };
	struct local local = { chg, &host, readme };
	struct error err = { 0 };

	ask_here(&local);
	if (host.statuses)
		return print_one(chg, term, &host, readme);
	error_set(&err, -EINVAL, "usage.host", "%s", chg_host_error(&host));
	return chg_fail_error(chg, &err);
}

static int show_remote(struct chg *chg, const struct term *term, bool readme)
{
	_cleanup_(clear) struct chg_host host = { .name = chg_value(chg, CHG_REMOTE) };

	chg_ask_hosts(&host, 1, NULL, NULL);
	if (!host.statuses)
		return chg_fail(
			"failed to get status from %s: %s", host.name, chg_host_error(&host));
	if (!chg_is(chg, CHG_SUMMARY) && !chg_is(chg, CHG_JSON))
		printf("Status for %s:\n", host.name);
	return print_one(chg, term, &host, readme);
}

static json_t *raw_hosts(const struct chg_host *hosts, size_t n)
{
	json_t *object = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(object, hosts[i].name,
			hosts[i].statuses ? chg_raw_status(hosts[i].statuses)
					  : json_pack("{ss}", "error", chg_host_error(&hosts[i])));
	return object;
}

static int print_hosts(
	struct chg *chg, const struct term *term, const struct chg_host *hosts, size_t n)
{
	if (chg_is(chg, CHG_JSON))
		return print_json(raw_hosts(hosts, n));
	if (chg_is(chg, CHG_SUMMARY)) {
		chg_draw_summary(stdout, term, hosts, n);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		chg_draw_host(stdout, term, &hosts[i]);
	return 0;
}

/* The names are cut out of list; hosts has room for all. */
static size_t split_hosts(char *list, struct chg_host *hosts)
{
	char *cursor = list, *name;
	size_t n = 0;

	while ((name = strsep(&cursor, ", ")))
		if (*name)
			hosts[n++] = (struct chg_host){ .name = name };
	return n;
}

static int show_all(struct chg *chg, const struct term *term)
{
	_cleanup_(freep) char *list = strdup(chg_value(chg, CHG_REMOTE_HOSTS));
	_cleanup_(freep) struct chg_host *hosts =
		calloc(strlen(chg_value(chg, CHG_REMOTE_HOSTS)) + 2, sizeof(*hosts));
	struct local local = { chg, hosts, false };
	size_t n, first;
	int status;

	if (!list || !hosts)
		return chg_fail("out of memory");
	hosts[0].name = "localhost";
	n = 1 + split_hosts(list, hosts + 1);
	chg_ask_hosts(hosts + 1, n - 1, ask_here, &local);
	first = !hosts[0].statuses;
	if (first && n == 1) {
		status = chg_fail("%s, and no remote hosts configured", chg_host_error(&hosts[0]));
	} else {
		if (first)
			fprintf(stderr,
				"Warning: dibsd not available locally, showing remote hosts "
				"only\n");
		status = print_hosts(chg, term, hosts + first, n - first);
	}
	for (size_t i = 0; i < n; i++)
		clear(&hosts[i]);
	return status;
}

int chg_show_status(struct chg *chg)
{
	const char *format = chg_value(chg, CHG_FORMAT);
	bool readme = strcmp(format, "readme") == 0;
	struct term term;

	if (!readme && strcmp(format, "table") != 0)
		return chg_fail("--format takes table or readme, not '%s'", format);
	if (chg_is(chg, CHG_ALL) && *chg_value(chg, CHG_REMOTE))
		return chg_fail("cannot use --all and --remote together");
	term_init(&term, STDOUT_FILENO, chg_is(chg, CHG_NO_COLOR) ? "never" : NULL, NULL);
	if (chg_is(chg, CHG_ALL))
		return show_all(chg, &term);
	if (*chg_value(chg, CHG_REMOTE))
		return show_remote(chg, &term, readme);
	return show_here(chg, &term, readme);
}
