/* SPDX-License-Identifier: MIT */
/* Flags, times, notes and models: what of the face canhazgpu needs no daemon. */
#include <errno.h>

#include "../tap.h"
#include "base/parse.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"

static struct chg chg;
static struct error err;

static int parse(const char *line)
{
	static char text[512];
	static char *argv[64];
	char *cursor = text, *word;
	int n = 0;

	chg_clear(&chg);
	chg = (struct chg){ 0 };
	err = (struct error){ 0 };
	snprintf(text, sizeof(text), "%s", line);
	while (n < 63 && (word = strsep(&cursor, " ")))
		argv[n++] = word;
	argv[n] = NULL;
	return chg_parse(&chg, n, argv, &err);
}

static void reads_flags_in_all_their_forms(void)
{
	static const char *const lines[] = { "x run --gpus 2 --note a -- c",
		"x run --gpus=2 --note=a -- c", "x run -g 2 -n a -- c", "x run -g2 -na -- c",
		"x run -g=2 -n=a -- c", "x --config f run -g 1 -g 2 -n a -- c" };

	for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
		CHECK_INT(parse(lines[i]), 0);
		CHECK_STR(chg.command ? chg.command->name : NULL, "run");
		CHECK_INT(chg_int(&chg, CHG_GPUS), 2);
		CHECK_STR(chg_value(&chg, CHG_NOTE), "a");
		CHECK_INT(chg.n_words, 1);
		CHECK_STR(chg.words[0], "c");
		CHECK(chg.dashes);
	}
	CHECK_INT(parse("x reserve -sfg 3"), 0);
	CHECK(chg_is(&chg, CHG_SHORT) && chg_is(&chg, CHG_FORCE));
	CHECK_INT(chg_int(&chg, CHG_GPUS), 3);
	CHECK_INT(parse("x reserve --short=false -f=T"), 0);
	CHECK(!chg_is(&chg, CHG_SHORT) && chg_is(&chg, CHG_FORCE));
	CHECK_INT(parse("x reserve -G 1 --gpu-ids 3,2"), 0);
	CHECK_STR(chg_value(&chg, CHG_GPU_IDS), "1,3,2");
}

static void leaves_the_command_alone(void)
{
	CHECK_INT(parse("x run -- a -g 3 -- --json"), 0);
	CHECK_INT(chg.n_words, 5);
	CHECK_INT(chg_int(&chg, CHG_GPUS), 1);
	CHECK_INT(parse("x run a -g 3"), 0);
	CHECK_INT(chg.n_words, 3);
	CHECK(!chg.dashes);
	CHECK_INT(parse("x supervisor --gpus 0 --pid 1"), 0);
	CHECK_INT(chg.n_words, 0);
}

static void refuses(void)
{
	static const struct {
		const char *line, *said;
	} bad[] = {
		{ "x frob", "unknown command \"frob\" for \"canhazgpu\"; see 'canhazgpu --help'" },
		{ "x status --gpus 1", "unknown flag: --gpus" },
		{ "x run -gx", "invalid argument \"x\" for \"-g, --gpus\" flag: it is not a whole "
			       "number" },
		{ "x run -g", "flag needs an argument: 'g' in -g" },
		{ "x run --gpus", "flag needs an argument: --gpus" },
		{ "x status -jz", "unknown shorthand flag: 'z' in -jz" },
		{ "x status all", "unknown argument \"all\" for \"canhazgpu status\"" },
		{ "x status -- all", "unknown argument \"all\" for \"canhazgpu status\"" },
		{ "x release -G 1,,2", "invalid argument \"1,,2\" for \"-G, --gpu-ids\" flag: '' "
				       "is not a number" },
		{ "x run -t 1.5m -- a",
			"invalid duration format: 1.5m (use formats like 30s, 30m, 2h, 1d)" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CHECK_INT(parse(bad[i].line), -EINVAL);
		CHECK_STR(err.text, bad[i].said);
	}
}

static void times(void)
{
	static const struct {
		const char *text;
		int64_t sec;
	} good[] = { { "30s", 30 }, { "30m", 1800 }, { "2h", 7200 }, { "1d", 86400 },
		{ "0.5h", 1800 }, { "1.5d", 129600 }, { ".5h", 1800 }, { "1h30m", 5400 },
		{ "", 28800 }, { "0.0h", 0 } };
	static const char *const bad[] = { "2hours", "-1h", "1.5m", "1.2.3h", "h", ".h", "1e3h",
		"0x1h", "1 h", "99999999d", "99999999.5d", "5", "nan", "1.5hh", "." };
	char text[CHG_DURATION_SIZE];
	int64_t us;

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		us = -1;
		CHECK_INT(chg_parse_duration(good[i].text, &us, &err), 0);
		CHECK_INT(us, good[i].sec * USEC_PER_SEC);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		us = -1;
		CHECK_INT(chg_parse_duration(bad[i], &us, &err), -EINVAL);
		CHECK_INT(us, -1);
	}
	chg_format_duration(text, 59 * USEC_PER_SEC);
	CHECK_STR(text, "0h 0m 59s");
	chg_format_duration(text, (100 * 3600 + 61) * USEC_PER_SEC + 999999);
	CHECK_STR(text, "100h 1m 1s");
	chg_format_duration(text, -5);
	CHECK_STR(text, "0h 0m 0s");
}

