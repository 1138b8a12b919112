/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "../tap.h"
#include "cli/public.h"
#include "cli/quote.h"
#include "cli/request.h"
#include "model/request.h"

static json_t *parameters;
static struct error err;

/* One option and its value; the result is in parameters. */
static int with(enum opt opt, const char *value)
{
	struct arguments args = { 0 };

	args.values[opt] = value;
	json_decref(parameters);
	parameters = NULL;
	return request_parameters(&args, "hold", &parameters, &err);
}

static void says_only_what_was_said(void)
{
	CHECK_INT(with(OPT_JSON, NULL), 0);
	CHECK_INT(json_object_size(parameters), 1);
	CHECK_STR(wire_text(parameters, "kind"), "hold");
}

static void numbers(void)
{
	CHECK_INT(with(OPT_GPUS, "2"), 0);
	CHECK_INT(wire_int(parameters, "count", 0), 2);
	CHECK_INT(with(OPT_MIN_MEMORY, "24G"), 0);
	CHECK_INT(wire_int(parameters, "min_memory_mib", 0), 24576);
	CHECK_INT(with(OPT_DURATION, "1h30m"), 0);
	CHECK_INT(wire_int(parameters, "duration_us", 0), INT64_C(5400000000));
	CHECK_INT(with(OPT_WAIT, "0"), 0);
	CHECK_INT(wire_int(parameters, "wait_us", -1), 0);
	CHECK_INT(with(OPT_NO_WAIT, ""), 0);
	CHECK_INT(wire_int(parameters, "wait_us", -1), 0);
}

static void refuses(void)
{
	static const struct {
		enum opt opt;
		const char *value;
	} bad[] = {
		{ OPT_GPUS, "0" },
		{ OPT_GPUS, "-1" },
		{ OPT_GPUS, "1e9" },
		{ OPT_GPUS, "" },
		{ OPT_GPUS, "257" },
		{ OPT_GPU, "" },
		{ OPT_GPU, "0,,1" },
		{ OPT_GPU, "0," },
		{ OPT_GPU, "\xff" },
		{ OPT_TYPE, "" },
		{ OPT_TYPE, "\xc0\x80" },
		{ OPT_MIN_MEMORY, "8" },
		{ OPT_MIN_MEMORY, "" },
		{ OPT_MIN_MEMORY, "99999999999999999999G" },
		{ OPT_TIME, "0" },
		{ OPT_TIME, "" },
		{ OPT_TIME, "-5m" },
		{ OPT_TIME, "99999999999999999999h" },
		{ OPT_DURATION, "5" },
		{ OPT_WAIT, "soon" },
		{ OPT_NOTE, "\xff" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CHECK_INT(with(bad[i].opt, bad[i].value), -EINVAL);
		CHECK(!parameters && strlen(err.text) > 10);
	}
}

static void wait_or_not(void)
{
	struct arguments args = { .values = { [OPT_WAIT] = "5m", [OPT_NO_WAIT] = "" } };
	json_t *ret = NULL;

	CHECK_INT(request_parameters(&args, "run", &ret, &err), -EINVAL);
}

static void notes(void)
{
	char note[REQUEST_NOTE_MAX + 2];

	memset(note, 'a', sizeof(note));
	note[REQUEST_NOTE_MAX + 1] = '\0';
	CHECK_INT(with(OPT_NOTE, note), -EINVAL);
	note[REQUEST_NOTE_MAX] = '\0';
	CHECK_INT(with(OPT_NOTE, note), 0);
	CHECK_INT(with(OPT_NOTE, "%n '; drop table <b>"), 0);
	CHECK_STR(wire_text(parameters, "note"), "%n '; drop table <b>");
}

static void lists(void)
{
	json_t *gpus;

	CHECK_INT(with(OPT_GPU, "0,GPU-12"), 0);
	gpus = json_object_get(parameters, "gpus");
	CHECK_INT(json_array_size(gpus), 2);
	CHECK_STR(json_string_value(json_array_get(gpus, 1)), "GPU-12");
}

static int adopt(char *first, char *second)
{
	char *words[] = { first, second, NULL };
	struct arguments args = { .words = words, .n_words = second ? 2 : 1 };

	args.values[OPT_ADOPT] = first;
	json_decref(parameters);
	parameters = NULL;
	return request_parameters(&args, "hold", &parameters, &err);
}

static void adopts(void)
{
	static const char *const bad[] = { "", "0", "-1", "1,", "1,,2", "a", "1 2", "2147483648" };
	json_t *pids;

	CHECK_INT(adopt((char[]){ "7,8" }, (char[]){ "9" }), 0);
	pids = json_object_get(parameters, "adopt");
	CHECK_INT(json_array_size(pids), 3);
	CHECK_INT(json_integer_value(json_array_get(pids, 0)), 7);
	CHECK_INT(json_integer_value(json_array_get(pids, 2)), 9);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CHECK_INT(adopt((char[]){ "7" }, (char *)bad[i]), -EINVAL);
		CHECK(!parameters && strstr(err.text, "--adopt"));
	}
}

static void check_quote(const char *const *argv, size_t max, const char *expected)
{
	_cleanup_(freep) char *text = quote_command(argv, max);

	CHECK_STR(text, expected);
}

static void quotes(void)
{
	check_quote(
		(const char *[]){ "python", "x.py", "--lr=1", NULL }, 500, "python x.py --lr=1");
	check_quote((const char *[]){ "sh", "-c", "a b", "", NULL }, 500, "sh -c 'a b' ''");
	check_quote((const char *[]){ "it's", NULL }, 500, "'it'\\''s'");
	check_quote((const char *[]){ "a\033[31m\n\xff", NULL }, 500, "'a?[31m?\?'");
	check_quote((const char *[]){ "grün", "grün", NULL }, 8, "grün gr");
	check_quote((const char *[]){ "abc", "def", "ghi", NULL }, 5, "abc d");
}

static void waiting(void)
{
	struct people people = { 0 };
	char text[WAITING_SIZE];
	json_t *reply = json_pack("{s{sI sI si} s[{sI si s[ii] sI}{sI si s[]}{sI}]}", "lease", "id",
		(json_int_t)42, "count", (json_int_t)2, "position", 3, "blockers", "id",
		(json_int_t)40, "uid", 0, "gpus", 0, 1, "until", INT64_C(64800000000), "id",
		(json_int_t)41, "uid", 0, "gpus", "id", (json_int_t)39);

	waiting_text(text, reply, &people, 1000000);
	CHECK_STR(text,
		"waiting for 2 GPUs (#42, position 3): GPUs 0,1 are leased by root until 18:00; "
		"#41 of root is ahead; and 1 more");
	json_decref(reply);
}

int main(void)
{
	TEST(says_only_what_was_said);
	TEST(numbers);
	TEST(refuses);
	TEST(wait_or_not);
	TEST(notes);
	TEST(lists);
	TEST(adopts);
	TEST(quotes);
	TEST(waiting);
	json_decref(parameters);
	return tap_done();
}
