/* SPDX-License-Identifier: MIT */
/* Parameters of every type. What lands in the struct is within its bounds; what is refused is
 * named. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/macro.h"
#include "fuzz.h"
#include "proto/message.h"

struct target {
	int64_t number;
	bool flag;
	const char *text;
	char *list;
	json_t *ids;
};

static const struct field fields[] = {
	{ "number", FIELD_INT, offsetof(struct target, number), true, -3, 1000 },
	{ "flag", FIELD_BOOL, offsetof(struct target, flag) },
	{ "text", FIELD_STRING, offsetof(struct target, text), false, 1, 8 },
	{ "list", FIELD_STRINGS, offsetof(struct target, list), false, 0, 3 },
	{ "ids", FIELD_INTS, offsetof(struct target, ids), false, 1, INT64_MAX },
};

static void clear(struct target *target)
{
	fields_clear(fields, ELEMENTSOF(fields), target);
}

/* Commas only stand between strings, so their number tells how many there are. */
static void check_list(const char *list, json_t *array)
{
	size_t commas = 0;

	for (const char *p = list; (p = strchr(p, ',')); p++)
		commas++;
	REQUIRE(json_array_size(array) <= 3);
	REQUIRE(json_array_size(array) == (*list ? commas + 1 : 0));
	REQUIRE(*list != ',' && !strstr(list, ",,"));
}

static void check(const struct target *target, json_t *parameters)
{
	size_t i;
	json_t *id;

	REQUIRE(target->number >= -3 && target->number <= 1000);
	REQUIRE(!target->text || (*target->text && strlen(target->text) <= 8));
	if (target->list)
		check_list(target->list, json_object_get(parameters, "list"));
	json_array_foreach (target->ids, i, id) {
		REQUIRE(json_is_integer(id) && json_integer_value(id) >= 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_auto_t *parameters =
		json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	_cleanup_(clear) struct target target = {};
	struct error err = {};
	const char *name = "";

	if (!json_is_object(parameters))
		return 0;
	if (fields_decode(fields, ELEMENTSOF(fields), parameters, &target, &name, &err) == 0) {
		REQUIRE(!name && !err.id);
		check(&target, parameters);
	} else {
		REQUIRE(name && err.id && *err.text);
		REQUIRE(!target.list && !target.text && !target.ids);
	}
	return 0;
}
