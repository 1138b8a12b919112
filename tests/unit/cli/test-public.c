/* SPDX-License-Identifier: MIT */
/* The field names are a promise to scripts. */
#include <stdlib.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/public.h"
#include "proto/message.h"

static const char wire_status[] =
	"{\"host\":\"h\",\"version\":\"1\",\"guard\":\"deny\",\"guard_method\":\"acl\",\"guard_"
	"problem\":"
	"\"open to uid 0\",\"gpus\":[{\"index\":0,\"uuid\":\"GPU-"
	"a\","
	"\"model\":\"M\",\"vendor\":\"nvidia\",\"memory_mib\":10,\"memory_used_mib\":null,"
	"\"utilization\":5,\"temperature_c\":40,\"power_w\":60,\"state\":\"leased\","
	"\"reason\":\"drained by uid 0\",\"leases\":[7],\"processes\":[{\"pid\":9,\"uid\":0,"
	"\"command\":\"c\",\"memory_mib\":3,\"lease\":7,\"standing\":\"lease\",\"container\":"
	"\"docker:x\"},{\"pid\":10,\"uid\":null,\"command\":"
	"\"d\","
	"\"memory_mib\":null,\"lease\":null}],\"free_since\":null,\"nodes\":[\"195:0\"]}],"
	"\"leases\":[{\"id\":7,"
	"\"kind\":\"run\",\"state\":\"active\",\"uid\":0,\"gpus\":[0],\"count\":1,\"submitted\":0,"
	"\"since\":86400000000,\"until\":null,\"ended\":null,\"end\":null,\"command\":\"c\","
	"\"note\":null,\"position\":null,\"idle_since\":86400000000,\"idle_release\":null}]}";

static void status(void)
{
	struct people people = { 0 };
	_cleanup_(json_decrefp) json_t *wire = json_loads(wire_status, 0, NULL);
	_cleanup_(json_decrefp) json_t *object = public_status(wire, &people);
	_cleanup_(freep) char *text = json_dumps(object, JSON_COMPACT);

	CHECK_STR(text,
		"{\"host\":\"h\",\"version\":\"1\",\"guard\":\"deny\","
		"\"guard_method\":\"acl\",\"guard_problem\":\"open to "
		"root\",\"gpus\":[{\"index\":0,"
		"\"uuid\":\"GPU-a\",\"model\":\"M\",\"vendor\":\"nvidia\",\"memory_mib\":10,"
		"\"memory_used_mib\":null,"
		"\"utilization\":5,\"temperature_c\":40,\"power_w\":60,\"state\":\"leased\","
		"\"reason\":\"drained by root\",\"leases\":[7],\"processes\":[{\"pid\":9,\"uid\":0,"
		"\"user\":\"root\",\"command\":\"c\",\"memory_mib\":3,\"lease\":7,\"standing\":"
		"\"lease\","
		"\"container\":\"docker:x\"},{\"pid\":10,"
		"\"uid\":null,\"user\":null,\"command\":\"d\",\"memory_mib\":null,\"lease\":null,"
		"\"standing\":null,"
		"\"container\":null}],\"free_since\":null,\"nodes\":[\"195:0\"]}],\"leases\":[{"
		"\"id\":7,\"kind\":\"run\",\"state\":\"active\","
		"\"uid\":0,\"user\":\"root\",\"gpus\":[0],\"count\":1,\"share_mib\":null,\"since\":"
		"\"1970-01-02T00:00:00+00:00\","
		"\"until\":null,\"command\":\"c\",\"note\":null,\"position\":null,"
		"\"idle_since\":\"1970-01-02T00:00:00+00:00\",\"idle_release\":null,\"job\":null}]"
		"}");
}

static void show(void)
{
	struct people people = { 0 };
	_cleanup_(json_decrefp) json_t *wire = json_loads(
		"{\"lease\":{\"id\":7,\"uid\":0,\"count\":1,\"submitted\":0,\"end\":\"exited\"},"
		"\"events\":[{\"id\":1,\"time\":0,\"kind\":\"ended\",\"lease\":7,\"uid\":null,"
		"\"gpu\":null,\"detail\":\"of uid 0\"}]}",
		0, NULL);
	_cleanup_(json_decrefp) json_t *object = public_show(wire, &people);
	json_t *event = json_array_get(json_object_get(object, "events"), 0);

	CHECK_STR(wire_text(object, "user"), "root");
	CHECK_STR(wire_text(object, "end"), "exited");
	CHECK_STR(wire_text(event, "time"), "1970-01-01T00:00:00+00:00");
	CHECK_STR(wire_text(event, "detail"), "of root");
	CHECK(json_is_null(json_object_get(event, "user")));
	CHECK(json_is_null(json_object_get(object, "until")));
}

static void job(void)
{
	struct people people = { 0 };
	_cleanup_(json_decrefp) json_t *wire = json_loads(
		"{\"id\":43,\"kind\":\"job\",\"end\":\"exited\",\"share_mib\":8192,\"job\":{"
		"\"name\":\"x\","
		"\"array\":42,\"index\":0,\"begin\":0,\"after\":[\"41:ok\"],\"exit_signal\":9,"
		"\"reason\":\"by uid 0\",\"log_offset\":7}}",
		0, NULL);
	_cleanup_(json_decrefp) json_t *object = public_ended(wire, &people);
	json_t *batch = json_object_get(object, "job");

	CHECK_INT(json_object_size(batch), 24);
	CHECK_INT(wire_int(object, "share_mib", 0), 8192);
	CHECK_INT(wire_int(batch, "index", -1), 0);
	CHECK_INT(wire_int(batch, "exit_signal", 0), 9);
	CHECK_STR(wire_text(batch, "begin"), "1970-01-01T00:00:00+00:00");
	CHECK_STR(wire_text(batch, "reason"), "by root");
	CHECK_STR(json_string_value(json_array_get(json_object_get(batch, "after"), 0)), "41:ok");
	CHECK(json_is_null(json_object_get(batch, "held_us")));
	CHECK(json_is_null(json_object_get(batch, "pending")));
}

/* A daemon of another version may send less. */
static void little(void)
{
	struct people people = { 0 };
	_cleanup_(json_decrefp) json_t *wire =
		json_loads("{\"gpus\":[{}],\"leases\":[{}]}", 0, NULL);
	_cleanup_(json_decrefp) json_t *object = public_status(wire, &people);

	CHECK_INT(json_object_size(object), 7);
	CHECK(json_is_null(json_object_get(object, "host")));
}

int main(void)
{
	TEST(status);
	TEST(show);
	TEST(job);
	TEST(little);
	return tap_done();
}
