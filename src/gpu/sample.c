/* SPDX-License-Identifier: MIT */
/*
 * A sample and its line.
 *
 * The line crosses from an unprivileged process into a privileged one, so the two directions are
 * written differently: encoding trusts its own sample, decoding believes nothing. jansson checks
 * the JSON itself (UTF-8, depth, no doubled keys, no NUL, nothing behind it); json_unpack in strict
 * mode refuses unknown and missing keys and wrong types; every number then passes one range check
 * and every text one length check before it reaches the model.
 */
#include "gpu/sample.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"

#define PID_LIMIT 4194304 /* PID_MAX_LIMIT of linux/threads.h */
#define NODE_SIZE sizeof("4095:1048575")

struct sample *sample_new(void)
{
	return calloc(1, sizeof(struct sample));
}

struct sample *sample_free(struct sample *sample)
{
	if (sample)
		sample_clear(sample);
	free(sample);
	return NULL;
}

void sample_clear(struct sample *sample)
{
	for (unsigned i = 0; i < sample->n_gpus; i++)
		free(sample->gpus[i].processes);
	sample->n_gpus = 0;
	sample->error[0] = '\0';
}

struct gpu *sample_add(struct sample *sample)
{
	struct gpu *gpu;

	if (sample->n_gpus == GPU_MAX)
		return NULL;
	gpu = &sample->gpus[sample->n_gpus];
	*gpu = (struct gpu){
		.index = GPU_UNKNOWN,
		.minor = GPU_UNKNOWN,
		.memory_mib = GPU_UNKNOWN,
		.present = true,
		.memory_used_mib = GPU_UNKNOWN,
		.utilization = GPU_UNKNOWN,
		.temperature_c = GPU_UNKNOWN,
		.power_w = GPU_UNKNOWN,
	};
	gpu->link[sample->n_gpus++] = GPU_LINK_INTERNAL;
	return gpu;
}

int sample_add_process(struct gpu *gpu, pid_t pid, int64_t memory_mib)
{
	struct gpu_process *larger;

	if (gpu->n_processes == SAMPLE_PROCESSES_MAX)
		return -ENOSPC;
	/* Grows at the powers of two, so that no allocated size has to be kept. */
	if ((gpu->n_processes & (gpu->n_processes - 1)) == 0) {
		larger = reallocarray(gpu->processes, gpu->n_processes ? gpu->n_processes * 2 : 1,
			sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		gpu->processes = larger;
	}
	gpu->processes[gpu->n_processes++] = (struct gpu_process){
		.pid = pid,
		.memory_mib = memory_mib,
		.uid = (uid_t)-1,
	};
	return 0;
}

int sample_add_node(struct gpu *gpu, uint64_t major, uint64_t minor)
{
	if (major > SAMPLE_MAJOR_MAX || minor > SAMPLE_MINOR_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < gpu->n_nodes; i++)
		if (gpu->nodes[i].major == major && gpu->nodes[i].minor == minor)
			return 0;
	if (gpu->n_nodes == GPU_NODES_MAX)
		return -ENOSPC;
	gpu->nodes[gpu->n_nodes++] = (struct gpu_node){ (uint32_t)major, (uint32_t)minor };
	return 0;
}

int sample_add_node_text(struct gpu *gpu, const char *text)
{
	char copy[NODE_SIZE], *colon;
	uint64_t major, minor;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	text_copy(copy, sizeof(copy), text);
	colon = strchr(copy, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (parse_uint(copy, 0, SAMPLE_MAJOR_MAX, &major) < 0 ||
		parse_uint(colon + 1, 0, SAMPLE_MINOR_MAX, &minor) < 0)
		return -EINVAL;
	return sample_add_node(gpu, major, minor);
}

bool sample_uuid_valid(const char *uuid)
{
	size_t n = strspn(uuid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				"0123456789._:/-");

	return n > 0 && n < GPU_UUID_SIZE && uuid[n] == '\0';
}

static json_t *number(int64_t value)
{
	return value == GPU_UNKNOWN ? json_null() : json_integer(value);
}

static json_t *encode_processes(const struct gpu *gpu)
{
	_cleanup_(json_decrefp) json_t *array = gpu->processes_unknown ? json_null() : json_array();

	for (size_t i = 0; i < gpu->n_processes && !gpu->processes_unknown; i++)
		if (json_array_append_new(
			    array, json_pack("{s:i, s:o, s:s}", "pid", (int)gpu->processes[i].pid,
					   "memory_mib", number(gpu->processes[i].memory_mib),
					   "command", gpu->processes[i].command)) < 0)
			return NULL;
	return TAKE_PTR(array);
}

/* NULL for none: the key is left out. */
static json_t *encode_nodes(const struct gpu *gpu)
{
	json_t *array = gpu->n_nodes > 0 ? json_array() : NULL;

	for (unsigned i = 0; i < gpu->n_nodes; i++) {
		char text[NODE_SIZE];

		snprintf(text, sizeof(text), "%" PRIu32 ":%" PRIu32, gpu->nodes[i].major,
			gpu->nodes[i].minor);
		json_array_append_new(array, json_string(text));
	}
	return array;
}

static json_t *encode_links(const struct gpu *gpu, unsigned n)
{
	_cleanup_(json_decrefp) json_t *array = json_array();

	for (unsigned i = 0; i < n; i++)
		if (json_array_append_new(array,
			    json_string(gpu_link_to_string((enum gpu_link)gpu->link[i]))) < 0)
			return NULL;
	return TAKE_PTR(array);
}

static json_t *encode_gpu(const struct gpu *gpu, unsigned n)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:s*, s:s*, "
			 "s:o*, s:o, s:o}",
		"uuid", gpu->uuid, "model", gpu->model, "pci", gpu->pci, "vendor",
		gpu_vendor_to_string(gpu->vendor), "index", gpu->index, "minor", number(gpu->minor),
		"memory_mib", number(gpu->memory_mib), "memory_used_mib",
		number(gpu->memory_used_mib), "utilization", number(gpu->utilization),
		"temperature_c", number(gpu->temperature_c), "power_w", number(gpu->power_w),
		"fault", gpu->fault[0] ? gpu->fault : NULL, "defect",
		gpu->defect[0] ? gpu->defect : NULL, "nodes", encode_nodes(gpu), "links",
		encode_links(gpu, n), "processes", encode_processes(gpu));
}

