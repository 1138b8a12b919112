/* SPDX-License-Identifier: MIT */
/*
 * "status --all --json" of the original prints its internal structures: other names than "status
 * --json", all there even if empty, and durations in nanoseconds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/public.h"
#include "compat/canhazgpu.h"

#define NEVER "0001-01-01T00:00:00Z"

static json_t *text_or(json_t *status, const char *name, const char *fallback)
{
	const char *text = wire_text(status, name);

	return json_string(*text ? text : fallback);
}

/* "run" or "manual" */
static json_t *kind(json_t *status)
{
	const char *type = wire_text(status, "type");

	return json_string(strcmp(type, "RUN") == 0 ? "run" : *type ? "manual" : "");
}

static json_t *nanoseconds(json_t *status)
{
	int64_t hours, minutes, seconds;

	if (sscanf(wire_text(status, "duration"), "%" SCNd64 "h %" SCNd64 "m %" SCNd64 "s", &hours,
		    &minutes, &seconds) != 3 ||
		hours > 1000000 || hours < 0)
		return json_integer(0);
	return json_integer((hours * 3600 + minutes % 60 * 60 + seconds % 60) * 1000000000);
}

/* With its brackets: "[validated: 45MB used]" */
static json_t *validation(json_t *status)
{
	const char *text = wire_text(status, "validation");

	return *text ? json_sprintf("[validated: %s]", text) : json_string("");
}

static json_t *raw(json_t *status)
{
	json_t *users = json_object_get(status, "unreserved_users");
	json_t *object = json_pack("{sO so so so so so so so so so so so}", "GPUID",
		json_object_get(status, "gpu_id"), "Status", text_or(status, "status", ""), "User",
		text_or(status, "user", ""), "ReservationType", kind(status), "Duration",
		nanoseconds(status), "LastHeartbeat", text_or(status, "last_heartbeat", NEVER),
		"ExpiryTime", text_or(status, "expiry_time", NEVER), "LastReleased",
		text_or(status, "last_released", NEVER), "ValidationInfo", validation(status),
		"UnreservedUsers", users ? json_incref(users) : json_null(), "ProcessInfo",
		text_or(status, "process_info", ""), "Error", text_or(status, "error", ""));

	if (json_object_get(status, "model"))
		json_object_set(object, "model_info", json_object_get(status, "model"));
	if (*wire_text(status, "gpu_model"))
		json_object_set(object, "gpu_model", json_object_get(status, "gpu_model"));
	if (*wire_text(status, "note"))
		json_object_set(object, "note", json_object_get(status, "note"));
	return object;
}

json_t *chg_raw_status(json_t *statuses)
{
	_cleanup_(json_decrefp) json_t *array = json_array();
	json_t *status;
	size_t i;

	json_array_foreach (statuses, i, status)
		if (json_array_append_new(array, raw(status)) < 0)
			return NULL;
	return TAKE_PTR(array);
}
