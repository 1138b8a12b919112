/* SPDX-License-Identifier: MIT */
/* What is substituted into the command lines of others. */
#include <stdlib.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/gpu_words.h"

static json_t *gpu(int index, const char *uuid, const char *vendor, const char *node)
{
	return json_pack(
		"{si ss ss s[s]}", "index", index, "uuid", uuid, "vendor", vendor, "nodes", node);
}

/* The line for these GPUs (second may be NULL), or "" if it cannot be said. */
static void check(enum opt form, json_t *first, json_t *second, const char *expected)
{
	_cleanup_(json_decrefp) json_t *gpus = json_pack("[o]", first);
	_cleanup_(json_decrefp) json_t *lease = json_pack("{si s[ii]}", "id", 42, "gpus", 2, 5);
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	enum client_exit exit;

	if (second)
		json_array_append_new(gpus, second);
	exit = gpu_words(out, form, lease, gpus);
	fclose(out);
	CHECK_STR(exit == EXIT_OK ? text : "", expected);
}

#define A gpu(2, "GPU-aa", "nvidia", "195:7")
#define B gpu(5, "MIG-bb", "nvidia", "195:1")

static void lists(void)
{
	check(OPT_UUID, A, B, "GPU-aa,MIG-bb");
	check(OPT_INDEX, A, B, "2,5");
}

static void docker(void)
{
	check(OPT_DOCKER, A, NULL, "--gpus \"device=GPU-aa\" --label dibs.lease=42");
	check(OPT_DOCKER, A, B, "--gpus \"device=GPU-aa,MIG-bb\" --label dibs.lease=42");
}

static void cdi(void)
{
	check(OPT_CDI, A, B,
		"--device nvidia.com/gpu=GPU-aa --device nvidia.com/gpu=MIG-bb --label "
		"dibs.lease=42");
	check(OPT_CDI, gpu(0, "GPU-1", "amd", "226:128"), NULL, "");
}

/* No machine has so many render nodes. */
static void nodes_that_are_not_there(void)
{
	check(OPT_DOCKER, gpu(0, "GPU-1", "amd", "226:1048575"), NULL, "");
	check(OPT_DOCKER, gpu(0, "GPU-1", "amd", "226:0"), NULL, "");
	check(OPT_DOCKER, gpu(0, "GPU-1", "intel", "x"), NULL, "");
}

static void nothing_that_a_shell_would_split(void)
{
	static const char *const bad[] = { "GPU-a b", "*", "GPU-\"", "", "GPU-a,GPU-b", "$(x)" };

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		check(OPT_UUID, gpu(0, bad[i], "nvidia", "195:0"), NULL, "");
		check(OPT_DOCKER, gpu(0, bad[i], "nvidia", "195:0"), NULL, "");
		check(OPT_CDI, gpu(0, bad[i], "nvidia", "195:0"), NULL, "");
	}
}

int main(void)
{
	TEST(lists);
	TEST(docker);
	TEST(cdi);
	TEST(nodes_that_are_not_there);
	TEST(nothing_that_a_shell_would_split);
	return tap_done();
}
