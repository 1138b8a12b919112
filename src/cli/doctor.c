/* SPDX-License-Identifier: MIT */
/* Says what the checks found: first what is wrong, and what mends it. */
#include "cli/doctor.h"

static const struct {
	const char *word;
	enum style style;
} healths[HEALTH_MAX] = {
	[HEALTH_OK] = { "ok", STYLE_GOOD },
	[HEALTH_NOTE] = { "note", STYLE_BUSY },
	[HEALTH_PROBLEM] = { "problem", STYLE_WARN },
	[HEALTH_SKIPPED] = { "skipped", STYLE_DIM },
};

static void print_finding(struct cli *cli, struct finding *finding)
{
	const struct term *term = &cli->term;
	char what[sizeof(finding->what)];

	people_rename(&cli->people, what, sizeof(what), finding->what);
	printf("%s%-8s%s %s\n", term_style(term, healths[finding->health].style),
		healths[finding->health].word, term_plain(term), what);
	if (*finding->why)
		printf("         why: %s\n", finding->why);
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

enum client_exit verb_doctor(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *array = json_array();
	bool json = cli_value(cli, OPT_JSON);
	enum client_exit exit = EXIT_OK;
	unsigned problems = 0;

	for (const struct check *check = checks; check->name; check++) {
		struct finding finding = { 0 };

		check->look(cli, &finding);
		problems += finding.health == HEALTH_PROBLEM;
		if (json)
			json_array_append_new(array, finding_json(check->name, &finding));
		else
			print_finding(cli, &finding);
	}
	if (json)
		exit = cli_print_json(array);
	else if (problems)
		printf("\n%u problem%s\n", problems, problems == 1 ? "" : "s");
	else
		printf("\nno problems\n");
	return problems ? EXIT_FAULT : exit;
}
