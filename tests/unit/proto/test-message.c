/* SPDX-License-Identifier: MIT */
#include "proto/message.h"

#include <errno.h>
#include <stddef.h>

#include "../tap.h"
#include "base/macro.h"
#include "base/text.h"
#include "proto/frame.h"

static int parse(const char *text, struct call *ret, struct error *err)
{
	return call_parse(text, strlen(text), ret, err);
}

static void a_call_is_read(void)
{
	_cleanup_(call_clear) struct call call = {}, bare = {}, nulls = {};
	struct error err = {};

	CHECK_INT(parse("{\"method\":\"org.dibs.Show\",\"parameters\":{\"id\":7},\"more\":true}",
			  &call, &err),
		0);
	CHECK_STR(call.method, "org.dibs.Show");
	CHECK_INT(json_integer_value(json_object_get(call.parameters, "id")), 7);
	CHECK(call.more && !call.oneway);
	CHECK_INT(parse(" {\"oneway\":true,\"upgrade\":false,\"method\":\"x\"}\n", &bare, &err), 0);
	CHECK(json_is_object(bare.parameters) && json_object_size(bare.parameters) == 0);
	CHECK(!bare.more && bare.oneway);
	CHECK_INT(parse("{\"method\":\"x\",\"parameters\":null,\"more\":null}", &nulls, &err), 0);
	CHECK(json_is_object(nulls.parameters));
	CHECK(!nulls.more);
	CHECK(!err.id);
}

static void what_is_no_call_is_refused_with_its_reason(void)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{ "", "not JSON" },
		{ "\xff", "not JSON" },
		{ "{\"method\":\"x\"", "not JSON" },
		{ "{\"method\":\"x\"} x", "not JSON" },
		{ "{\"method\":\"x\"}{}", "not JSON" },
		{ "{\"method\":\"\xc3\x28\"}", "not JSON" },
		{ "{\"method\":\"a\\u0000b\"}", "not JSON" },
		{ "{\"method\":\"x\",\"method\":\"y\"}", "duplicate" },
		{ "{\"method\":\"x\",\"parameters\":{\"a\":1,\"a\":2}}", "duplicate" },
		{ "{\"method\":\"x\",\"parameters\":{\"a\":99999999999999999999}}",
			"too big integer" },
		{ "[]", "object" },
		{ "\"x\"", "not JSON" },
		{ "{}", "'method'" },
		{ "{\"method\":7}", "'method'" },
		{ "{\"method\":\"\"}", "'method'" },
		{ "{\"method\":\"a b\"}", "'method'" },
		{ "{\"method\":\"a\\nb\"}", "'method'" },
		{ "{\"method\":\"x\",\"parameters\":[]}", "'parameters'" },
		{ "{\"method\":\"x\",\"parameters\":7}", "'parameters'" },
		{ "{\"method\":\"x\",\"more\":1}", "'more'" },
		{ "{\"method\":\"x\",\"oneway\":\"true\"}", "'oneway'" },
		{ "{\"method\":\"x\",\"more\":true,\"oneway\":true}", "'oneway'" },
		{ "{\"method\":\"x\",\"upgrade\":true}", "upgrade" },
		{ "{\"method\":\"x\",\"mroe\":true}", "'mroe'" },
		{ "{\"method\":\"x\",\"\\u001b[2J\":true}", "'?[2J'" },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		struct call call = {};
		struct error err = {};

		CHECK_INT(parse(cases[i].text, &call, &err), -EINVAL);
		CHECK(!call.message);
		CHECK_STR(err.id, "message.invalid");
		if (!strstr(err.text, cases[i].reason))
			CHECK_STR(err.text, cases[i].reason);
	}
}

