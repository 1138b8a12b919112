/* SPDX-License-Identifier: MIT */
#include "cli/job.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/public.h"
#include "model/indices.h"

#define PENDING_SHOWN 20 /* bytes of a list of indices */

json_t *job_of(json_t *lease)
{
	json_t *job = json_object_get(lease, "job");

	return json_is_object(job) ? job : NULL;
}

bool job_is_array(json_t *lease)
{
	return json_is_integer(json_object_get(job_of(lease), "active"));
}

void job_number(char dst[JOB_NUMBER_SIZE], json_t *lease)
{
	json_t *job = job_of(lease);
	int64_t array = wire_int(job, "array", 0);

	if (array)
		snprintf(dst, JOB_NUMBER_SIZE, "%" PRId64 ".%" PRId64, array,
			wire_int(job, "index", 0));
	else
		snprintf(dst, JOB_NUMBER_SIZE, "%" PRId64, wire_int(lease, "id", 0));
}

/* A long list is cut behind a comma. */
void job_number_waiting(char dst[JOB_NUMBER_SIZE], json_t *lease)
{
	const char *pending = wire_text(job_of(lease), "pending");
	int n = (int)strlen(pending);

	if (!*pending) {
		job_number(dst, lease);
		return;
	}
	if (n > PENDING_SHOWN)
		for (n = PENDING_SHOWN; n > 0 && pending[n - 1] != ',';)
			n--;
	snprintf(dst, JOB_NUMBER_SIZE, "%" PRId64 ".[%.*s%s]", wire_int(lease, "id", 0), n, pending,
		pending[n] ? "..." : "");
}

int job_parse(const char *text, int64_t *ret_id, int64_t *ret_index, struct error *err)
{
	const char *number = text + (*text == '#'), *dot = strchr(number, '.');
	uint64_t id, index = 0;
	char first[32];

	text_copy(first, sizeof(first), number);
	if (dot && (size_t)(dot - number) < sizeof(first))
		first[dot - number] = '\0';
	if (parse_uint(first, 1, INT64_MAX, &id) < 0 ||
		(dot && parse_uint(dot + 1, 0, INDICES_INDEX_MAX, &index) < 0))
		return error_set(err, -EINVAL, "usage.id",
			"'%s' is not the number of a lease; 'dibs list' shows yours", text);
	*ret_id = (int64_t)id;
	*ret_index = dot ? (int64_t)index : -1;
	return 0;
}

/* A thousand words are a matter of course, so what was there before is known by key. */
json_t *job_parse_all(const char *const *words, struct error *err)
{
	_cleanup_(json_decrefp) json_t *ids = json_array(), *known = json_object();
	int64_t id, index;

	for (; *words; words++) {
		char text[JOB_NUMBER_SIZE];
		int n;

		if (job_parse(*words, &id, &index, err) < 0)
			return NULL;
		n = snprintf(text, sizeof(text), "%" PRId64, id);
		if (index >= 0)
			snprintf(text + n, sizeof(text) - (size_t)n, ".%" PRId64, index);
		if (json_object_get(known, text))
			continue;
		if (json_object_set_new(known, text, json_true()) < 0 ||
			json_array_append_new(ids, json_string(text)) < 0) {
			cli_no_memory(err);
			return NULL;
		}
	}
	return TAKE_PTR(ids);
}

enum client_exit job_show(struct cli *cli, int64_t id, int64_t index, json_t **ret)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack("{sI}", "id", (json_int_t)id);

	if (index >= 0)
		json_object_set_new(parameters, "index", json_integer(index));
	return cli_call(cli, "org.dibs.Show", parameters, ret);
}

bool job_has_started(json_t *lease, int64_t index)
{
	return index < 0 || !job_is_array(lease);
}

