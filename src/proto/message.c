/* SPDX-License-Identifier: MIT */
/*
 * What arrives here was written by anybody who may open the socket. Two things keep it harmless:
 * the parser refuses what is not exactly a call (so that nothing is silently ignored), and a table
 * refuses what is not exactly a parameter of the method, by name, before any handler runs.
 *
 * Sentences about bad input quote it, so they are made safe to show; and texts that leave may have
 * been cut within a character, which JSON could not carry, so they are too.
 */
#include "proto/message.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static _printf_(2, 3) int invalid(struct error *err, const char *fmt, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_sanitize(text);
	return error_set(err, -EINVAL, "message.invalid", "%s", text);
}

void call_clear(struct call *call)
{
	json_decref(call->message);
	*call = (struct call){};
}

static bool is_method_name(const char *name)
{
	return *name && name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					  "0123456789.-")] == '\0';
}

/* An unknown key is refused: a misspelt "more" must not turn into a call of another kind. */
static int call_member(struct call *call, const char *key, json_t *value, struct error *err)
{
	bool *flag, upgrade = false;

	if (strcmp(key, "method") == 0) {
		call->method = (char *)json_string_value(value);
		if (!call->method || !is_method_name(call->method))
			return invalid(err, "'method' must be the name of a method");
		return 0;
	}
	if (strcmp(key, "parameters") == 0) {
		if (!json_is_object(value) && !json_is_null(value))
			return invalid(err, "'parameters' must be an object");
		call->parameters = json_is_null(value) ? NULL : value;
		return 0;
	}
	if (strcmp(key, "more") == 0)
		flag = &call->more;
	else if (strcmp(key, "oneway") == 0)
		flag = &call->oneway;
	else if (strcmp(key, "upgrade") == 0)
		flag = &upgrade;
	else
		return invalid(err, "a call has no member '%s'", key);
	if (!json_is_boolean(value) && !json_is_null(value))
		return invalid(err, "'%s' must be true or false", key);
	*flag = json_is_true(value);
	return upgrade ? invalid(err, "no method here upgrades a connection") : 0;
}

int call_parse(const char *text, size_t size, struct call *ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *message = NULL;
	struct call call = {};
	json_error_t json_err;
	const char *key;
	json_t *value;

	message = json_loadb(text, size, JSON_REJECT_DUPLICATES, &json_err);
	if (!message)
		return invalid(err, "the message is not JSON: %s at byte %d", json_err.text,
			json_err.position);
	if (!json_is_object(message))
		return invalid(err, "a call must be a JSON object");
	json_object_foreach (message, key, value) {
		int r = call_member(&call, key, value, err);

		if (r < 0)
			return r;
	}
	if (!call.method)
		return invalid(err, "a call must name its 'method'");
	if (call.more && call.oneway)
		return invalid(err, "'more' asks for many replies and 'oneway' for none");
	if (!call.parameters) {
		call.parameters = json_object();
		if (json_object_set_new(message, "parameters", call.parameters) < 0)
			return error_set(err, -ENOMEM, "message.memory", "out of memory");
	}
	call.message = TAKE_PTR(message);
	*ret = call;
	return 0;
}

static int check_int(const struct field *field, json_t *value, struct error *err)
{
	if (!json_is_integer(value))
		return invalid(err, "'%s' must be a whole number", field->name);
	if (json_integer_value(value) < field->min || json_integer_value(value) > field->max)
		return invalid(err, "'%s' must be from %" PRId64 " to %" PRId64, field->name,
			field->min, field->max);
	return 0;
}

static int check_string(const struct field *field, json_t *value, struct error *err)
{
	size_t size = json_string_length(value);

	if (!json_is_string(value))
		return invalid(err, "'%s' must be a string", field->name);
	if (size < (size_t)field->min || size > (size_t)field->max)
		return invalid(err, "'%s' must be of %" PRId64 " to %" PRId64 " bytes", field->name,
			field->min, field->max);
	return 0;
}

static int check_strings(const struct field *field, json_t *array, struct error *err)
{
	size_t i;
	json_t *value;

	if (!json_is_array(array))
		return invalid(err, "'%s' must be an array of strings", field->name);
	if (json_array_size(array) > (size_t)field->max)
		return invalid(
			err, "'%s' must have at most %" PRId64 " members", field->name, field->max);
	json_array_foreach (array, i, value) {
		const char *s = json_string_value(value);

		if (!s || !*s || strchr(s, ','))
			return invalid(err,
				"'%s' must be an array of strings, none empty or with a comma",
				field->name);
	}
	return 0;
}

static int check_ints(const struct field *field, json_t *array, struct error *err)
{
	size_t i;
	json_t *value;
	int r;

	if (!json_is_array(array))
		return invalid(err, "'%s' must be an array of whole numbers", field->name);
	json_array_foreach (array, i, value)
		if ((r = check_int(field, value, err)) < 0)
			return r;
	return 0;
}

static int check_texts(const struct field *field, json_t *array, struct error *err)
{
	size_t i;
	json_t *value;

	if (!json_is_array(array) || json_array_size(array) > (size_t)field->max)
		return invalid(err, "'%s' must be an array of at most %" PRId64 " strings",
			field->name, field->max);
	json_array_foreach (array, i, value)
		if (!json_is_string(value))
			return invalid(err, "'%s' must be an array of strings", field->name);
	return 0;
}

static int check_objects(const struct field *field, json_t *array, struct error *err)
{
	size_t i;
	json_t *value;

	if (!json_is_array(array) || json_array_size(array) > (size_t)field->max)
		return invalid(err, "'%s' must be an array of at most %" PRId64 " objects",
			field->name, field->max);
	json_array_foreach (array, i, value)
		if (!json_is_object(value))
			return invalid(err, "'%s' must be an array of objects", field->name);
	return 0;
}

