/* SPDX-License-Identifier: MIT */
/* Says what the checks found: what it is, why it matters, and what mends it. */
#include "cli/doctor.h"

#include <fcntl.h>

static const struct check *const groups[] = { daemon_checks, host_checks, unit_checks, jobs_checks,
	gpu_checks, guard_checks };

static const struct {
	const char *word;
	enum style style;
} healths[HEALTH_MAX] = {
	[HEALTH_OK] = { "ok", STYLE_GOOD },
	[HEALTH_NOTE] = { "note", STYLE_BUSY },
	[HEALTH_PROBLEM] = { "problem", STYLE_WARN },
	[HEALTH_SKIPPED] = { "skipped", STYLE_DIM },
};

/* The fix stays in one line, so that it can be copied. */
static void print_finding(struct cli *cli, struct finding *finding)
{
	const struct term *term = &cli->term;
	char what[sizeof(finding->what)];

	people_rename(&cli->people, what, sizeof(what), finding->what);
	term_fit(term, what);
	printf("%s%-8s%s ", term_style(term, healths[finding->health].style),
		healths[finding->health].word, term_plain(term));
	term_wrap(stdout, term, 9, what);
	if (*finding->why) {
		printf("         why: ");
		term_wrap(stdout, term, 14, finding->why);
	}
	if (*finding->fix)
		printf("         fix: %s%s%s\n", term_style(term, STYLE_BOLD), finding->fix,
			term_plain(term));
}

static json_t *text_or_null(const char *text)
{
	return *text ? json_string(text) : json_null();
}

static json_t *finding_json(const char *name, const struct finding *finding)
{
	return json_pack("{ss ss ss so so}", "check", name, "health", healths[finding->health].word,
		"what", finding->what, "why", text_or_null(finding->why), "fix",
		text_or_null(finding->fix));
}

/* Returns how many problems there are; prints, or adds to the array if there is one. */
static unsigned look(
	struct cli *cli, const struct host *host, const struct check *check, json_t *array)
{
	unsigned problems = 0;

	for (; check->name; check++) {
		struct finding finding = { 0 };

		check->look(host, &finding);
		problems += finding.health == HEALTH_PROBLEM;
		if (array)
			json_array_append_new(array, finding_json(check->name, &finding));
		else
			print_finding(cli, &finding);
	}
	return problems;
}

enum client_exit verb_doctor(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *status = NULL, *array = NULL;
	_cleanup_(closep) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct host host = { .root = root, .socket = client_path(cli_value(cli, OPT_SOCKET)) };
	struct error err = { 0 };
	enum client_exit exit = EXIT_OK;
	unsigned problems = 0;

	if (client_call(host.socket, "org.dibs.GetStatus", NULL, &status, &err) == EXIT_OK)
		host.status = status;
	host.silent = err.text;
	if (cli_value(cli, OPT_JSON))
		array = json_array();
	for (size_t i = 0; i < ELEMENTSOF(groups); i++)
		problems += look(cli, &host, groups[i], array);
	if (array)
		exit = cli_print_json(array);
	else if (problems)
		printf("\n%u problem%s\n", problems, problems == 1 ? "" : "s");
	else
		printf("\nno problems\n");
	return problems ? EXIT_FAULT : exit;
}
