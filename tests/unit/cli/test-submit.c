/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "../tap.h"
#include "cli/public.h"
#include "cli/submit.h"

static struct arguments args;
static struct error err;
static json_t *parameters;

#define SUBMIT(...)                                                                              \
	({                                                                                       \
		static const char *argv_[] = { "dibs", "submit", __VA_ARGS__, "--", "x", NULL }; \
		arguments_parse((int)ELEMENTSOF(argv_) - 1, (char **)argv_, &args, &err) < 0     \
			? -EINVAL                                                                \
			: build();                                                               \
	})

static int build(void)
{
	json_decref(parameters);
	parameters = json_object();
	return submit_options(&args, parameters, &err);
}

static int with(enum opt opt, const char *value)
{
	args = (struct arguments){ 0 };
	args.values[opt] = value;
	if (options[opt].again == OPTION_REPEATED)
		args.given[args.n_given++] = (struct given){ opt, value };
	return build();
}

static const char *nth(const char *list, size_t i)
{
	const char *text = json_string_value(json_array_get(json_object_get(parameters, list), i));

	return text ? text : "(none)";
}

static void says_only_what_was_said(void)
{
	CHECK_INT(SUBMIT("--wait-for"), 0);
	CHECK_INT(json_object_size(parameters), 0);
}

static void says_what_was_said(void)
{
	CHECK_INT(SUBMIT("-g", "2", "-t4h", "--name", "n", "-o", "a-%j", "--error=b", "--env-setup",
			  "module load cuda", "--after", "41", "--after=#42:any,43:fail", "--array",
			  "0-9,12%4", "--hold", "--retries", "3", "--on-limit", "requeue",
			  "--grace", "0", "--signal", "sigusr1@5m", "--nice", "-7", "--mem", "8G"),
		0);
	CHECK_INT(wire_int(parameters, "count", 0), 2);
	CHECK_INT(wire_int(parameters, "duration_us", 0), INT64_C(14400000000));
	CHECK_STR(wire_text(parameters, "name"), "n");
	CHECK_STR(wire_text(parameters, "output"), "a-%j");
	CHECK_STR(wire_text(parameters, "error"), "b");
	CHECK_STR(wire_text(parameters, "setup"), "module load cuda");
	CHECK_STR(nth("after", 0), "41:ok");
	CHECK_STR(nth("after", 1), "42:any");
	CHECK_STR(nth("after", 2), "43:fail");
	CHECK_STR(wire_text(parameters, "indices"), "0-9,12");
	CHECK_INT(wire_int(parameters, "parallel", 0), 4);
	CHECK(json_is_true(json_object_get(parameters, "held")));
	CHECK_INT(wire_int(parameters, "retries", 0), 3);
	CHECK_STR(wire_text(parameters, "on_limit"), "requeue");
	CHECK_INT(wire_int(parameters, "grace_us", -1), 0);
	CHECK_INT(wire_int(parameters, "signal", 0), SIGUSR1);
	CHECK_INT(wire_int(parameters, "signal_before_us", 0), INT64_C(300000000));
	CHECK_INT(wire_int(parameters, "nice", 0), -7);
	CHECK_INT(wire_int(parameters, "share_mib", 0), 8192);
}