/* A frame full of brackets must end in a refusal, not at the end of the stack. */
static void deep_nesting_is_refused(void)
{
	static const char *const openers[] = { "[", "{\"a\":", "[{\"a\":" };
	static char text[FRAME_REQUEST_MAX];

	for (size_t i = 0; i < ELEMENTSOF(openers); i++) {
		size_t step = strlen(openers[i]), n = 0;
		struct call call = {};
		struct error err = {};

		for (; n + step <= sizeof(text); n += step)
			memcpy(text + n, openers[i], step);
		CHECK_INT(call_parse(text, n, &call, &err), -EINVAL);
		CHECK(strstr(err.text, "depth"));
	}
}

struct target {
	int64_t number;
	bool flag;
	const char *text;
	char *list;
	json_t *ids;
};

static const struct field fields[] = {
	{ "number", FIELD_INT, offsetof(struct target, number), true, 1, 8 },
	{ "flag", FIELD_BOOL, offsetof(struct target, flag) },
	{ "text", FIELD_STRING, offsetof(struct target, text), false, 1, 5 },
	{ "list", FIELD_STRINGS, offsetof(struct target, list), false, 0, 3 },
	{ "ids", FIELD_INTS, offsetof(struct target, ids), false, 1, INT64_MAX },
};

static int decode(json_t *parameters, struct target *ret, const char **ret_name, struct error *err)
{
	return fields_decode(fields, ELEMENTSOF(fields), parameters, ret, ret_name, err);
}

static void clear(struct target *target)
{
	fields_clear(fields, ELEMENTSOF(fields), target);
}

static void parameters_land_in_the_struct(void)
{
	json_auto_t *all = json_loads("{\"number\":8,\"flag\":true,\"text\":\"\xc3\xa4"
				      "bc\",\"list\":[\"0\",\"GPU-1\"],"
				      "\"ids\":[1,42]}",
		0, NULL);
	json_auto_t *few =
		json_loads("{\"number\":1,\"flag\":null,\"text\":null,\"list\":[]}", 0, NULL);
	_cleanup_(clear) struct target full = {}, sparse = { .flag = true, .text = "default" };
	struct error err = {};
	const char *name;

	CHECK_INT(decode(all, &full, &name, &err), 0);
	CHECK_INT(full.number, 8);
	CHECK(full.flag);
	CHECK_STR(full.text, "\xc3\xa4"
			     "bc");
	CHECK_STR(full.list, "0,GPU-1");
	CHECK_INT(json_integer_value(json_array_get(full.ids, 1)), 42);
	CHECK_INT(decode(few, &sparse, &name, &err), 0);
	CHECK_INT(sparse.number, 1);
	CHECK(sparse.flag);
	CHECK_STR(sparse.text, "default");
	CHECK_STR(sparse.list, "");
	CHECK(!sparse.ids);
	CHECK(!name && !err.id);
	clear(&sparse);
	CHECK(!sparse.list);
}

static void a_bad_parameter_is_refused_by_name(void)
{
	static const struct {
		const char *json, *name;
	} cases[] = {
		{ "{}", "number" },
		{ "{\"number\":null}", "number" },
		{ "{\"number\":0}", "number" },
		{ "{\"number\":9}", "number" },
		{ "{\"number\":-9223372036854775808}", "number" },
		{ "{\"number\":1.0}", "number" },
		{ "{\"number\":1e9}", "number" },
		{ "{\"number\":\"1\"}", "number" },
		{ "{\"number\":true}", "number" },
		{ "{\"number\":[1]}", "number" },
		{ "{\"number\":1,\"flag\":1}", "flag" },
		{ "{\"number\":1,\"flag\":\"yes\"}", "flag" },
		{ "{\"number\":1,\"text\":\"\"}", "text" },
		{ "{\"number\":1,\"text\":\"123456\"}", "text" },
		{ "{\"number\":1,\"text\":7}", "text" },
		{ "{\"number\":1,\"list\":\"a\"}", "list" },
		{ "{\"number\":1,\"list\":{}}", "list" },
		{ "{\"number\":1,\"list\":[\"a\",\"b\",\"c\",\"d\"]}", "list" },
		{ "{\"number\":1,\"list\":[\"a,b\"]}", "list" },
		{ "{\"number\":1,\"list\":[\"a\",\"\"]}", "list" },
		{ "{\"number\":1,\"list\":[7]}", "list" },
		{ "{\"number\":1,\"list\":[null]}", "list" },
		{ "{\"number\":1,\"ids\":7}", "ids" },
		{ "{\"number\":1,\"ids\":[0]}", "ids" },
		{ "{\"number\":1,\"ids\":[1,1.5]}", "ids" },
		{ "{\"number\":1,\"ids\":[\"1\"]}", "ids" },
		{ "{\"number\":1,\"surplus\":null}", "surplus" },
		{ "{\"Number\":1}", "Number" },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		json_auto_t *json = json_loads(cases[i].json, 0, NULL);
		struct target target = {}, untouched = {};
		struct error err = {};
		const char *name = NULL;

		CHECK_INT(decode(json, &target, &name, &err), -EINVAL);
		CHECK_STR(name, cases[i].name);
		CHECK(strstr(err.text, cases[i].name));
		CHECK(memcmp(&target, &untouched, sizeof(target)) == 0);
	}
}