char *sample_encode(const struct sample *sample)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	json_t *gpus;

	if (sample->error[0]) {
		root = json_pack("{s:s}", "error", sample->error);
		return root ? json_dumps(root, JSON_COMPACT) : NULL;
	}
	root = json_pack("{s:[]}", "gpus");
	gpus = json_object_get(root, "gpus");
	for (unsigned i = 0; i < sample->n_gpus; i++)
		if (json_array_append_new(gpus, encode_gpu(&sample->gpus[i], sample->n_gpus)) < 0)
			return NULL;
	return root ? json_dumps(root, JSON_COMPACT) : NULL;
}

static int refuse(struct error *err, const char *what)
{
	return error_set(err, -EINVAL, "sensor.bad-line", "the sensor sent a bad line: %s", what);
}

/* The message of jansson quotes the line. */
static int refuse_json(struct error *err, json_error_t *why)
{
	text_sanitize(why->text);
	return refuse(err, why->text);
}

static int decode_number(const json_t *value, int64_t min, int64_t max, int64_t *ret)
{
	if (!json_is_integer(value) || json_integer_value(value) < min ||
		json_integer_value(value) > max)
		return -EINVAL;
	*ret = json_integer_value(value);
	return 0;
}

static int decode_metric(const json_t *value, int64_t max, int64_t *ret)
{
	if (json_is_null(value)) {
		*ret = GPU_UNKNOWN;
		return 0;
	}
	return decode_number(value, 0, max, ret);
}

static int decode_text(const char *value, char *dst, size_t size)
{
	if (strlen(value) >= size)
		return -EINVAL;
	text_copy(dst, size, value);
	text_sanitize(dst);
	return 0;
}