static void refuses(void)
{
	static const struct {
		enum opt opt;
		const char *value;
	} bad[] = {
		{ OPT_GPUS, "0" },
		{ OPT_TIME, "4" },
		{ OPT_NAME, "" },
		{ OPT_NAME, "\xff" },
		{ OPT_OUTPUT, "" },
		{ OPT_OUTPUT, "%q" },
		{ OPT_OUTPUT, "%" },
		{ OPT_ERROR, "\xff" },
		{ OPT_ENV_SETUP, "" },
		{ OPT_AFTER, "" },
		{ OPT_AFTER, "0" },
		{ OPT_AFTER, "-1" },
		{ OPT_AFTER, "41:" },
		{ OPT_AFTER, "41:maybe" },
		{ OPT_AFTER, "41:ok:any" },
		{ OPT_AFTER, "41," },
		{ OPT_AFTER, "41.7" },
		{ OPT_AFTER, "99999999999999999999" },
		{ OPT_ARRAY, "" },
		{ OPT_ARRAY, "9-0" },
		{ OPT_ARRAY, "0-9%" },
		{ OPT_ARRAY, "0-9%0" },
		{ OPT_ARRAY, "0-9%4%4" },
		{ OPT_ARRAY, "1,1" },
		{ OPT_ARRAY, "0-999999" },
		{ OPT_ARRAY, "x" },
		{ OPT_BEGIN, "soon" },
		{ OPT_RETRIES, "-1" },
		{ OPT_RETRIES, "1001" },
		{ OPT_RETRIES, "" },
		{ OPT_ON_LIMIT, "die" },
		{ OPT_ON_LIMIT, "" },
		{ OPT_GRACE, "5" },
		{ OPT_GRACE, "-5s" },
		{ OPT_NICE, "101" },
		{ OPT_NICE, "-101" },
		{ OPT_NICE, "--1" },
		{ OPT_NICE, "-" },
		{ OPT_NICE, "" },
		{ OPT_WARN_SIGNAL, "" },
		{ OPT_WARN_SIGNAL, "0" },
		{ OPT_WARN_SIGNAL, "65" },
		{ OPT_WARN_SIGNAL, "SIG" },
		{ OPT_WARN_SIGNAL, "USR3" },
		{ OPT_WARN_SIGNAL, "USR1@" },
		{ OPT_WARN_SIGNAL, "USR1@0" },
		{ OPT_WARN_SIGNAL, "USR1@5" },
		{ OPT_WARN_SIGNAL, "@5m" },
		{ OPT_MEM, "8" },
		{ OPT_MEM, "" },
		{ OPT_MEM, "-8G" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		err.text[0] = '\0';
		CHECK_INT(with(bad[i].opt, bad[i].value), -EINVAL);
		if (strlen(err.text) < 10)
			printf("# bad[%zu]: %s\n", i, err.text);
		CHECK(strlen(err.text) >= 10);
	}
	CHECK_INT(SUBMIT("--mem", "8G", "--exclusive"), -EINVAL);
	CHECK_STR(err.text, "--mem and --exclusive contradict each other; give one");
	CHECK_INT(SUBMIT("--venv", "x", "--no-venv"), -EINVAL);
	CHECK_INT(SUBMIT("--wait", "1h"), -EINVAL);
}

static void names_have_bounds(void)
{
	char name[130];

	memset(name, 'n', sizeof(name));
	name[129] = '\0';
	CHECK_INT(with(OPT_NAME, name), -EINVAL);
	name[128] = '\0';
	CHECK_INT(with(OPT_NAME, name), 0);
}

static void knows_script_from_command(void)
{
	static const char *script[] = { "dibs", "submit", "-g", "2", "x.sh", "--", "-y", NULL };
	static const char *command[] = { "dibs", "submit", "-g", "2", "--", "x.sh", "-y", NULL };

	CHECK_INT(arguments_parse(7, (char **)script, &args, &err), 0);
	CHECK(!args.dashes);
	CHECK_INT(args.n_words, 3);
	CHECK_STR(args.words[1], "--");
	CHECK_INT(arguments_parse(7, (char **)command, &args, &err), 0);
	CHECK(args.dashes);
	CHECK_INT(args.n_words, 2);
}

static void repeats_within_bounds(void)
{
	const char *argv[2 + ARGUMENTS_GIVEN_MAX + 4] = { "dibs", "submit" };

	for (int i = 0; i <= ARGUMENTS_GIVEN_MAX; i++)
		argv[2 + i] = "--env=A";
	argv[2 + ARGUMENTS_GIVEN_MAX + 1] = "--";
	argv[2 + ARGUMENTS_GIVEN_MAX + 2] = "x";
	CHECK_INT(
		arguments_parse(2 + ARGUMENTS_GIVEN_MAX + 3, (char **)argv, &args, &err), -EINVAL);
	CHECK(strstr(err.text, "--env"));
	argv[2] = "--no-env";
	CHECK_INT(arguments_parse(2 + ARGUMENTS_GIVEN_MAX + 3, (char **)argv, &args, &err), 0);
	CHECK_INT(args.n_given, ARGUMENTS_GIVEN_MAX);
}

/* 2026-03-28 22:00:00 in Berlin, the night before summer time. */
#define NOW_SEC INT64_C(1774731600)
#define NOW_US  (NOW_SEC * 1000000)

static void times(void)
{
	static const struct {
		const char *text;
		int64_t sec;
	} good[] = {
		{ "+2h", NOW_SEC + 7200 },
		{ "+0", NOW_SEC },
		{ "23:00", NOW_SEC + 3600 },
		{ "21:00", NOW_SEC + 22 * 3600 }, /* the night has an hour less */
		{ "22:00", NOW_SEC + 23 * 3600 },
		{ "8:00", NOW_SEC + 9 * 3600 },
		{ "22:00:01", NOW_SEC + 1 },
		{ "tomorrow", NOW_SEC + 2 * 3600 },
		{ "tomorrow 08:00", NOW_SEC + 9 * 3600 },
		{ "Tomorrow 08:00", NOW_SEC + 9 * 3600 },
		{ "today 23:30", NOW_SEC + 5400 },
		{ "2026-03-28T23:00", NOW_SEC + 3600 },
		{ "2026-03-28 23:00:05", NOW_SEC + 3605 },
		{ "2026-03-28T22:00:00Z", NOW_SEC + 3600 },
		{ "2026-03-29T03:30:00+02:00", NOW_SEC + 4 * 3600 + 1800 },
		{ "2026-03-28T20:00:00-02:00", NOW_SEC + 3600 },
		{ "2026-03-29", NOW_SEC + 2 * 3600 },
		{ "1774731601", NOW_SEC + 1 },
	};
	static const char *const bad[] = { "", "+", "+2", "+-2h", "24:00", "23:60", "23", "2300",
		"23:0", "08:00:60", "noon", "today", "today 08:00", "2026-02-30", "2026-13-01",
		"2026-03-28T22", "2026-03-28x23:00", "2026-03-28T23:00+0200", "23:00Z",
		"2025-01-01", "1774731599", "2100-01-01", "99999999999999999999",
		"tomorrow 08:00 x", "tomorrowx", " 23:00" };
	int64_t us;

	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		us = 0;
		CHECK_INT(submit_parse_begin(good[i].text, NOW_US, &us, &err), 0);
		if (us != good[i].sec * 1000000)
			printf("# '%s'\n", good[i].text);
		CHECK_INT(us / 1000000 - NOW_SEC, good[i].sec - NOW_SEC);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		us = 7;
		if (submit_parse_begin(bad[i], NOW_US, &us, &err) == 0)
			printf("# '%s' is good\n", bad[i]);
		CHECK_INT(us, 7);
	}
	setenv("TZ", "UTC", 1);
	tzset();
}