static void notes_name_people(void)
{
	static const struct {
		const char *name, *text, *note;
	} cases[] = { { "", "", "" }, { "", "a b", "a b" }, { "Ann", "", "[Ann]" },
		{ "Ann", "a", "[Ann] a" }, { "", "[wip] a", "[] [wip] a" },
		{ "Ann B", "[x]", "[Ann B] [x]" } };
	char name[CHG_NAME_SIZE];

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_(freep) char *note = NULL;

		CHECK_INT(chg_join_note(cases[i].name, cases[i].text, &note, &err), 0);
		CHECK_STR(note, cases[i].note);
		CHECK_STR(chg_split_note(note, name), cases[i].text);
		CHECK_STR(name, cases[i].name);
	}
	CHECK_STR(chg_split_note("[no end", name), "[no end");
	CHECK_STR(chg_split_note("[a]b", name), "[a]b");
	CHECK_STR(name, "");
}

static void models(void)
{
	static const struct {
		const char *command, *provider, *model;
	} cases[] = {
		{ "vllm serve my/model --tensor-parallel-size 2", "my", "my/model" },
		{ "/usr/bin/python3 /opt/bin/vllm serve --port 1 --model a/b", "a", "a/b" },
		{ "python -m vllm.entrypoints.openai.api_server --model=a/b", "a", "a/b" },
		{ "sh -c 'vllm serve x/y'", "x", "x/y" },
		{ "python train.py --model gpt2 --epochs 3", "", "gpt2" },
		{ "lm_eval --model vllm --model_args pretrained=m/n,dtype=auto --tasks x", "m",
			"m/n" },
		{ "lm_eval --model vllm", NULL, NULL },
		{ "vllm serve --port 80", NULL, NULL },
		{ "python serve now", NULL, NULL },
		{ "python --model", NULL, NULL },
		{ "", NULL, NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_(json_decrefp) json_t *model = chg_model(cases[i].command);

		CHECK_INT(model != NULL, cases[i].model != NULL);
		if (!model)
			continue;
		CHECK_STR(wire_text(model, "model"), cases[i].model);
		CHECK_STR(wire_text(model, "provider"), cases[i].provider);
	}
}

static void lists(void)
{
	_cleanup_(json_decrefp) json_t *none = chg_ids(""), *some = chg_ids("3,0,12");
	_cleanup_(freep) char *empty = chg_format_ids(none), *text = chg_format_ids(some);

	CHECK_STR(empty, "[]");
	CHECK_STR(text, "[3 0 12]");
}

static void settings_go_behind_flags(void)
{
	static const char yaml[] =
		"run:\n  gpus: 4\n  gpu-ids: [1, 2]\n  note: ~\nremote_hosts:\n- a\n- b\n";

	CHECK_INT(parse("x run -g 3 -- c"), 0);
	CHECK_INT(chg_read_yaml(&chg, "f", yaml, sizeof(yaml) - 1, &err), 0);
	CHECK_INT(chg_int(&chg, CHG_GPUS), 3);
	CHECK_STR(chg_value(&chg, CHG_GPU_IDS), "1,2");
	CHECK_STR(chg_value(&chg, CHG_NOTE), "");
	CHECK_STR(chg_value(&chg, CHG_REMOTE_HOSTS), "a,b");
	CHECK_INT(chg_set(&chg, CHG_FILE, "run.json", "true", &err), -ENOENT);
	CHECK_INT(chg_set(&chg, CHG_FILE, "config", "x", &err), -ENOENT);
	CHECK_INT(chg_set(&chg, CHG_FILE, "report.days", "x", &err), -EINVAL);
	CHECK_INT(chg_set(&chg, CHG_FILE, "report.days", "3", &err), 0);
	CHECK(!chg.values[CHG_DAYS]); /* of another command */
}

int main(void)
{
	TEST(reads_flags_in_all_their_forms);
	TEST(leaves_the_command_alone);
	TEST(refuses);
	TEST(times);
	TEST(notes_name_people);
	TEST(models);
	TEST(lists);
	TEST(settings_go_behind_flags);
	chg_clear(&chg);
	return tap_done();
}
