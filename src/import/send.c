/* SPDX-License-Identifier: MIT */
#include "import/send.h"

#include <inttypes.h>
#include <string.h>

#include "cli/public.h"

#define RECORDS_A_CALL 500

static json_t *make_gpus(const struct gpu_set *gpus)
{
	json_t *array = json_array();

	gpu_set_foreach (i, gpus)
		json_array_append_new(array, json_integer(i));
	return array;
}

/* Owned by the caller; NULL without memory. */
static json_t *make_record(const struct plan_record *record, bool active)
{
	char origin[ORIGIN_SIZE];

	plan_origin(origin, record);
	return json_pack("{ss ss sI so sI sI sb ss?}", "origin", origin, "kind",
		lease_kind_to_string(record->kind), "uid", (json_int_t)record->uid, "gpus",
		make_gpus(&record->gpus), "since", (json_int_t)record->since_us, "until",
		(json_int_t)record->until_us, "active", (int)active, "note", record->note);
}

/* The one whose origin a sentence of dibsd begins with, and *ret_rest, what it says of it; or NULL.
 */
static const struct plan_record *find_record(
	const struct plan_record *records, size_t n, const char *sentence, const char **ret_rest)
{
	for (size_t i = 0; i < n; i++) {
		char origin[ORIGIN_SIZE];
		size_t length;

		plan_origin(origin, &records[i]);
		length = strlen(origin);
		if (strncmp(sentence, origin, length) != 0 ||
			strncmp(sentence + length, ": ", 2) != 0)
			continue;
		*ret_rest = sentence + length + 2;
		return &records[i];
	}
	return NULL;
}

/* An origin is not for people. Instead it is said of a hold who has what; of the history nothing,
 * so that the same reason is told once. */
static void take_skipped(struct cli *cli, struct plan *plan, const struct plan_record *records,
	size_t n, bool active, json_t *reply)
{
	json_t *sentence;
	size_t i;

	json_array_foreach (json_object_get(reply, "skipped"), i, sentence) {
		const char *rest = json_is_string(sentence) ? json_string_value(sentence) : "";
		const struct plan_record *record = find_record(records, n, rest, &rest);
		char text[512], gpus[INDICES_SIZE];

		people_rename(&cli->people, text, sizeof(text), rest);
		if (!record || !active) {
			reasons_add(&plan->skipped, "a record of the history: %s", text);
			continue;
		}
		plan_indices(gpus, sizeof(gpus), &record->gpus);
		reasons_add(&plan->skipped, "the hold of %s, GPU %s: %s", record->user, gpus, text);
	}
}

static enum client_exit send_page(struct cli *cli, struct plan *plan,
	const struct plan_record *records, size_t n, bool active, int64_t *imported, int64_t *known)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	json_t *array = json_array();
	enum client_exit exit;

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(array, make_record(&records[i], active)) < 0) {
			json_decref(array);
			return complain(EXIT_FAULT, "out of memory");
		}
	parameters = json_pack("{so}", "records", array);
	if (!parameters)
		return complain(EXIT_FAULT, "out of memory");
	exit = cli_call(cli, "org.dibs.Import", parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	*imported += wire_int(reply, "imported", 0);
	*known += wire_int(reply, "known", 0);
	take_skipped(cli, plan, records, n, active, reply);
	return EXIT_OK;
}

static enum client_exit send_records(struct cli *cli, struct plan *plan,
	const struct plan_records *records, bool active, int64_t *imported, int64_t *known)
{
	enum client_exit exit = EXIT_OK;

	for (size_t i = 0; exit == EXIT_OK && i < records->n; i += RECORDS_A_CALL)
		exit = send_page(cli, plan, records->items + i, MIN(records->n - i, RECORDS_A_CALL),
			active, imported, known);
	return exit;
}

enum client_exit send_plan(struct cli *cli, struct plan *plan, struct sent *ret)
{
	enum client_exit exit;

	*ret = (struct sent){ 0 };
	exit = send_records(cli, plan, &plan->holds, true, &ret->holds, &ret->known);
	if (exit == EXIT_OK)
		exit = send_records(cli, plan, &plan->history, false, &ret->history, &ret->known);
	return exit;
}

static void add_pids(json_t *gpu, int64_t uid, char *dst, size_t *n)
{
	json_t *process;
	size_t i;

	json_array_foreach (json_object_get(gpu, "processes"), i, process)
		if (wire_int(process, "uid", -1) == uid && *n < PIDS_SIZE - 24)
			*n += (size_t)snprintf(dst + *n, PIDS_SIZE - *n, "%s%" PRId64,
				*n ? " " : "", wire_int(process, "pid", 0));
}

void send_ask_pids(struct cli *cli, const struct plan_record *run, char dst[PIDS_SIZE])
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	json_t *gpu;
	size_t n = 0, i;

	*dst = '\0';
	if (client_call(cli_value(cli, OPT_SOCKET), "org.dibs.GetStatus", NULL, &reply, NULL) ==
		EXIT_OK)
		json_array_foreach (json_object_get(reply, "gpus"), i, gpu) {
			int64_t index = wire_int(gpu, "index", -1);

			if (index >= 0 && index < GPU_MAX &&
				gpu_set_has(&run->gpus, (unsigned)index))
				add_pids(gpu, run->uid, dst, &n);
		}
	if (n == 0)
		memcpy(dst, "PID", sizeof("PID"));
}