static void signals(void)
{
	int n;

	CHECK_INT(signal_parse("usr2", &n), 0);
	CHECK_INT(n, SIGUSR2);
	CHECK_INT(signal_parse("SIGTERM", &n), 0);
	CHECK_INT(n, SIGTERM);
	CHECK_INT(signal_parse("9", &n), 0);
	CHECK_INT(n, 9);
	CHECK_INT(signal_parse("TER", &n), -EINVAL);
	CHECK_INT(signal_parse("-9", &n), -EINVAL);
}

/* What of these variables is taken: "A=1 B=2" in their order, or NULL. */
static char *environment(const char *const *variables, size_t room, struct strings *notes)
{
	json_t *array = NULL, *value;
	size_t size, i;
	char *text = NULL;
	FILE *out;

	if (submit_environment((char *const *)variables, &args, room, &array, notes, &err) < 0)
		return NULL;
	out = open_memstream(&text, &size);
	json_array_foreach (array, i, value)
		fprintf(out, "%s%s", i == 0 ? "" : " ", json_string_value(value));
	fclose(out);
	json_decref(array);
	return text;
}

static void check_environment(const char *const *variables, const char *expected)
{
	_cleanup_(strings_clear) struct strings notes = { 0 };
	_cleanup_(freep) char *text = environment(variables, 1000, &notes);

	CHECK_STR(text, expected);
	CHECK_INT(notes.n, 0);
}

static const char *const shell[] = { "A=1", "CUDA_VISIBLE_DEVICES=3", "DIBS_LEASE=4",
	"DIBS_SOCKET=/s", "E=", "XDG_SESSION_ID=4", "BASH_FUNC_m%%=() {  x\n}", "SSH_AUTH_SOCK=/x",
	"odd", NULL };

