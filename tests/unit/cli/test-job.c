/* SPDX-License-Identifier: MIT */
/* Numbers, states and ends of jobs, as people read and type them. */
#include <errno.h>
#include <stdlib.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/job.h"

#define NOW (INT64_C(10) * 3600 * 1000000)

static json_t *lease(const char *text)
{
	json_error_t error;
	json_t *object = json_loads(text, 0, &error);

	if (!object)
		printf("# %s: %s\n", text, error.text);
	CHECK(object);
	return object;
}

static int parses(const char *text, int64_t id, int64_t index)
{
	int64_t got_id = 0, got_index = 0;
	int r = job_parse(text, &got_id, &got_index, NULL);

	return r == 0 && got_id == id && got_index == index;
}

static void numbers_are_read(void)
{
	static const char *const wrong[] = { "", "#", ".", "42.", ".7", "42.x", "42.-1", "-42", "0",
		"42.7.1", "42 ", "0x2a", "9223372036854775808", "42.1000001", "##42",
		"00000000000000000000000000000000000000000000000042", "42:ok", "4\n2" };
	int64_t id, index;

	CHECK(parses("42", 42, -1));
	CHECK(parses("#42", 42, -1));
	CHECK(parses("42.0", 42, 0));
	CHECK(parses("#42.1000000", 42, 1000000));
	CHECK(parses("9223372036854775807", INT64_MAX, -1));
	for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
		CHECK_INT(job_parse(wrong[i], &id, &index, NULL), -EINVAL);
}

static void ids_are_told_once(void)
{
	const char *words[] = { "#42", "42.07", "42", "42.7", "1", NULL },
		   *wrong[] = { "1", "x", NULL };
	struct error err = { 0 };
	_cleanup_(json_decrefp) json_t *ids = job_parse_all(words, &err);
	_cleanup_(freep) char *text = json_dumps(ids, JSON_COMPACT);

	CHECK_STR(text, "[\"42\",\"42.7\",\"1\"]");
	CHECK(!job_parse_all(wrong, &err));
	CHECK(strstr(err.text, "'x' is not the number"));
}

static void check_number(const char *text, const char *number, const char *waiting)
{
	_cleanup_(json_decrefp) json_t *object = lease(text);
	char got[JOB_NUMBER_SIZE];

	job_number(got, object);
	CHECK_STR(got, number);
	job_number_waiting(got, object);
	CHECK_STR(got, waiting);
}

static void numbers_are_written(void)
{
	check_number("{\"id\":42}", "42", "42");
	check_number("{\"id\":42,\"job\":null}", "42", "42");
	check_number("{\"id\":57,\"job\":{\"array\":42,\"index\":0}}", "42.0", "42.0");
	check_number("{\"id\":42,\"job\":{\"active\":0,\"pending\":\"3-99\"}}", "42", "42.[3-99]");
	check_number("{\"id\":42,\"job\":{\"active\":0,\"pending\":\"1,3,5,7,9,11,13,15,17,19\"}}",
		"42", "42.[1,3,5,7,9,11,13,15,...]");
	check_number("{\"id\":42,\"job\":{\"active\":0,\"pending\":\"100000-1000000,1000000\"}}",
		"42", "42.[100000-1000000,...]");
}

static void check_state(const char *text, const char *expected)
{
	const struct term term = { 0 };
	struct people people = { 0 };
	struct view view = { &term, &people, NOW };
	_cleanup_(json_decrefp) json_t *object = lease(text);
	struct cell cell = { 0 };

	job_put_state(&cell, &view, object);
	CHECK_STR(cell.text, expected);
}

static void states_have_a_reason(void)
{
	check_state("{\"state\":\"waiting\",\"job\":{}}", "waiting");
	check_state("{\"state\":\"waiting\",\"job\":null}", "waiting");
	check_state("{\"state\":\"waiting\",\"job\":{\"suspended\":true}}", "suspended");
	check_state("{\"state\":\"active\",\"job\":{\"restarts\":0}}", "running");
	check_state("{\"state\":\"active\",\"job\":{\"restarts\":1},\"until\":39600000000}",
		"running again");
	check_state("{\"state\":\"active\",\"job\":{\"active\":3}}", "3 running");
	check_state("{\"state\":\"grace\",\"job\":{}}", "told to end");
}

static void check_end(const char *job, const char *words, int code)
{
	struct people people = { 0 };
	_cleanup_(json_decrefp) json_t *object =
		json_pack("{ss so}", "end", "exited", "job", lease(job));
	struct cell cell = { 0 };

	job_put_end(&cell, &people, object);
	CHECK_STR(cell.text, words);
	CHECK_INT(job_exit_code(object), code);
}