static int decode_processes(const json_t *array, struct gpu *gpu, struct error *err)
{
	size_t i;
	json_t *entry;

	gpu->processes_unknown = json_is_null(array);
	if (gpu->processes_unknown)
		return 0;
	if (!json_is_array(array))
		return refuse(err, "\"processes\" is no array");
	if (json_array_size(array) > SAMPLE_PROCESSES_MAX)
		return refuse(err, "too many processes on one GPU");
	json_array_foreach (array, i, entry) {
		int64_t pid, memory;
		json_t *pid_json, *memory_json;
		const char *command = "";
		struct gpu_process *added;
		json_error_t why;

		if (json_unpack_ex(entry, &why, JSON_STRICT, "{s:o, s:o, s?s}", "pid", &pid_json,
			    "memory_mib", &memory_json, "command", &command) < 0)
			return refuse_json(err, &why);
		if (decode_number(pid_json, 1, PID_LIMIT, &pid) < 0)
			return refuse(err, "\"pid\" is not the number of a process");
		if (decode_metric(memory_json, SAMPLE_MEMORY_MAX, &memory) < 0)
			return refuse(err, "\"memory_mib\" of a process is out of range");
		if (sample_add_process(gpu, (pid_t)pid, memory) < 0)
			return error_set(err, -ENOMEM, "memory", "out of memory");
		added = &gpu->processes[gpu->n_processes - 1];
		text_copy(added->command, sizeof(added->command), command);
		text_sanitize(added->command);
	}
	return 0;
}

static int decode_links(const json_t *array, unsigned n, struct gpu *gpu, struct error *err)
{
	size_t i;
	json_t *entry;

	if (!json_is_array(array) || json_array_size(array) != n)
		return refuse(err, "\"links\" has not one entry for each GPU");
	json_array_foreach (array, i, entry) {
		const char *name = json_string_value(entry);
		enum gpu_link link = name ? gpu_link_from_string(name) : GPU_LINK_INVALID;

		if (link == GPU_LINK_INVALID)
			return refuse(err, "\"links\" has an unknown link");
		gpu->link[i] = (uint8_t)link;
	}
	return 0;
}

/* array may be NULL: a GPU need not tell its nodes. */
static int decode_nodes(const json_t *array, struct gpu *gpu, struct error *err)
{
	size_t i;
	json_t *entry;

	if (array && !json_is_array(array))
		return refuse(err, "\"nodes\" is no array");
	if (json_array_size(array) > GPU_NODES_MAX)
		return refuse(err, "too many nodes of one GPU");
	json_array_foreach (array, i, entry) {
		const char *text = json_string_value(entry);

		if (!text || sample_add_node_text(gpu, text) < 0)
			return refuse(err, "\"nodes\" has one that is not MAJOR:MINOR");
		if (gpu->n_nodes != i + 1)
			return refuse(err, "\"nodes\" has one twice");
	}
	return 0;
}

struct texts {
	/* borrowed from the JSON; fault and defect may be NULL */
	const char *uuid, *model, *pci, *vendor, *fault, *defect;
};

static int decode_texts(const struct texts *texts, struct gpu *gpu, struct error *err)
{
	if (!sample_uuid_valid(texts->uuid))
		return refuse(err, "\"uuid\" is not that of a GPU");
	text_copy(gpu->uuid, sizeof(gpu->uuid), texts->uuid);
	if (decode_text(texts->model, gpu->model, sizeof(gpu->model)) < 0)
		return refuse(err, "\"model\" is too long");
	if (decode_text(texts->pci, gpu->pci, sizeof(gpu->pci)) < 0)
		return refuse(err, "\"pci\" is too long");
	gpu->vendor = gpu_vendor_from_string(texts->vendor);
	if (gpu->vendor == GPU_VENDOR_INVALID)
		return refuse(err, "\"vendor\" is unknown");
	if (texts->fault &&
		(!texts->fault[0] || decode_text(texts->fault, gpu->fault, sizeof(gpu->fault)) < 0))
		return refuse(err, "\"fault\" is empty or too long");
	if (texts->defect && (!texts->defect[0] || decode_text(texts->defect, gpu->defect,
							   sizeof(gpu->defect)) < 0))
		return refuse(err, "\"defect\" is empty or too long");
	return 0;
}

enum metric {
	INDEX,
	MINOR,
	MEMORY,
	MEMORY_USED,
	UTILIZATION,
	TEMPERATURE,
	POWER,
	METRICS,
};

static const struct {
	const char *key;
	int64_t max;
} metrics[METRICS] = {
	[INDEX] = { "index", SAMPLE_INDEX_MAX },
	[MINOR] = { "minor", SAMPLE_MINOR_MAX },
	[MEMORY] = { "memory_mib", SAMPLE_MEMORY_MAX },
	[MEMORY_USED] = { "memory_used_mib", SAMPLE_MEMORY_MAX },
	[UTILIZATION] = { "utilization", 100 },
	[TEMPERATURE] = { "temperature_c", SAMPLE_TEMPERATURE_MAX },
	[POWER] = { "power_w", SAMPLE_POWER_MAX },
};