static void replies_carry_their_parameters(void)
{
	json_auto_t *parameters = json_pack("{s:i}", "id", 7);
	_cleanup_(freep) char *last = message_reply(parameters, false);
	_cleanup_(freep) char *more = message_reply(parameters, true);
	_cleanup_(freep) char *empty = message_reply(NULL, false);
	_cleanup_(freep) char *error = message_error("org.varlink.service.MethodNotFound", NULL);

	CHECK_STR(last, "{\"parameters\":{\"id\":7}}");
	CHECK_STR(more, "{\"parameters\":{\"id\":7},\"continues\":true}");
	CHECK_STR(empty, "{\"parameters\":{}}");
	CHECK_STR(error, "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{}}");
	CHECK_INT(parameters->refcount, 1);
}

static void verdicts_and_faults_become_errors(void)
{
	static const char *const names[] = { [VERDICT_INVALID] = "Invalid",
		[VERDICT_REFUSED] = "Refused",
		[VERDICT_NOT_FREE] = "NotFree" };
	struct error err;
	_cleanup_(freep) char *fault = NULL;

	for (enum verdict_kind kind = VERDICT_INVALID; kind < VERDICT_KIND_MAX; kind++) {
		/* A sentence that was cut within a character, as a note in it may cause. */
		struct verdict verdict = verdict_make(kind, "a.b", "no \"%s\"", "\x1b\xc3");
		_cleanup_(freep) char *text = message_verdict(&verdict);
		_cleanup_(freep) char *expected =
			text_format("{\"error\":\"org.dibs.%s\",\"parameters\":{\"id\":\"a.b\","
				    "\"message\":\"no \\\"??\\\"\"}}",
				names[kind]);

		CHECK_STR(text, expected);
	}
	error_set(&err, -EIO, "store.io", "the disk is full");
	fault = message_fault(&err);
	CHECK_STR(fault, "{\"error\":\"org.dibs.Fault\",\"parameters\":"
			 "{\"id\":\"store.io\",\"message\":\"the disk is full\"}}");
}

static void the_interface_is_compiled_in(void)
{
	CHECK(strstr(org_dibs_varlink, "\ninterface org.dibs\n"));
	CHECK(strstr(org_dibs_varlink, "\nmethod GetStatus() -> ("));
}

int main(void)
{
	TEST(a_call_is_read);
	TEST(what_is_no_call_is_refused_with_its_reason);
	TEST(deep_nesting_is_refused);
	TEST(parameters_land_in_the_struct);
	TEST(a_bad_parameter_is_refused_by_name);
	TEST(replies_carry_their_parameters);
	TEST(verdicts_and_faults_become_errors);
	TEST(the_interface_is_compiled_in);
	return tap_done();
}