static void ends_are_named(void)
{
	check_end("{\"exit_status\":0}", "exit status 0", 0);
	check_end("{\"exit_status\":255}", "exit status 255", 255);
	check_end("{\"exit_status\":null,\"exit_signal\":9}", "signal 9 (KILL)", 137);
	check_end("{\"exit_signal\":9,\"reason\":\"out of memory\"}",
		"signal 9 (KILL): out of memory", 137);
	check_end("{\"exit_signal\":40}", "signal 40", 168);
	check_end("{\"reason\":\"no such directory\"}", "no such directory", JOB_EXIT_NONE);
	check_end("{}", "", JOB_EXIT_NONE);
	check_end("{\"exit_status\":70000}", "exit status 70000", JOB_EXIT_NONE);
	check_end("{\"exit_signal\":-3}", "signal -3", JOB_EXIT_NONE);
	check_end("{\"active\":0,\"ok\":3,\"failed\":0}", "3 ok, 0 failed", 0);
	check_end("{\"active\":0,\"ok\":3,\"failed\":1}", "3 ok, 1 failed", 1);
}

static void a_lease_without_a_job_ends_well(void)
{
	_cleanup_(json_decrefp) json_t *hold = lease("{\"end\":\"released\",\"job\":null}");
	_cleanup_(json_decrefp) json_t *array =
		lease("{\"end\":\"released\",\"job\":{\"active\":0,\"failed\":0}}");

	CHECK_INT(job_exit_code(hold), 0);
	CHECK_INT(job_exit_code(array), JOB_EXIT_NONE);
}

static void signals_are_named(void)
{
	char text[SIGNAL_TEXT_SIZE];

	signal_text(text, 15);
	CHECK_STR(text, "15 (TERM)");
	signal_text(text, 1000);
	CHECK_STR(text, "1000");
}

static void sizes(void)
{
	struct cell cell = { 0 };

	job_put_size(&cell, 8192);
	cell_printf(&cell, " ");
	job_put_size(&cell, 8100);
	CHECK_STR(cell.text, "8G 8100M");
}

static json_t *queue(void)
{
	return lease("[{\"id\":40,\"kind\":\"job\",\"state\":\"active\",\"uid\":0,\"gpus\":[0,1],"
		     "\"since\":28800000000,\"until\":39600000000,\"command\":\"python a.py\","
		     "\"job\":{\"name\":\"train\"}},"
		     "{\"id\":57,\"kind\":\"job\",\"state\":\"active\",\"uid\":0,\"gpus\":[3],"
		     "\"share_mib\":8192,\"since\":35940000000,\"command\":\"./sweep\","
		     "\"job\":{\"name\":\"sweep\",\"array\":42,\"index\":7}},"
		     "{\"id\":42,\"kind\":\"job\",\"state\":\"waiting\",\"uid\":0,\"gpus\":[],"
		     "\"count\":1,\"position\":1,\"submitted\":35820000000,\"command\":\"./sweep\","
		     "\"job\":{\"name\":\"sweep\",\"active\":1,\"ok\":6,\"failed\":1,"
		     "\"pending\":\"8-99\"}},"
		     "{\"id\":44,\"kind\":\"job\",\"state\":\"waiting\",\"uid\":0,\"gpus\":[],"
		     "\"count\":8,\"submitted\":35940000000,\"command\":\"./x\","
		     "\"job\":{\"name\":\"x\",\"blocked\":\"it is held by uid 0\"}}]");
}

static void the_queue(void)
{
	_cleanup_(json_decrefp) json_t *leases = queue();
	const struct term term = { 0 };
	struct people people = { 0 };
	struct view view = { &term, &people, NOW };
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK_INT(table_draw_queue(out, &view, leases), 0);
	fclose(out);
	CHECK_STR(text,
		"NEXT  LEASE       USER  GPU     STATE    FOR  UNTIL  COMMAND\n"
		"      #40         root  0,1     running   2h  11:00  train: python a.py\n"
		"      #42.7       root  3 (8G)  running   1m         ./sweep\n"
		"   1  #42.[8-99]  root  any 1   waiting   3m         (1 running, 6 ok, 1 failed) "
		"./sweep\n"
		"      #44         root  any 8   waiting   1m         (held by root) ./x\n");
}

int main(void)
{
	TEST(numbers_are_read);
	TEST(ids_are_told_once);
	TEST(numbers_are_written);
	TEST(states_have_a_reason);
	TEST(ends_are_named);
	TEST(a_lease_without_a_job_ends_well);
	TEST(signals_are_named);
	TEST(sizes);
	TEST(the_queue);
	return tap_done();
}
