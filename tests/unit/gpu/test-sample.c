/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tap.h"
#include "base/text.h"
#include "gpu/sample.h"

#define GPU_HEAD(uuid, index)                                                           \
	"{\"uuid\":\"" uuid                                                             \
	"\",\"model\":\"M\",\"pci\":\"0:1:0.0\",\"vendor\":\"nvidia\",\"index\":" index \
	",\"minor\":null,\"memory_mib\":1,\"memory_used_mib\":null,\"utilization\":0,"  \
	"\"temperature_c\":30,\"power_w\":60,"
#define LINE(gpu) "{\"gpus\":[" gpu "]}"
#define GOOD      LINE(GPU_HEAD("GPU-1", "0") "\"links\":[\"internal\"],\"processes\":[]}")

static int decode(const char *line)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	struct error err = { 0 };
	int r = sample_decode(line, strlen(line), sample, &err);

	/* Refused as a whole, and with a sentence that may be shown. */
	if (r < 0) {
		char copy[ERROR_TEXT_SIZE];

		CHECK_INT(sample->n_gpus, 0);
		CHECK(sample->error[0] == '\0');
		CHECK(err.text[0] != '\0');
		text_copy(copy, sizeof(copy), err.text);
		text_sanitize(copy);
		CHECK_STR(err.text, copy);
	}
	return r;
}

static struct gpu *add(struct sample *sample, const char *uuid)
{
	struct gpu *gpu = sample_add(sample);

	text_copy(gpu->uuid, sizeof(gpu->uuid), uuid);
	text_copy(gpu->model, sizeof(gpu->model), "NVIDIA \xc3\x84 80GB");
	text_copy(gpu->pci, sizeof(gpu->pci), "00000000:3b:00.0");
	gpu->vendor = GPU_AMD;
	gpu->index = (int)sample->n_gpus - 1;
	return gpu;
}

static void survives_the_line(void)
{
	_cleanup_(sample_freep) struct sample *before = sample_new(), *after = sample_new();
	_cleanup_(freep) char *line = NULL, *again = NULL;
	struct gpu *gpu = add(before, "GPU-1"), *other = add(before, "GPU-2");

	gpu->minor = 7;
	gpu->memory_mib = 81920;
	gpu->memory_used_mib = 3;
	gpu->utilization = 100;
	gpu->temperature_c = 0;
	gpu->power_w = 700;
	gpu->link[1] = other->link[0] = GPU_LINK_NVLINK;
	text_copy(other->fault, sizeof(other->fault), "XID 79");
	text_copy(other->defect, sizeof(other->defect), "reset it");
	CHECK_INT(sample_add_node(other, 195, 7), 0);
	CHECK_INT(sample_add_node_text(other, "4095:1048575"), 0);
	gpu->processes_unknown = true;
	CHECK_INT(sample_add_process(other, 4711, 512), 0);
	CHECK_INT(sample_add_process(other, 4712, GPU_UNKNOWN), 0);
	text_copy(other->processes[0].command, sizeof(other->processes[0].command), "python x.py");
	line = sample_encode(before);
	CHECK_INT(sample_decode(line, strlen(line), after, NULL), 0);
	CHECK_STR(after->gpus[1].processes[0].command, "python x.py");
	CHECK_INT(after->n_gpus, 2);
	CHECK_STR(after->gpus[0].model, "NVIDIA \xc3\x84 80GB");
	CHECK_INT(after->gpus[0].vendor, GPU_AMD);
	CHECK_INT(after->gpus[0].utilization, 100);
	CHECK_INT(after->gpus[0].temperature_c, 0);
	CHECK_INT(after->gpus[1].power_w, GPU_UNKNOWN);
	CHECK(after->gpus[1].present);
	CHECK_STR(after->gpus[1].fault, "XID 79");
	CHECK_STR(after->gpus[1].defect, "reset it");
	CHECK_STR(after->gpus[0].defect, "");
	CHECK_INT(after->gpus[0].n_nodes, 0);
	CHECK_INT(after->gpus[1].n_nodes, 2);
	CHECK_INT(after->gpus[1].nodes[0].major, 195);
	CHECK_INT(after->gpus[1].nodes[1].minor, 1048575);
	CHECK(after->gpus[0].processes_unknown);
	CHECK(!after->gpus[1].processes_unknown);
	CHECK_INT(after->gpus[1].n_processes, 2);
	CHECK_INT(after->gpus[1].processes[1].memory_mib, GPU_UNKNOWN);
	CHECK_INT(after->gpus[1].link[0], GPU_LINK_NVLINK);
	again = sample_encode(after);
	CHECK_STR(again, line);
}