static int decode_metrics(json_t *const json[METRICS], struct gpu *gpu, struct error *err)
{
	int64_t value[METRICS];

	for (int i = 0; i < METRICS; i++)
		if (decode_metric(json[i], metrics[i].max, &value[i]) < 0 ||
			(i == INDEX && value[i] == GPU_UNKNOWN))
			return error_set(err, -EINVAL, "sensor.bad-line",
				"the sensor sent a bad line: \"%s\" is out of range",
				metrics[i].key);
	gpu->index = (int)value[INDEX];
	gpu->minor = (int)value[MINOR];
	gpu->memory_mib = value[MEMORY];
	gpu->memory_used_mib = value[MEMORY_USED];
	gpu->utilization = (int)value[UTILIZATION];
	gpu->temperature_c = (int)value[TEMPERATURE];
	gpu->power_w = (int)value[POWER];
	return 0;
}

static int decode_gpu(json_t *json, unsigned n, struct gpu *gpu, struct error *err)
{
	struct texts texts = { 0 };
	json_t *metric[METRICS], *links, *processes, *nodes = NULL;
	json_error_t why;
	int r;

	if (json_unpack_ex(json, &why, JSON_STRICT,
		    "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s?s, s?s, s?o, s:o, "
		    "s:o}",
		    "uuid", &texts.uuid, "model", &texts.model, "pci", &texts.pci, "vendor",
		    &texts.vendor, metrics[INDEX].key, &metric[INDEX], metrics[MINOR].key,
		    &metric[MINOR], metrics[MEMORY].key, &metric[MEMORY], metrics[MEMORY_USED].key,
		    &metric[MEMORY_USED], metrics[UTILIZATION].key, &metric[UTILIZATION],
		    metrics[TEMPERATURE].key, &metric[TEMPERATURE], metrics[POWER].key,
		    &metric[POWER], "fault", &texts.fault, "defect", &texts.defect, "nodes", &nodes,
		    "links", &links, "processes", &processes) < 0)
		return refuse_json(err, &why);
	r = decode_texts(&texts, gpu, err);
	if (r >= 0)
		r = decode_metrics(metric, gpu, err);
	if (r >= 0)
		r = decode_nodes(nodes, gpu, err);
	if (r >= 0)
		r = decode_links(links, n, gpu, err);
	if (r >= 0)
		r = decode_processes(processes, gpu, err);
	return r;
}

static int decode_gpus(const json_t *array, struct sample *sample, struct error *err)
{
	size_t i;
	json_t *entry;

	if (!json_is_array(array))
		return refuse(err, "\"gpus\" is no array");
	if (json_array_size(array) > GPU_MAX)
		return refuse(err, "too many GPUs");
	json_array_foreach (array, i, entry) {
		struct gpu *gpu = sample_add(sample);
		int r = decode_gpu(entry, (unsigned)json_array_size(array), gpu, err);

		if (r < 0)
			return r;
		for (size_t other = 0; other < i; other++)
			if (sample->gpus[other].index == gpu->index ||
				strcmp(sample->gpus[other].uuid, gpu->uuid) == 0)
				return refuse(err, "two GPUs have one UUID or index");
	}
	return 0;
}

static int decode(const char *line, size_t size, struct sample *sample, struct error *err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	json_t *gpus = NULL;
	const char *text = NULL;
	json_error_t why;

	if (size > SAMPLE_LINE_MAX)
		return refuse(err, "too long");
	root = json_loadb(line, size, JSON_REJECT_DUPLICATES, &why);
	if (!root || json_unpack_ex(root, &why, JSON_STRICT, "{s?s, s?o}", "error", &text, "gpus",
			     &gpus) < 0)
		return refuse_json(err, &why);
	if (!text == !gpus)
		return refuse(err, "it has to have either \"gpus\" or \"error\"");
	if (gpus)
		return decode_gpus(gpus, sample, err);
	if (!text[0] || decode_text(text, sample->error, sizeof(sample->error)) < 0)
		return refuse(err, "\"error\" is empty or too long");
	return 0;
}

int sample_decode(const char *line, size_t size, struct sample *ret, struct error *err)
{
	int r;

	sample_clear(ret);
	r = decode(line, size, ret, err);
	if (r < 0)
		sample_clear(ret);
	return r;
}
