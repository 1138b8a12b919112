/* SPDX-License-Identifier: MIT */
/*
 * The status of GPUs, as the JSON of the original.
 *
 * There are no heartbeats any more: the kernel says whether a run lives, so that the last one was
 * just now. What dibs will not hand out without anybody having it (drained, lost) is an ERROR with
 * its reason, never AVAILABLE. Foreign use of a reserved GPU, which the original did not show, is
 * told behind the validation.
 */
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/gpu.h"
#include "cli/lease.h"
#include "cli/process.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"

#define NAMES_SHOWN 2    /* processes in one line; more are counted */
#define THRESHOLD   1024 /* MB used by nobody whom we can see: still worth telling */

/* A reply, seen at one moment. */
struct look {
	json_t *leases;
	struct people *people;
	int64_t now_us;
	bool with_pids;
};

static void put(json_t *object, const char *name, char *owned_text)
{
	_cleanup_(freep) char *text = owned_text;

	if (text)
		json_object_set_new(object, name, json_string(text));
}

static void put_time(json_t *object, const char *name, int64_t us)
{
	char text[TIME_TEXT_SIZE];

	format_time(text, us);
	json_object_set_new(object, name, json_string(text));
}

static bool is_counted(json_t *process)
{
	return process_standing(process) != STANDING_IGNORED;
}

static size_t count_processes(json_t *gpu)
{
	json_t *process;
	size_t i, n = 0;

	json_array_foreach (json_object_get(gpu, "processes"), i, process)
		n += is_counted(process);
	return n;
}

/* Names of those who use it without a right, each once; owned by the caller. */
static json_t *foreign_users(const struct look *look, json_t *gpu)
{
	json_t *users = json_array(), *process, *user;
	size_t i, k;

	json_array_foreach (json_object_get(gpu, "processes"), i, process) {
		const char *name = "unknown";
		bool known = false;

		if (!process_is_foreign(process))
			continue;
		if (json_is_integer(json_object_get(process, "uid")))
			name = people_name(look->people, wire_int(process, "uid", -1));
		json_array_foreach (users, k, user)
			known |= strcmp(json_string_value(user), name) == 0;
		if (!known)
			json_array_append_new(users, json_string(name));
	}
	return users;
}

static void put_available(const struct look *look, json_t *object, json_t *gpu)
{
	int64_t since_us = wire_int(gpu, "free_since", 0),
		mib = wire_int(gpu, "memory_used_mib", -1);
	char text[CHG_DURATION_SIZE];

	chg_format_duration(text, look->now_us - since_us);
	put(object, "details", since_us ? text_format("free for %s", text) : strdup("never used"));
	if (mib >= 0)
		put(object, "validation", text_format("%" PRId64 "MB used", mib));
	if (since_us)
		put_time(object, "last_released", since_us);
}

/* "8452MB, 1 processes", and who is there without a right. */
static char *validation(const struct look *look, json_t *gpu)
{
	_cleanup_(json_decrefp) json_t *users = foreign_users(look, gpu);
	const char *user = json_string_value(json_array_get(users, 0));
	int64_t mib = wire_int(gpu, "memory_used_mib", -1);
	size_t n = count_processes(gpu), more = json_array_size(users);
	char memory[32] = "", foreign[160] = "";

	if (mib >= 0)
		snprintf(memory, sizeof(memory), "%" PRId64 "MB", mib);
	if (more > 1)
		snprintf(foreign, sizeof(foreign), ", %s and %zu more without reservation", user,
			more - 1);
	else if (user)
		snprintf(foreign, sizeof(foreign), ", %s without reservation", user);
	if (n > 0)
		return text_format("%s%s%zu processes%s", memory, *memory ? ", " : "", n, foreign);
	return mib > THRESHOLD ? text_format("%s used", memory) : strdup("no usage detected");
}

