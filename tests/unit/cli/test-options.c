/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/options.h"

static struct arguments args;
static struct error err;

#define PARSE(...)                                                                        \
	({                                                                                \
		static const char *argv_[] = { "dibs", __VA_ARGS__, NULL };               \
		arguments_parse((int)ELEMENTSOF(argv_) - 1, (char **)argv_, &args, &err); \
	})

static void nothing_is_status(void)
{
	static const char *argv[] = { "dibs", NULL };

	CHECK_INT(arguments_parse(1, (char **)argv, &args, &err), 0);
	CHECK_STR(args.verb->name, "status");
	CHECK_INT(PARSE("--watch", "--socket", "/x"), 0);
	CHECK_STR(args.verb->name, "status");
	CHECK_STR(args.values[OPT_SOCKET], "/x");
	CHECK(args.values[OPT_WATCH]);
}

static void run_stops_at_the_first_word(void)
{
	CHECK_INT(PARSE("run", "-g", "1", "python", "x.py", "--lr", "1", "-g", "7"), 0);
	CHECK_STR(args.values[OPT_GPUS], "1");
	CHECK_INT(args.n_words, 6);
	CHECK_STR(args.words[0], "python");
	CHECK_STR(args.words[2], "--lr");
	CHECK(!args.words[6]);
}

static void run_stops_at_two_dashes(void)
{
	CHECK_INT(PARSE("run", "-g2", "--note=a b", "--", "-x", "--", "y"), 0);
	CHECK_STR(args.values[OPT_GPUS], "2");
	CHECK_STR(args.values[OPT_NOTE], "a b");
	CHECK_INT(args.n_words, 3);
	CHECK_STR(args.words[0], "-x");
	CHECK_STR(args.words[1], "--");
	CHECK_INT(PARSE("run", "--"), -EINVAL);
}

static void others_look_on_behind_words(void)
{
	CHECK_INT(PARSE("--socket=/s", "release", "4", "--socket", "/t", "5"), 0);
	CHECK_STR(args.values[OPT_SOCKET], "/t");
	CHECK_INT(args.n_words, 2);
	CHECK_STR(args.words[1], "5");
	CHECK_INT(PARSE("admin", "drain", "3", "--reason", "-1"), 0);
	CHECK_STR(args.parent->name, "admin");
	CHECK_STR(args.verb->name, "drain");
	CHECK_STR(args.values[OPT_REASON], "-1");
}

static void one_name_two_options(void)
{
	CHECK_INT(PARSE("release", "-a"), 0);
	CHECK(args.values[OPT_ALL] && !args.values[OPT_EVERYBODY]);
	CHECK_INT(PARSE("list", "--all"), 0);
	CHECK(args.values[OPT_EVERYBODY] && !args.values[OPT_ALL]);
	CHECK_INT(PARSE("list", "-aj"), 0);
	CHECK(args.values[OPT_EVERYBODY] && args.values[OPT_JSON]);
}

static void values_join_the_words(void)
{
	CHECK_INT(PARSE("reserve", "--adopt", "1", "--adopt=2,3", "4", "-g", "2"), 0);
	CHECK(args.values[OPT_ADOPT]);
	CHECK_STR(args.values[OPT_GPUS], "2");
	CHECK_INT(args.n_words, 3);
	CHECK_STR(args.words[0], "1");
	CHECK_STR(args.words[1], "2,3");
	CHECK_STR(args.words[2], "4");
	CHECK_INT(PARSE("reserve", "--adopt"), -EINVAL);
	CHECK_INT(PARSE("run", "--adopt", "1", "x"), -EINVAL);
}

static void refuses(void)
{
	CHECK_INT(PARSE("foo"), -EINVAL);
	CHECK_STR(err.text, "there is no command 'dibs foo'; see 'dibs --help'");
	CHECK_INT(PARSE("admin", "foo"), -EINVAL);
	CHECK_INT(PARSE("run", "--force", "x"), -EINVAL);
	CHECK_STR(err.text, "there is no option '--force'; see 'dibs run --help'");
	CHECK_INT(PARSE("--json", "run", "x"), -EINVAL);
	CHECK_STR(err.text, "'dibs run' has no option --json");
	CHECK_INT(PARSE("run", "-g"), -EINVAL);
	CHECK_INT(PARSE("run", "--gpus"), -EINVAL);
	CHECK_INT(PARSE("run", "--gp", "1", "x"), -EINVAL);
	CHECK_INT(PARSE("list", "--json=1"), -EINVAL);
	CHECK_INT(PARSE("list", "-az"), -EINVAL);
	CHECK_INT(PARSE("extend", "4"), -EINVAL);
	CHECK_INT(PARSE("show", "4", "5"), -EINVAL);
}

static void help_counts_no_words(void)
{
	CHECK_INT(PARSE("--help"), 0);
	CHECK(!args.verb);
	CHECK_INT(PARSE("extend", "-h"), 0);
	CHECK_STR(args.verb->name, "extend");
}

int main(void)
{
	TEST(nothing_is_status);
	TEST(run_stops_at_the_first_word);
	TEST(run_stops_at_two_dashes);
	TEST(others_look_on_behind_words);
	TEST(one_name_two_options);
	TEST(values_join_the_words);
	TEST(refuses);
	TEST(help_counts_no_words);
	return tap_done();
}