static void an_error_survives_the_line(void)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	_cleanup_(freep) char *line = NULL;

	text_copy(sample->error, sizeof(sample->error), "no \"driver\"");
	line = sample_encode(sample);
	CHECK_STR(line, "{\"error\":\"no \\\"driver\\\"\"}");
	add(sample, "GPU-1");
	CHECK_INT(sample_decode(line, strlen(line), sample, NULL), 0);
	CHECK_STR(sample->error, "no \"driver\"");
	CHECK_INT(sample->n_gpus, 0);
}

static void the_fullest_sample_fits(void)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	_cleanup_(freep) char *line = NULL;

	for (int i = 0; i < GPU_MAX; i++) {
		char uuid[32];

		snprintf(uuid, sizeof(uuid), "GPU-%d", i);
		sample_add_process(add(sample, uuid), 4711, 1);
	}
	CHECK(!sample_add(sample));
	line = sample_encode(sample);
	CHECK(strlen(line) < SAMPLE_LINE_MAX);
	CHECK_INT(sample_decode(line, strlen(line), sample, NULL), 0);
	CHECK_INT(sample->n_gpus, GPU_MAX);
}

static void nodes_are_devices(void)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	struct gpu *gpu = add(sample, "GPU-1");
	static const char *const bad[] = { "", ":", "195", "195:", ":0", "195:0:0", "195:-1",
		" 195:0", "195: 0", "195:0\n", "0x1:0", "4096:0", "0:1048576",
		"1:18446744073709551616", "0000000000000:0" };

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		CHECK_INT(sample_add_node_text(gpu, bad[i]), -EINVAL);
	CHECK_INT(sample_add_node(gpu, SAMPLE_MAJOR_MAX + 1, 0), -EINVAL);
	CHECK_INT(sample_add_node(gpu, 0, SAMPLE_MINOR_MAX + 1), -EINVAL);
	for (unsigned i = 0; i < GPU_NODES_MAX; i++)
		CHECK_INT(sample_add_node(gpu, 195, i), 0);
	CHECK_INT(sample_add_node(gpu, 195, 0), 0);
	CHECK_INT(sample_add_node(gpu, 195, GPU_NODES_MAX), -ENOSPC);
	CHECK_INT(gpu->n_nodes, GPU_NODES_MAX);
}

static void processes_have_a_limit(void)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	struct gpu *gpu = add(sample, "GPU-1");

	for (int i = 0; i < SAMPLE_PROCESSES_MAX; i++)
		if (sample_add_process(gpu, i + 1, 0) < 0)
			CHECK(false);
	CHECK_INT(sample_add_process(gpu, 1, 0), -ENOSPC);
	CHECK_INT(gpu->processes[SAMPLE_PROCESSES_MAX - 1].pid, SAMPLE_PROCESSES_MAX);
}

