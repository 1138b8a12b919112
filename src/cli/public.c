/* SPDX-License-Identifier: MIT */
#include "cli/public.h"

#include "base/macro.h"
#include "base/parse.h"
#include "proto/message.h"

int64_t wire_int(json_t *object, const char *name, int64_t fallback)
{
	json_t *value = json_object_get(object, name);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

const char *wire_text(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* The value of one name, as it was sent. */
static json_t *plain(json_t *wire, const char *name)
{
	json_t *value = json_object_get(wire, name);

	return value ? json_incref(value) : json_null();
}

static json_t *moment(json_t *wire, const char *name)
{
	json_t *value = json_object_get(wire, name);
	char text[TIME_TEXT_SIZE];

	if (!json_is_integer(value))
		return json_null();
	format_time(text, json_integer_value(value));
	return json_string(text);
}

static json_t *user(json_t *wire, struct people *people)
{
	json_t *uid = json_object_get(wire, "uid");

	if (!json_is_integer(uid))
		return json_null();
	return json_string(people_name(people, json_integer_value(uid)));
}

/* Text of the daemon about people. */
static json_t *sentence(json_t *wire, const char *name, struct people *people)
{
	char text[1024];

	if (!json_is_string(json_object_get(wire, name)))
		return json_null();
	people_rename(people, text, sizeof(text), wire_text(wire, name));
	return json_string(text);
}

json_t *public_each(
	json_t *wire, struct people *people, json_t *(*fn)(json_t *wire, struct people *people))
{
	_cleanup_(json_decrefp) json_t *array = json_array();
	json_t *member;
	size_t i;

	json_array_foreach (wire, i, member)
		if (json_array_append_new(array, fn(member, people)) < 0)
			return NULL;
	return TAKE_PTR(array);
}

static json_t *each(json_t *wire, const char *name, struct people *people,
	json_t *(*fn)(json_t *wire, struct people *people))
{
	return public_each(json_object_get(wire, name), people, fn);
}

static json_t *process(json_t *wire, struct people *people)
{
	return json_pack("{so so so so so so so so}", "pid", plain(wire, "pid"), "uid",
		plain(wire, "uid"), "user", user(wire, people), "command", plain(wire, "command"),
		"memory_mib", plain(wire, "memory_mib"), "lease", plain(wire, "lease"), "standing",
		plain(wire, "standing"), "container", plain(wire, "container"));
}

static json_t *gpu(json_t *wire, struct people *people)
{
	return json_pack("{so so so so so so so so so so so so so so so}", "index",
		plain(wire, "index"), "uuid", plain(wire, "uuid"), "model", plain(wire, "model"),
		"vendor", plain(wire, "vendor"), "memory_mib", plain(wire, "memory_mib"),
		"memory_used_mib", plain(wire, "memory_used_mib"), "utilization",
		plain(wire, "utilization"), "temperature_c", plain(wire, "temperature_c"),
		"power_w", plain(wire, "power_w"), "state", plain(wire, "state"), "reason",
		sentence(wire, "reason", people), "leases", plain(wire, "leases"), "processes",
		each(wire, "processes", people, process), "free_since", moment(wire, "free_since"),
		"nodes", plain(wire, "nodes"));
}

json_t *public_gpus(json_t *lease, json_t *gpus, struct people *people)
{
	_cleanup_(json_decrefp) json_t *wire = json_pack("{sO}", "gpus", gpus);

	return json_pack(
		"{so so}", "lease", plain(lease, "id"), "gpus", each(wire, "gpus", people, gpu));
}

static json_t *job(json_t *wire, struct people *people)
{
	static const char *const names[] = { "name", "array", "index", "pending", "active", "ok",
		"failed", "held", "after", "nice", "retries", "restarts", "on_limit", "suspended",
		"exit_status", "exit_signal", "log", "log_offset", "held_us", "used_us",
		"peak_memory_mib" };
	_cleanup_(json_decrefp) json_t *object =
		json_pack("{so so so}", "blocked", sentence(wire, "blocked", people), "reason",
			sentence(wire, "reason", people), "begin", moment(wire, "begin"));

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (json_object_set_new(object, names[i], plain(wire, names[i])) < 0)
			return NULL;
	return TAKE_PTR(object);
}

json_t *public_lease(json_t *wire, struct people *people)
{
	json_t *batch = json_object_get(wire, "job");

	return json_pack("{so so so so so so so so so so so so so so so so}", "id",
		plain(wire, "id"), "kind", plain(wire, "kind"), "state", plain(wire, "state"),
		"uid", plain(wire, "uid"), "user", user(wire, people), "gpus", plain(wire, "gpus"),
		"count", plain(wire, "count"), "share_mib", plain(wire, "share_mib"), "since",
		moment(wire, "since"), "until", moment(wire, "until"), "command",
		plain(wire, "command"), "note", plain(wire, "note"), "position",
		plain(wire, "position"), "idle_since", moment(wire, "idle_since"), "idle_release",
		moment(wire, "idle_release"), "job",
		json_is_object(batch) ? job(batch, people) : json_null());
}

static json_t *event(json_t *wire, struct people *people)
{
	return json_pack("{so so so so so so so so}", "id", plain(wire, "id"), "time",
		moment(wire, "time"), "kind", plain(wire, "kind"), "lease", plain(wire, "lease"),
		"uid", plain(wire, "uid"), "user", user(wire, people), "gpu", plain(wire, "gpu"),
		"detail", sentence(wire, "detail", people));
}

json_t *public_ended(json_t *wire, struct people *people)
{
	_cleanup_(json_decrefp) json_t *object = public_lease(wire, people);
	_cleanup_(json_decrefp) json_t *more =
		json_pack("{so so so}", "submitted", moment(wire, "submitted"), "ended",
			moment(wire, "ended"), "end", plain(wire, "end"));

	if (!object || !more || json_object_update(object, more) < 0)
		return NULL;
	return TAKE_PTR(object);
}

json_t *public_show(json_t *wire, struct people *people)
{
	_cleanup_(json_decrefp) json_t *object =
		public_ended(json_object_get(wire, "lease"), people);

	if (!object ||
		json_object_set_new(object, "events", each(wire, "events", people, event)) < 0)
		return NULL;
	return TAKE_PTR(object);
}

json_t *public_status(json_t *wire, struct people *people)
{
	return json_pack("{so so so so so so so}", "host", plain(wire, "host"), "version",
		plain(wire, "version"), "guard", plain(wire, "guard"), "guard_method",
		plain(wire, "guard_method"), "guard_problem",
		sentence(wire, "guard_problem", people), "gpus", each(wire, "gpus", people, gpu),
		"leases", each(wire, "leases", people, public_lease));
}