enum client_exit job_find(struct cli *cli, const char *text, int64_t *ret_id)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	struct error err = { 0 };
	enum client_exit exit;
	int64_t id, index;
	json_t *lease;

	if (job_parse(text, &id, &index, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	if (index < 0) {
		*ret_id = id;
		return EXIT_OK;
	}
	exit = job_show(cli, id, index, &reply);
	if (exit != EXIT_OK)
		return exit;
	lease = json_object_get(reply, "lease");
	if (!job_has_started(lease, index))
		return complain(EXIT_NOT_FREE,
			"#%" PRId64 ".%" PRId64 " has not started yet; try 'dibs cancel'", id,
			index);
	*ret_id = wire_int(lease, "id", 0);
	return EXIT_OK;
}

static void put_running(struct cell *cell, json_t *lease)
{
	json_t *job = job_of(lease);

	if (job_is_array(lease))
		cell_printf(cell, "%" PRId64 " running", wire_int(job, "active", 0));
	else
		cell_printf(cell, "running%s", wire_int(job, "restarts", 0) ? " again" : "");
	cell->style = STYLE_GOOD;
}

void job_put_state(struct cell *cell, const struct view *view, json_t *lease)
{
	const char *state = wire_text(lease, "state");

	if (strcmp(state, "active") == 0) {
		put_running(cell, lease);
	} else if (strcmp(state, "grace") == 0) {
		cell_printf(cell, "told to end");
		cell->style = STYLE_WARN;
	} else {
		cell_printf(cell, "%s",
			json_is_true(json_object_get(job_of(lease), "suspended")) ? "suspended"
										  : state);
	}
}

void job_put_blocked(struct cell *cell, struct people *people, json_t *lease)
{
	static const char *const beginnings[] = { "it is ", "it " };
	char text[256], *rest = text;

	people_rename(people, text, sizeof(text), wire_text(job_of(lease), "blocked"));
	for (size_t i = 0; i < ELEMENTSOF(beginnings) && rest == text; i++)
		if (strncmp(text, beginnings[i], strlen(beginnings[i])) == 0)
			rest += strlen(beginnings[i]);
	cell_printf(cell, "%s", rest);
}

void job_put_end(struct cell *cell, struct people *people, json_t *lease)
{
	json_t *job = job_of(lease);
	int64_t number = wire_int(job, "exit_signal", 0), status = wire_int(job, "exit_status", -1);
	char text[SIGNAL_TEXT_SIZE], reason[512];

	if (job_is_array(lease)) {
		cell_printf(cell, "%" PRId64 " ok, %" PRId64 " failed", wire_int(job, "ok", 0),
			wire_int(job, "failed", 0));
	} else if (number) {
		signal_text(text, (int)number);
		cell_printf(cell, "signal %s", text);
	} else if (status >= 0) {
		cell_printf(cell, "exit status %" PRId64, status);
	}
	people_rename(people, reason, sizeof(reason), wire_text(job, "reason"));
	if (*reason)
		cell_printf(cell, "%s%s", *cell->text ? ": " : "", reason);
}

void job_put_size(struct cell *cell, int64_t mib)
{
	if (mib % 1024 == 0)
		cell_printf(cell, "%" PRId64 "G", mib / 1024);
	else
		cell_printf(cell, "%" PRId64 "M", mib);
}

int job_exit_code(json_t *lease)
{
	json_t *job = job_of(lease);
	int64_t number = wire_int(job, "exit_signal", 0), status = wire_int(job, "exit_status", -1);

	if (!job)
		return 0;
	if (job_is_array(lease) && wire_int(job, "failed", 0) > 0)
		return 1;
	if (job_is_array(lease) && strcmp(wire_text(lease, "end"), "exited") == 0)
		return 0;
	if (number > 0 && number < 128)
		return 128 + (int)number;
	return status >= 0 && status < 256 ? (int)status : JOB_EXIT_NONE;
}

void signal_text(char dst[SIGNAL_TEXT_SIZE], int number)
{
	const char *name = sigabbrev_np(number);

	snprintf(dst, SIGNAL_TEXT_SIZE, "%d%s%s%s", number, name ? " (" : "", name ? name : "",
		name ? ")" : "");
}