static void texts_are_made_harmless(void)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	static const char line[] =
		"{\"gpus\":[{\"uuid\":\"GPU-1\",\"model\":\"\\u001b[31mA\\u202e\",\"pci\":\"\\n\","
		"\"vendor\":\"amd\","
		"\"index\":0,\"minor\":1,\"memory_mib\":1,\"memory_used_mib\":0,\"utilization\":0,"
		"\"temperature_c\":0,"
		"\"power_w\":0,\"fault\":\"a\\tb\",\"links\":[\"internal\"],\"processes\":[]}]}";

	CHECK_INT(sample_decode(line, strlen(line), sample, NULL), 0);
	CHECK_STR(sample->gpus[0].model, "?[31mA?");
	CHECK_STR(sample->gpus[0].pci, "?");
	CHECK_STR(sample->gpus[0].fault, "a?b");
}

static void refuses_what_is_no_sample(void)
{
	static const char *const lines[] = {
		"",
		"{",
		"[]",
		"null",
		"{}",
		"{\"gpus\":{}}",
		"{\"gpus\":null}",
		"{\"gpus\":[1]}",
		"{\"gpus\":[{}]}",
		"{\"error\":\"\"}",
		"{\"error\":7}",
		"{\"error\":\"a\\u0000b\"}",
		"{\"error\":\"\xff\"}",
		"{\"error\":\"a\",\"gpus\":[]}",
		"{\"error\":\"a\",\"error\":\"b\"}",
		"{\"gpus\":[],\"more\":1}",
		"{\"gpus\":[],\"\\u001b[2J\":1}",
		GOOD "x",
		GOOD GOOD,
	};

	CHECK_INT(decode(GOOD), 0);
	CHECK_INT(decode("{\"gpus\":[]}"), 0);
	for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
		CHECK_INT(decode(lines[i]), -EINVAL);
		if (tap_failed_now)
			printf("# line: %s\n", lines[i]);
	}
}

/* Replaces what in the good line and decodes that. */
static int decode_with(const char *what, const char *by)
{
	const char *at = strstr(GOOD, what);
	_cleanup_(freep) char *line = NULL;

	CHECK(at != NULL);
	line = text_format("%.*s%s%s", (int)(at - GOOD), GOOD, by, at + strlen(what));
	return decode(line);
}