static void environments(void)
{
	SUBMIT("-g1");
	check_environment(shell, "A=1 DIBS_SOCKET=/s E= BASH_FUNC_m%%=() {  x\n} SSH_AUTH_SOCK=/x");
	SUBMIT("--no-env");
	check_environment(shell, "");
	SUBMIT("--no-env", "--env", "A", "--env=B=2 2", "--env", "NOT_HERE");
	check_environment(shell, "A=1 B=2 2");
	SUBMIT("--no-env", "--env", "A", "--env", "A=2", "--env=CUDA_VISIBLE_DEVICES");
	check_environment(shell, "A=2 CUDA_VISIBLE_DEVICES=3");
	SUBMIT("--no-env", "--env", "=x");
	CHECK(!environment(shell, 1000, NULL));
	SUBMIT("--no-env", "--env", "");
	CHECK(!environment(shell, 1000, NULL));
}

static void odd_variables_are_told(void)
{
	static char large[70000] = "LARGE=";
	const char *variables[] = { "A=1", "B=\xff", large, NULL };
	_cleanup_(strings_clear) struct strings notes = { 0 };
	_cleanup_(freep) char *text = NULL;

	memset(large + 6, 'x', sizeof(large) - 7);
	SUBMIT("-g1");
	text = environment(variables, 1000, &notes);
	CHECK_STR(text, "A=1");
	CHECK_INT(notes.n, 2);
	CHECK_STR(notes.items[0], "B is left out of the environment: it is not UTF-8");
	CHECK_STR(notes.items[1], "LARGE is left out of the environment: it has more than 64 KiB");
}

static void too_much_is_refused(void)
{
	const char *variables[] = { "A=1", "LONGEST=12345678901234567890", "C=1234567890", "D=12",
		NULL };

	SUBMIT("-g1");
	CHECK(!environment(variables, 60, NULL));
	CHECK_STR(err.text,
		"the environment has 67 bytes, and there is room for 60; the largest are "
		"LONGEST (28), C (12), D (4). Submit with --no-env, and with --env NAME "
		"for what the job needs");
}

/* The options of one are above those of the other. */
static void merges(void)
{
	const char *none[] = { NULL };
	_cleanup_(freep) char *text = NULL;
	struct arguments low;

	CHECK_INT(SUBMIT("-g", "4", "-t", "1h", "--venv", "v", "--after", "2", "--env", "A=low",
			  "--mem", "8G"),
		0);
	low = args;
	SUBMIT("-g", "2", "--no-venv", "--after", "1", "--env", "A=high", "--exclusive");
	CHECK_INT(submit_merge(&args, &low, MERGE_BELOW, &err), 0);
	CHECK_INT(build(), 0);
	CHECK_INT(wire_int(parameters, "count", 0), 2);
	CHECK_INT(wire_int(parameters, "duration_us", 0), INT64_C(3600000000));
	CHECK(args.values[OPT_NO_VENV] && !args.values[OPT_VENV] && !args.values[OPT_MEM]);
	CHECK_INT(json_array_size(json_object_get(parameters, "after")), 1);
	CHECK_STR(nth("after", 0), "1:ok");
	text = environment(none, 100, NULL);
	CHECK_STR(text, "A=high");
}

static void lines_of_a_script_add_up(void)
{
	struct arguments low;

	SUBMIT("--after", "2", "--mem", "8G");
	low = args;
	SUBMIT("--after", "1", "--exclusive");
	CHECK_INT(submit_merge(&args, &low, MERGE_ALIKE, &err), 0);
	CHECK_INT(build(), 0);
	CHECK_STR(nth("after", 0), "2:ok");
	CHECK_STR(nth("after", 1), "1:ok");
	CHECK(!json_object_get(parameters, "share_mib"));
}

int main(void)
{
	TEST(says_only_what_was_said);
	TEST(says_what_was_said);
	TEST(refuses);
	TEST(names_have_bounds);
	TEST(knows_script_from_command);
	TEST(repeats_within_bounds);
	TEST(times);
	TEST(signals);
	TEST(environments);
	TEST(odd_variables_are_told);
	TEST(too_much_is_refused);
	TEST(merges);
	TEST(lines_of_a_script_add_up);
	json_decref(parameters);
	return tap_done();
}