/* Those who share it, together. */
static char *users_of(const struct look *look, json_t *gpu)
{
	json_t *ids = json_object_get(gpu, "leases"), *id;
	char *all = NULL;
	size_t i;

	json_array_foreach (ids, i, id) {
		json_t *lease = lease_find(look->leases, json_integer_value(id));
		_cleanup_(freep) char *before = all;
		_cleanup_(freep) char *user = lease ? chg_user(lease, look->people) : NULL;

		all = text_format("%s%s%s", before ? before : "", before && user ? ", " : "",
			user ? user : "");
	}
	return all;
}

static void put_in_use(const struct look *look, json_t *object, json_t *gpu, json_t *lease)
{
	int64_t until_us = wire_int(lease, "until", 0);
	bool run = chg_is_run(lease);
	char text[CHG_DURATION_SIZE], name[CHG_NAME_SIZE];
	const char *note = chg_split_note(wire_text(lease, "note"), name);

	put(object, "user", users_of(look, gpu));
	chg_format_duration(text, look->now_us - wire_int(lease, "since", look->now_us));
	json_object_set_new(object, "duration", json_string(text));
	json_object_set_new(object, "type", json_string(run ? "RUN" : "MANUAL"));
	if (*note)
		json_object_set_new(object, "note", json_string(note));
	chg_format_duration(text, until_us - look->now_us);
	if (run)
		put(object, "details", strdup("heartbeat 0h 0m 0s ago"));
	else if (!until_us)
		put(object, "details", strdup("manual reservation"));
	else
		put(object, "details", text_format("expires in %s", text));
	put(object, "validation", validation(look, gpu));
	if (run)
		put_time(object, "last_heartbeat", look->now_us);
	else if (until_us)
		put_time(object, "expiry_time", until_us);
}

/* "python3" of "/usr/bin/python3 train.py", and of "[python3]", which is all that is known of some.
 */
static void program_name(char *dst, size_t size, const char *command)
{
	const char *end = command + strcspn(command, " "), *name = command;

	for (const char *s = command; s < end; s++)
		if (*s == '/' || *s == '[')
			name = s + 1;
	snprintf(dst, size, "%.*s", (int)strcspn(name, " ]"), name);
}

/* "PID 12345 (python3), PID 67890 (jupyter) and 2 more" */
static char *processes_text(json_t *gpu)
{
	size_t n = 0, all = count_processes(gpu), i;
	json_t *process;
	char text[512] = "", name[32];

	json_array_foreach (json_object_get(gpu, "processes"), i, process) {
		const char *command = wire_text(process, "command");
		size_t used = strlen(text);

		if (!is_counted(process) || n == NAMES_SHOWN)
			continue;
		program_name(name, sizeof(name), command);
		snprintf(text + used, sizeof(text) - used, "%sPID %" PRId64 " (%s)",
			n++ ? ", " : "", wire_int(process, "pid", 0), name);
	}
	text_sanitize(text); /* a character may have been cut */
	return all > n ? text_format("%s and %zu more", text, all - n) : strdup(text);
}

static void put_unreserved(const struct look *look, json_t *object, json_t *gpu)
{
	int64_t mib = wire_int(gpu, "memory_used_mib", -1);
	_cleanup_(freep) char *names = look->with_pids ? processes_text(gpu) : NULL;
	size_t n = count_processes(gpu);
	char memory[32] = "";

	if (mib >= 0)
		snprintf(memory, sizeof(memory), "%" PRId64 "MB ", mib);
	json_object_set_new(object, "details", json_string("WITHOUT RESERVATION"));
	json_object_set_new(object, "unreserved_users", foreign_users(look, gpu));
	put(object, "process_info",
		names ? text_format("%sused by %s", memory, names)
		      : text_format("%sused by %zu process%s", memory, n, n == 1 ? "" : "es"));
}

static void put_error(const struct look *look, json_t *object, json_t *gpu)
{
	char text[1024];

	people_rename(look->people, text, sizeof(text), wire_text(gpu, "reason"));
	if (!*text)
		text_copy(text, sizeof(text), wire_text(gpu, "state"));
	json_object_set_new(object, "details", json_string(text));
	json_object_set_new(object, "error", json_string(text));
}