static void refuses_values_out_of_range(void)
{
	static const char *const bad[][2] = {
		{ "GPU-1", "" },
		{ "GPU-1", "GPU 1" },
		{ "GPU-1", "GPU-1,GPU-2" },
		{ "GPU-1", "GPU-\xc3\xa4" },
		{ "GPU-1", "GPU-1\\n" },
		{ "GPU-1", "$(id)" },
		{ "\"nvidia\"", "\"matrox\"" },
		{ "\"nvidia\"", "null" },
		{ "\"index\":0", "\"index\":-1" },
		{ "\"index\":0", "\"index\":10000" },
		{ "\"index\":0", "\"index\":null" },
		{ "\"index\":0", "\"index\":0.0" },
		{ "\"index\":0", "\"index\":\"0\"" },
		{ "\"index\":0", "\"index\":true" },
		{ "\"index\":0", "\"index\":99999999999999999999" },
		{ "\"minor\":null", "\"minor\":-1" },
		{ "\"minor\":null", "\"minor\":1048576" },
		{ "\"memory_mib\":1", "\"memory_mib\":-5" },
		{ "\"memory_mib\":1", "\"memory_mib\":9223372036854775807" },
		{ "\"memory_used_mib\":null", "\"memory_used_mib\":-1" },
		{ "\"utilization\":0", "\"utilization\":101" },
		{ "\"temperature_c\":30", "\"temperature_c\":251" },
		{ "\"power_w\":60", "\"power_w\":10001" },
		{ "\"power_w\":60", "\"power_w\":60,\"power_w\":60" },
		{ "\"power_w\":60", "\"power_w\":60,\"extra\":60" },
		{ "\"power_w\":60,", "" },
		{ "\"power_w\":60", "\"power_w\":60,\"fault\":\"\"" },
		{ "\"power_w\":60", "\"power_w\":60,\"fault\":null" },
		{ "\"power_w\":60", "\"power_w\":60,\"defect\":\"\"" },
		{ "\"power_w\":60", "\"power_w\":60,\"defect\":null" },
		{ "\"power_w\":60", "\"power_w\":60,\"nodes\":null" },
		{ "\"power_w\":60", "\"power_w\":60,\"nodes\":\"195:0\"" },
		{ "\"power_w\":60", "\"power_w\":60,\"nodes\":[195]" },
		{ "\"power_w\":60", "\"power_w\":60,\"nodes\":[\"195\"]" },
		{ "\"power_w\":60", "\"power_w\":60,\"nodes\":[\"4096:0\"]" },
		{ "\"power_w\":60", "\"power_w\":60,\"nodes\":[\"195:0\",\"195:0\"]" },
		{ "\"power_w\":60",
			"\"power_w\":60,\"nodes\":[\"1:0\",\"1:1\",\"1:2\",\"1:3\",\"1:4\","
			"\"1:5\",\"1:6\",\"1:7\",\"1:8\"]" },
		{ "[\"internal\"]", "[]" },
		{ "[\"internal\"]", "[\"internal\",\"node\"]" },
		{ "[\"internal\"]", "[\"telepathy\"]" },
		{ "[\"internal\"]", "[6]" },
		{ "[\"internal\"]", "\"internal\"" },
		{ "\"processes\":[]", "\"processes\":{}" },
		{ "\"processes\":[]", "\"processes\":0" },
		{ "\"processes\":[]", "\"processes\":[7]" },
		{ "\"processes\":[]", "\"processes\":[{\"pid\":1}]" },
		{ "\"processes\":[]", "\"processes\":[{\"pid\":0,\"memory_mib\":1}]" },
		{ "\"processes\":[]", "\"processes\":[{\"pid\":-1,\"memory_mib\":1}]" },
		{ "\"processes\":[]", "\"processes\":[{\"pid\":4194305,\"memory_mib\":1}]" },
		{ "\"processes\":[]", "\"processes\":[{\"pid\":1,\"memory_mib\":-1}]" },
		{ "\"processes\":[]", "\"processes\":[{\"pid\":1,\"memory_mib\":1,\"uid\":0}]" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CHECK_INT(decode_with(bad[i][0], bad[i][1]), -EINVAL);
		if (tap_failed_now)
			printf("# %s -> %s\n", bad[i][0], bad[i][1]);
	}
	CHECK_INT(decode_with("\"processes\":[]",
			  "\"processes\":[{\"pid\":4194304,\"memory_mib\":null}]"),
		0);
	CHECK_INT(decode_with("\"power_w\":60", "\"power_w\":60,\"fault\":\"XID 79\""), 0);
	CHECK_INT(decode_with("\"power_w\":60", "\"power_w\":60,\"defect\":\"fan\""), 0);
	CHECK_INT(decode_with("\"power_w\":60", "\"power_w\":60,\"nodes\":[]"), 0);
	CHECK_INT(decode_with("\"power_w\":60", "\"power_w\":60,\"nodes\":[\"4095:0\"]"), 0);
	CHECK_INT(decode_with("\"processes\":[]", "\"processes\":null"), 0);
	CHECK_INT(decode_with("\"index\":0", "\"index\":9999"), 0);
}

/* s of n times c, in double quotes. */
static char *quoted(size_t n, char c)
{
	char *s = malloc(n + 3);

	s[0] = s[n + 1] = '"';
	memset(s + 1, c, n);
	s[n + 2] = '\0';
	return s;
}

static void refuses_texts_that_are_too_long(void)
{
	_cleanup_(freep) char *uuid = quoted(GPU_UUID_SIZE, 'U'),
			      *uuid_fits = quoted(GPU_UUID_SIZE - 1, 'U'),
			      *model = quoted(GPU_MODEL_SIZE, 'M'),
			      *pci = quoted(GPU_PCI_SIZE, '0'),
			      *fault = quoted(GPU_REASON_SIZE, 'f');
	_cleanup_(freep) char *with_defect = text_format("\"power_w\":60,\"defect\":%s", fault),
			      *with_fault = text_format("\"power_w\":60,\"fault\":%s", fault),
			      *error = text_format("{\"error\":%s}", fault);

	CHECK_INT(decode_with("\"GPU-1\"", uuid), -EINVAL);
	CHECK_INT(decode_with("\"GPU-1\"", uuid_fits), 0);
	CHECK_INT(decode_with("\"M\"", model), -EINVAL);
	CHECK_INT(decode_with("\"0:1:0.0\"", pci), -EINVAL);
	CHECK_INT(decode_with("\"power_w\":60", with_fault), -EINVAL);
	CHECK_INT(decode_with("\"power_w\":60", with_defect), -EINVAL);
	CHECK_INT(decode(error), -EINVAL);
}

static void refuses_twins(void)
{
#define TWO_LINKS "\"links\":[\"internal\",\"node\"],\"processes\":[]}"
	CHECK_INT(decode(LINE(GPU_HEAD("A", "0") TWO_LINKS "," GPU_HEAD("B", "1") TWO_LINKS)), 0);
	CHECK_INT(decode(LINE(GPU_HEAD("A", "0") TWO_LINKS "," GPU_HEAD("A", "1") TWO_LINKS)),
		-EINVAL);
	CHECK_INT(decode(LINE(GPU_HEAD("A", "1") TWO_LINKS "," GPU_HEAD("B", "1") TWO_LINKS)),
		-EINVAL);
}

static void refuses_too_much(void)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	size_t size = SAMPLE_LINE_MAX + 1, n = 0;
	_cleanup_(freep) char *line = malloc(size + 1);

	memset(line, ' ', size);
	memcpy(line, "{\"gpus\":[]}", 11);
	CHECK_INT(sample_decode(line, size - 1, sample, NULL), 0);
	CHECK_INT(sample_decode(line, size, sample, NULL), -EINVAL);

	memset(line, '[', size - 1);
	CHECK_INT(sample_decode(line, size - 1, sample, NULL), -EINVAL);

	n = (size_t)snprintf(line, size, "{\"gpus\":[");
	for (int i = 0; i <= GPU_MAX; i++)
		n += (size_t)snprintf(line + n, size - n, "%s{}", i ? "," : "");
	n += (size_t)snprintf(line + n, size - n, "]}");
	CHECK_INT(sample_decode(line, n, sample, NULL), -EINVAL);
}

