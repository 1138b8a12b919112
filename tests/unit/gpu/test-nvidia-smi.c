/* SPDX-License-Identifier: MIT */
#include "tree.h"

static void two_gpus(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_nvidia_smi, "mixed");
	const struct gpu *gpu;

	CHECK(sample != NULL);
	if (!sample)
		return;
	CHECK_INT(sample->n_gpus, 2);
	gpu = &sample->gpus[0];
	CHECK_STR(gpu->uuid, "GPU-5a1c8e02-77aa-4c11-9c3d-0123456789ab");
	CHECK_STR(gpu->model, "NVIDIA A100-SXM4-40GB");
	CHECK_STR(gpu->pci, "00000000:0b:00.0");
	CHECK_INT(gpu->vendor, GPU_NVIDIA);
	CHECK_INT(gpu->index, 3);
	CHECK_INT(gpu->minor, 1);
	CHECK_INT(gpu->n_nodes, 1);
	CHECK_INT(gpu->nodes[0].major, 195);
	CHECK_INT(gpu->nodes[0].minor, 1);
	CHECK_INT(gpu->memory_mib, 40960);
	CHECK_INT(gpu->memory_used_mib, 1234);
	CHECK_INT(gpu->utilization, 97);
	CHECK_INT(gpu->temperature_c, 61);
	CHECK_INT(gpu->power_w, 287);
	CHECK_INT(gpu->n_processes, 1);
	CHECK_INT(gpu->processes[0].pid, 4711);
	CHECK_INT(gpu->processes[0].memory_mib, 1024);
}

static void what_is_in_brackets_is_unknown(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_nvidia_smi, "mixed");
	const struct gpu *gpu;

	CHECK(sample && sample->n_gpus == 2);
	if (!sample)
		return;
	gpu = &sample->gpus[1];
	CHECK_STR(gpu->model, "NVIDIA GB10, early");
	CHECK_INT(gpu->minor, GPU_UNKNOWN);
	CHECK_INT(gpu->n_nodes, 0);
	CHECK_INT(gpu->memory_mib, GPU_UNKNOWN);
	CHECK_INT(gpu->utilization, GPU_UNKNOWN);
	CHECK_INT(gpu->power_w, GPU_UNKNOWN);
	CHECK_INT(gpu->n_processes, 1);
	CHECK_INT(gpu->processes[0].memory_mib, GPU_UNKNOWN);
}

/* A program of this text as nvidia-smi of a tree. */
static struct sample *read_program(const char *text, struct error *err)
{
	char directory[64], path[128];

	tree_make(directory);
	tree_put(directory, "usr/bin/nvidia-smi", text);
	snprintf(path, sizeof(path), "%s/usr/bin/nvidia-smi", directory);
	CHECK_INT(chmod(path, 0755), 0);
	return read_once(&backend_nvidia_smi, directory, err);
}

static void it_fails(void)
{
	struct error err = { 0 };

	CHECK(!read_program("#!/bin/sh\necho No devices were found\nexit 6\n", &err));
	CHECK_STR(err.id, "smi.failed");
	CHECK(strstr(err.text, "No devices were found") != NULL);
	CHECK(!read_program("#!/bin/sh\nkill -9 $$\n", &err));
	CHECK_STR(err.id, "smi.failed");
	CHECK(!read_program("#!/nonexistent\n", &err));
	CHECK_STR(err.id, "child.exec");
	CHECK(!read_program("#!/bin/sh\n", &err));
	CHECK_STR(err.id, "smi.no-gpus");
	CHECK(!read_once(&backend_nvidia_smi, "/nonexistent", &err));
	CHECK_STR(err.id, "smi.missing");
}

/* GPUs without processes are better than none. */
static void processes_cannot_be_listed(void)
{
	_cleanup_(sample_freep) struct sample *sample =
		read_program("#!/bin/sh\ncase $1 in --query-gpu=*) echo '0, GPU-1, 0, 1, 1, 1, 1, "
			     "1, x';; *) exit 3;; esac\n",
			NULL);

	CHECK(sample && sample->n_gpus == 1);
	if (sample)
		CHECK(sample->gpus[0].processes_unknown);
}

static void strange_lines(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_program(
		"#!/bin/sh\n"
		"case $1 in --query-gpu=*) ;; *) printf 'GPU-1, 0, 1\\nGPU-1, 99999999, "
		"1\\nGPU-1\\n,,,,\\nGPU-1, 7, 99999999999\\n'; exit 0;; esac\n"
		"printf '\\n,,,,,,,,,,\\n0\\n0, \\n0, GPU-1\\n0, GPU-2, a, b\\n1, GPU-1, a\\n'\n"
		"printf '2, GPU 3, a\\n99999999999999999999, GPU-4, a\\n-1, GPU-5, a\\n'\n"
		"printf '7, GPU-7, ../../x, 1, 2, 3, 4, 5, \\033[2J\\377\\n'\n"
		"printf '8, GPU-8, 0, 99999999999, 1e9, 101, 251, 10001.5, x'\n",
		NULL);
	_cleanup_(sample_freep) struct sample *again = sample_new();
	_cleanup_(freep) char *line = sample ? sample_encode(sample) : NULL;

	CHECK(line && sample_decode(line, strlen(line), again, NULL) == 0);
	CHECK_INT(again->n_gpus, 3);
	CHECK_STR(again->gpus[0].uuid, "GPU-1");
	CHECK_STR(again->gpus[0].model, "unknown");
	CHECK_INT(again->gpus[0].n_processes, 1);
	CHECK_STR(again->gpus[1].model, "?[2J?");
	CHECK_INT(again->gpus[2].memory_mib, GPU_UNKNOWN);
	CHECK_INT(again->gpus[2].utilization, GPU_UNKNOWN);
	CHECK_INT(again->gpus[2].temperature_c, GPU_UNKNOWN);
	CHECK_INT(again->gpus[2].power_w, GPU_UNKNOWN);
}

int main(void)
{
	TEST(two_gpus);
	TEST(what_is_in_brackets_is_unknown);
	TEST(it_fails);
	TEST(processes_cannot_be_listed);
	TEST(strange_lines);
	return tree_done();
}