/* What the lease was started with tells more than what is left of a command line. */
static void put_model(json_t *object, json_t *gpu, json_t *lease)
{
	json_t *model = chg_model(wire_text(lease, "command")), *process;
	size_t i;

	json_array_foreach (json_object_get(gpu, "processes"), i, process)
		if (!model)
			model = chg_model(wire_text(process, "command"));
	if (model)
		json_object_set_new(object, "model", model);
	if (*wire_text(gpu, "model"))
		json_object_set_new(object, "gpu_model", json_string(gpu_short_model(gpu)));
}

static json_t *gpu_status(const struct look *look, json_t *gpu)
{
	json_t *id = json_array_get(json_object_get(gpu, "leases"), 0);
	json_t *lease = id ? lease_find(look->leases, json_integer_value(id)) : NULL;
	const char *status = "ERROR";
	json_t *object = json_object();

	if (lease)
		status = "IN_USE";
	else if (gpu_has_state(gpu, "free"))
		status = "AVAILABLE";
	else if (gpu_has_state(gpu, "foreign"))
		status = "UNRESERVED";
	json_object_set_new(object, "gpu_id", json_integer(wire_int(gpu, "index", 0)));
	json_object_set_new(object, "status", json_string(status));
	if (lease)
		put_in_use(look, object, gpu, lease);
	else if (*status == 'A')
		put_available(look, object, gpu);
	else if (*status == 'U')
		put_unreserved(look, object, gpu);
	else
		put_error(look, object, gpu);
	put_model(object, gpu, lease);
	return object;
}

json_t *chg_status(json_t *reply, struct people *people, int64_t now_us, bool with_pids)
{
	const struct look look = { json_object_get(reply, "leases"), people, now_us, with_pids };
	_cleanup_(json_decrefp) json_t *statuses = json_array();
	json_t *gpu;
	size_t i;

	json_array_foreach (json_object_get(reply, "gpus"), i, gpu)
		if (json_array_append_new(statuses, gpu_status(&look, gpu)) < 0)
			return NULL;
	return TAKE_PTR(statuses);
}

static json_t *known_text(json_t *value)
{
	char text[1024];

	if (!json_is_string(value))
		return NULL;
	text_copy(text, sizeof(text), json_string_value(value));
	text_sanitize(text);
	return json_string(text);
}

static json_t *known_texts(json_t *value)
{
	json_t *array, *text;
	size_t i;

	if (!json_is_array(value))
		return NULL;
	array = json_array();
	json_array_foreach (value, i, text)
		json_array_append_new(array, known_text(text));
	return array;
}

static json_t *known_gpu(json_t *foreign)
{
	static const char *const texts[] = { "status", "user", "duration", "type", "note",
		"details", "validation", "gpu_model", "last_released", "last_heartbeat",
		"expiry_time", "process_info", "error" };
	json_t *id = json_object_get(foreign, "gpu_id"), *model = json_object_get(foreign, "model");
	json_t *object = json_object();

	json_object_set(object, "gpu_id", json_is_integer(id) ? id : NULL);
	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		json_object_set_new(
			object, texts[i], known_text(json_object_get(foreign, texts[i])));
	json_object_set_new(object, "unreserved_users",
		known_texts(json_object_get(foreign, "unreserved_users")));
	if (json_is_string(json_object_get(model, "model"))) {
		json_t *copy = json_object();

		json_object_set_new(
			copy, "provider", known_text(json_object_get(model, "provider")));
		json_object_set_new(copy, "model", known_text(json_object_get(model, "model")));
		json_object_set_new(object, "model", copy);
	}
	return object;
}

json_t *chg_known_status(json_t *foreign)
{
	_cleanup_(json_decrefp) json_t *statuses = json_array();
	json_t *gpu;
	size_t i;

	if (!json_is_array(foreign))
		return NULL;
	json_array_foreach (foreign, i, gpu) {
		json_t *known = known_gpu(gpu);

		json_array_append_new(statuses, known);
		if (!json_object_get(known, "gpu_id") || !json_object_get(known, "status"))
			return NULL;
	}
	return TAKE_PTR(statuses);
}