static int check(const struct field *field, json_t *value, struct error *err)
{
	switch (field->type) {
	case FIELD_INT:
		return check_int(field, value, err);
	case FIELD_BOOL:
		return json_is_boolean(value)
			       ? 0
			       : invalid(err, "'%s' must be true or false", field->name);
	case FIELD_STRING:
		return check_string(field, value, err);
	case FIELD_STRINGS:
		return check_strings(field, value, err);
	case FIELD_INTS:
		return check_ints(field, value, err);
	case FIELD_TEXTS:
		return check_texts(field, value, err);
	case FIELD_OBJECTS:
		return check_objects(field, value, err);
	case FIELD_TYPE_MAX:
		break;
	}
	assert(false);
	return -EINVAL;
}

static char *join(json_t *array)
{
	size_t i, size = 1;
	json_t *value;
	char *joined, *p;

	json_array_foreach (array, i, value)
		size += json_string_length(value) + 1;
	joined = p = malloc(size);
	if (!joined)
		return NULL;
	*p = '\0';
	json_array_foreach (array, i, value)
		p += snprintf(p, size - (size_t)(p - joined), "%s%s", i > 0 ? "," : "",
			json_string_value(value));
	return joined;
}

static int store(const struct field *field, json_t *value, void *dst)
{
	void *p = (char *)dst + field->offset;

	switch (field->type) {
	case FIELD_INT:
		*(int64_t *)p = json_integer_value(value);
		break;
	case FIELD_BOOL:
		*(bool *)p = json_is_true(value);
		break;
	case FIELD_STRING:
		*(const char **)p = json_string_value(value);
		break;
	case FIELD_STRINGS:
		*(char **)p = join(value);
		return *(char **)p ? 0 : -ENOMEM;
	case FIELD_INTS:
	case FIELD_TEXTS:
	case FIELD_OBJECTS:
		*(json_t **)p = value;
		break;
	case FIELD_TYPE_MAX:
		break;
	}
	return 0;
}

static bool is_known(const struct field *fields, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0)
			return true;
	return false;
}

/* Everything is checked before anything is stored, so a bad call leaves the struct untouched. */
static int fields_check(const struct field *fields, size_t n, json_t *parameters,
	const char **ret_name, struct error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach (parameters, name, value)
		if (!is_known(fields, n, name)) {
			*ret_name = name;
			return invalid(err, "there is no parameter '%s'", name);
		}
	for (size_t i = 0; i < n; i++) {
		int r = 0;

		value = json_object_get(parameters, fields[i].name);
		if (value && !json_is_null(value))
			r = check(&fields[i], value, err);
		else if (fields[i].required)
			r = invalid(err, "the parameter '%s' is missing", fields[i].name);
		if (r < 0) {
			*ret_name = fields[i].name;
			return r;
		}
	}
	return 0;
}

int fields_decode(const struct field *fields, size_t n, json_t *parameters, void *dst,
	const char **ret_name, struct error *err)
{
	int r;

	*ret_name = NULL;
	r = fields_check(fields, n, parameters, ret_name, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		json_t *value = json_object_get(parameters, fields[i].name);

		if (!value || json_is_null(value))
			continue;
		if (store(&fields[i], value, dst) < 0) {
			fields_clear(fields, n, dst);
			return error_set(err, -ENOMEM, "message.memory", "out of memory");
		}
	}
	return 0;
}

void fields_clear(const struct field *fields, size_t n, void *dst)
{
	for (size_t i = 0; i < n; i++) {
		char **owned = (char **)((char *)dst + fields[i].offset);

		if (fields[i].type != FIELD_STRINGS)
			continue;
		free(*owned);
		*owned = NULL;
	}
}

char *message_reply(json_t *parameters, bool continues)
{
	_cleanup_(json_decrefp) json_t *message = json_object();

	/* Members are set, not packed: a NULL from an allocation that failed fails here too. */
	if (json_object_set_new(message, "parameters",
		    parameters ? json_incref(parameters) : json_object()) < 0)
		return NULL;
	if (continues && json_object_set_new(message, "continues", json_true()) < 0)
		return NULL;
	return json_dumps(message, JSON_COMPACT);
}

char *message_error(const char *name, json_t *parameters)
{
	_cleanup_(json_decrefp) json_t *message = json_object();

	if (json_object_set_new(message, "error", json_string(name)) < 0 ||
		json_object_set_new(message, "parameters",
			parameters ? json_incref(parameters) : json_object()) < 0)
		return NULL;
	return json_dumps(message, JSON_COMPACT);
}

static char *explained(const char *name, const char *id, const char *text)
{
	char safe[ERROR_TEXT_SIZE];
	_cleanup_(json_decrefp) json_t *parameters = NULL;

	text_copy(safe, sizeof(safe), text);
	text_sanitize(safe);
	parameters = json_pack("{ss ss}", "id", id, "message", safe);
	return parameters ? message_error(name, parameters) : NULL;
}

char *message_verdict(const struct verdict *verdict)
{
	static const char *const names[VERDICT_KIND_MAX] = {
		[VERDICT_INVALID] = "org.dibs.Invalid",
		[VERDICT_REFUSED] = "org.dibs.Refused",
		[VERDICT_NOT_FREE] = "org.dibs.NotFree",
	};

	assert(verdict->kind != VERDICT_OK && verdict->kind < VERDICT_KIND_MAX);
	return explained(names[verdict->kind], verdict->id, verdict->text);
}

char *message_fault(const struct error *err)
{
	return explained("org.dibs.Fault", err->id, err->text);
}
