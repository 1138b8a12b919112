/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/environment.h"
#include "proto/message.h"

static json_t *gpu(int index, const char *uuid, const char *vendor)
{
	return json_pack("{si ss ss}", "index", index, "uuid", uuid, "vendor", vendor);
}

static json_t *reply(const char *visible, json_t *first, json_t *second)
{
	return json_pack(
		"{s{si} s[oo] ss}", "lease", "id", 41, "gpus", first, second, "visible", visible);
}

static const char *value(const struct environment *e, const char *name)
{
	for (unsigned i = 0; i < e->n; i++)
		if (strcmp(e->variables[i].name, name) == 0)
			return e->variables[i].value;
	return "(not set)";
}

static void nvidia(void)
{
	_cleanup_(environment_clear) struct environment e = { 0 };
	_cleanup_(json_decrefp) json_t *r =
		reply("uuid", gpu(2, "GPU-aa", "nvidia"), gpu(5, "GPU-bb", "nvidia"));

	CHECK_INT(environment_build(r, NULL, &e), 0);
	CHECK_STR(value(&e, "DIBS_LEASE"), "41");
	CHECK_STR(value(&e, "DIBS_GPUS"), "2,5");
	CHECK_STR(value(&e, "CUDA_DEVICE_ORDER"), "PCI_BUS_ID");
	CHECK_STR(value(&e, "CUDA_VISIBLE_DEVICES"), "GPU-aa,GPU-bb");
	CHECK_STR(value(&e, "NVIDIA_VISIBLE_DEVICES"), "GPU-aa,GPU-bb");
	CHECK_STR(value(&e, "ROCR_VISIBLE_DEVICES"), "(not set)");
}

static void by_index(void)
{
	_cleanup_(environment_clear) struct environment site = { 0 }, option = { 0 };
	_cleanup_(json_decrefp) json_t *r =
		reply("index", gpu(2, "GPU-aa", "nvidia"), gpu(5, "GPU-bb", "nvidia"));

	CHECK_INT(environment_build(r, NULL, &site), 0);
	CHECK_STR(value(&site, "CUDA_VISIBLE_DEVICES"), "2,5");
	CHECK_INT(environment_build(r, "uuid", &option), 0);
	CHECK_STR(value(&option, "CUDA_VISIBLE_DEVICES"), "GPU-aa,GPU-bb");
}

static void amd(void)
{
	_cleanup_(environment_clear) struct environment e = { 0 };
	_cleanup_(json_decrefp) json_t *r =
		reply("uuid", gpu(0, "GPU-1234", "amd"), gpu(1, "0000:03:00.0", "amd"));

	CHECK_INT(environment_build(r, NULL, &e), 0);
	CHECK_STR(value(&e, "ROCR_VISIBLE_DEVICES"), "GPU-1234,1");
	CHECK_STR(value(&e, "CUDA_VISIBLE_DEVICES"), "(not set)");
	CHECK_STR(value(&e, "DIBS_GPUS"), "0,1");
}

static void export_line(void)
{
	_cleanup_(environment_clear) struct environment e = { 0 };
	_cleanup_(json_decrefp) json_t *r =
		reply("uuid", gpu(0, "GPU-aa", "nvidia"), gpu(1, "GPU-$(x)", "nvidia"));
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK_INT(environment_build(r, NULL, &e), 0);
	CHECK_INT(environment_print(&e, out), 0);
	fclose(out);
	CHECK_STR(text,
		"export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='GPU-aa,GPU-$(x)' "
		"NVIDIA_VISIBLE_DEVICES='GPU-aa,GPU-$(x)'\n");
}

int main(void)
{
	TEST(nvidia);
	TEST(by_index);
	TEST(amd);
	TEST(export_line);
	return tap_done();
}
