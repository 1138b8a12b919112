/* SPDX-License-Identifier: MIT */
#include "compat/mgpu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"

void mgpu_id(char dst[MGPU_ID_SIZE], int64_t lease)
{
	snprintf(dst, MGPU_ID_SIZE, "%08" PRId64, lease);
}

int mgpu_parse_id(const char *text, int64_t *ret, struct error *err)
{
	uint64_t id;

	if (parse_uint(text + (*text == '#'), 1, INT64_MAX, &id) < 0)
		return error_set(err, -EINVAL, "mgpu.id",
			"'%s' is not the id of a job; mgpu_queue shows them", text);
	*ret = (int64_t)id;
	return 0;
}

enum client_exit mgpu_call(
	struct cli *cli, const char *method, json_t *parameters, json_t **ret, struct error *err)
{
	struct error said = { 0 };
	enum client_exit exit =
		client_call(cli_value(cli, OPT_SOCKET), method, parameters, ret, &said);

	/* Sentences of dibsd name people by number. */
	if (exit != EXIT_OK) {
		char text[ERROR_TEXT_SIZE];

		people_rename(&cli->people, text, sizeof(text), said.text);
		error_set(err, -EREMOTEIO, said.id, "%s", text);
	}
	return exit;
}

/* --- what there is --- */

/* The indices of its GPUs as texts, or null. */
static json_t *gpu_ids(json_t *lease)
{
	json_t *ids, *gpu;
	size_t i;

	if (lease_waits(lease))
		return json_null();
	ids = json_array();
	json_array_foreach (json_object_get(lease, "gpus"), i, gpu)
		json_array_append_new(
			ids, json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(gpu)));
	return ids;
}

static json_t *share_of(json_t *lease)
{
	json_t *size = json_object_get(lease, "share_mib");

	return json_is_integer(size) ? json_incref(size) : json_null();
}

/* The command; of what has none, what it is. */
static json_t *command_of(json_t *lease)
{
	const char *command = wire_text(lease, "command");

	if (*command)
		return json_string(command);
	return json_sprintf("(%s)", wire_text(lease, "kind"));
}

static json_t *describe(struct people *people, json_t *lease)
{
	char id[MGPU_ID_SIZE];

	mgpu_id(id, wire_int(lease, "id", 0));
	return json_pack("{ss ss sI so so ss so sn}", "id", id, "user",
		people_name(people, wire_int(lease, "uid", -1)), "gpus",
		(json_int_t)wire_int(lease, "count", 0), "mem", share_of(lease), "cmd",
		command_of(lease), "status", lease_waits(lease) ? "queued" : "running", "gpu_ids",
		gpu_ids(lease), "env_setup_cmd");
}

/* An array is shown by its elements. */
static bool runs(json_t *lease)
{
	const char *state = wire_text(lease, "state");

	return !job_is_array(lease) &&
	       (strcmp(state, "active") == 0 || strcmp(state, "grace") == 0);
}

/* A new array; NULL without memory. */
static json_t *describe_all(struct people *people, json_t *leases, bool (*is_one)(json_t *lease))
{
	_cleanup_(json_decrefp) json_t *list = json_array();
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease)
		if (is_one(lease) && json_array_append_new(list, describe(people, lease)) < 0)
			return NULL;
	return TAKE_PTR(list);
}

enum client_exit mgpu_list(
	struct cli *cli, json_t **ret_running, json_t **ret_queue, struct error *err)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *sorted = NULL, *running = NULL,
				       *queue = NULL;
	enum client_exit exit = mgpu_call(cli, "org.dibs.GetStatus", NULL, &reply, err);
	json_t *leases = json_object_get(reply, "leases");

	if (exit != EXIT_OK)
		return exit;
	sorted = lease_queue(leases);
	running = describe_all(&cli->people, leases, runs);
	queue = sorted ? describe_all(&cli->people, sorted, lease_waits) : NULL;
	if (!running || !queue) {
		cli_no_memory(err);
		return EXIT_FAULT;
	}
	*ret_running = TAKE_PTR(running);
	*ret_queue = TAKE_PTR(queue);
	return EXIT_OK;
}

enum client_exit mgpu_end(struct cli *cli, int64_t lease, struct error *err)
{
	_cleanup_(freep) char *id = text_format("%" PRId64, lease);
	_cleanup_(json_decrefp) json_t *reply = NULL, *parameters = json_pack("{ss s[s]}", "action",
							      "cancel", "ids", id ? id : "");

	return mgpu_call(cli, "org.dibs.ControlJobs", parameters, &reply, err);
}