static void refuses_too_many_processes(void)
{
	size_t size = (SAMPLE_PROCESSES_MAX + 1) * 32 + 32, n;
	_cleanup_(freep) char *array = malloc(size);

	n = (size_t)snprintf(array, size, "\"processes\":[");
	for (int i = 0; i < SAMPLE_PROCESSES_MAX; i++)
		n += (size_t)snprintf(
			array + n, size - n, "%s{\"pid\":1,\"memory_mib\":1}", i ? "," : "");
	snprintf(array + n, size - n, "]");
	CHECK_INT(decode_with("\"processes\":[]", array), 0);
	snprintf(array + n, size - n, ",{\"pid\":1,\"memory_mib\":1}]");
	CHECK_INT(decode_with("\"processes\":[]", array), -EINVAL);
}

int main(void)
{
	TEST(survives_the_line);
	TEST(an_error_survives_the_line);
	TEST(the_fullest_sample_fits);
	TEST(nodes_are_devices);
	TEST(processes_have_a_limit);
	TEST(texts_are_made_harmless);
	TEST(refuses_what_is_no_sample);
	TEST(refuses_values_out_of_range);
	TEST(refuses_texts_that_are_too_long);
	TEST(refuses_twins);
	TEST(refuses_too_much);
	TEST(refuses_too_many_processes);
	return tap_done();
}
