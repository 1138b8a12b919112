/* SPDX-License-Identifier: MIT */
#include "tree.h"

static void clients_count_once(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_drm, "intel-xe");
	_cleanup_(freep) char *first = NULL, *second = NULL;
	const struct gpu *gpu;

	CHECK(sample != NULL);
	if (!sample)
		return;
	CHECK_INT(sample->n_gpus, 2);
	gpu = &sample->gpus[0];
	first = pids_of(gpu);
	second = pids_of(&sample->gpus[1]);
	CHECK_STR(gpu->uuid, "PCI-0000:03:00.0");
	CHECK_STR(gpu->model, "Arc B580");
	CHECK_INT(gpu->vendor, GPU_INTEL);
	CHECK_INT(gpu->memory_mib, 12288);
	CHECK_INT(gpu->temperature_c, 45);
	/* 512 MiB that two descriptors and two processes share, and 256 */
	CHECK_INT(gpu->memory_used_mib, 768);
	CHECK_STR(first, "2100 2101");
	CHECK_INT(gpu->processes[0].memory_mib, 512);
	CHECK_INT(gpu->processes[1].memory_mib, 256);
	/* the same number of a client, but of another card */
	CHECK_STR(second, "2100");
	CHECK_INT(sample->gpus[1].memory_used_mib, 64);
	CHECK_INT(gpu->link[1], GPU_LINK_NODE);
}

/* No memory of its own; who only holds the card open does not use it. */
static void integrated(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_drm, "intel-i915");
	_cleanup_(freep) char *pids = sample ? pids_of(&sample->gpus[0]) : NULL;

	CHECK(sample && sample->n_gpus == 1);
	CHECK_STR(pids, "900 901");
	if (!sample)
		return;
	CHECK_INT(sample->gpus[0].memory_mib, GPU_UNKNOWN);
	CHECK_INT(sample->gpus[0].memory_used_mib, GPU_UNKNOWN);
	CHECK_INT(sample->gpus[0].processes[0].memory_mib, GPU_UNKNOWN);
	CHECK(!sample->gpus[0].processes_unknown);
}

/* Process 1 cannot be seen, so others could be hidden, too. */
static void hidden_processes(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_drm, "intel-hidden");

	CHECK(sample && sample->n_gpus == 1);
	if (!sample)
		return;
	CHECK(sample->gpus[0].processes_unknown);
	CHECK_INT(sample->gpus[0].n_processes, 0);
	CHECK_INT(sample->gpus[0].memory_mib, 16384);
	CHECK_INT(sample->gpus[0].memory_used_mib, GPU_UNKNOWN);
}

static void hostile(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_drm, "hostile");
	_cleanup_(freep) char *pids = sample ? pids_of(&sample->gpus[0]) : NULL;

	CHECK(sample && sample->n_gpus == 1);
	CHECK_STR(pids, "52");
	if (!sample)
		return;
	CHECK_INT(sample->gpus[0].memory_mib, GPU_UNKNOWN);
	CHECK_INT(sample->gpus[0].memory_used_mib, 3);
}

/* A tree of one card and one client, so that it can change. */

static char directory[64];

static void put_client(const char *format, unsigned long number)
{
	char text[512], values[256];

	snprintf(values, sizeof(values), "drm-cycles-ccs:\t%lu\n", number);
	snprintf(text, sizeof(text),
		"drm-driver:\txe\ndrm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\n%s%s",
		format ? format : "", values);
	tree_put(directory, "proc/50/fdinfo/3", text);
}

static void make_tree(void)
{
	tree_make(directory);
	tree_put(directory, "sys/class/drm/card0/device/uevent",
		"DRIVER=xe\nPCI_ID=8086:E20B\nPCI_SLOT_NAME=0000:03:00.0\n");
	tree_put(directory, "sys/class/drm/card0/device/drm/renderD128/dev", "226:128\n");
	tree_put(directory, "sys/class/drm/card0/device/hwmon/hwmon2/energy1_input", "1000\n");
	tree_put(directory, "proc/1/fdinfo/0", "pos:\t0\n");
}

/* Percent are what happened between two readings: cycles of clocks, by the number of engines. */
static void utilization_by_cycles(void)
{
	struct backend_options options = { .sysroot = directory };
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	void *context = NULL;

	make_tree();
	put_client("drm-engine-capacity-ccs:\t2\ndrm-total-cycles-ccs:\t100000\n", 5000);
	CHECK_INT(backend_drm.open(&options, &context, NULL), 0);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	CHECK_INT(sample->gpus[0].utilization, GPU_UNKNOWN);
	CHECK_INT(sample->gpus[0].power_w, GPU_UNKNOWN);

	put_client("drm-engine-capacity-ccs:\t2\ndrm-total-cycles-ccs:\t101000\n", 5500);
	tree_put(directory, "sys/class/drm/card0/device/hwmon/hwmon2/energy1_input", "1000\n");
	sample_clear(sample);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	CHECK_INT(sample->gpus[0].utilization, 25);
	CHECK_INT(sample->gpus[0].power_w, 0);

	/* all of them and more, then a counter that goes back */
	put_client("drm-engine-capacity-ccs:\t2\ndrm-total-cycles-ccs:\t101100\n", 9000);
	sample_clear(sample);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	CHECK_INT(sample->gpus[0].utilization, 100);
	put_client("drm-engine-capacity-ccs:\t2\ndrm-total-cycles-ccs:\t100\n", 1);
	sample_clear(sample);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	CHECK_INT(sample->gpus[0].utilization, 0);
	backend_drm.close(context);
}

static void utilization_by_time(void)
{
	struct backend_options options = { .sysroot = directory };
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	void *context = NULL;

	make_tree();
	put_client("drm-engine-render:\t1000 ns\n", 0);
	CHECK_INT(backend_drm.open(&options, &context, NULL), 0);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	sample_clear(sample);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	CHECK_INT(sample->gpus[0].utilization, 0);
	/* more than can have passed */
	put_client("drm-engine-render:\t999999999999999 ns\n", 0);
	sample_clear(sample);
	CHECK_INT(backend_drm.read(context, sample, NULL), 0);
	CHECK_INT(sample->gpus[0].utilization, 100);
	backend_drm.close(context);
}

/* resident stands above memory, and that above total, whatever their order. */
static void units_and_kinds(void)
{
	static const struct {
		const char *text;
		int64_t mib;
	} cases[] = {
		{ "drm-resident-vram0:\t1048576\n", 1 },
		{ "drm-resident-vram0:\t2048 KiB\n", 2 },
		{ "drm-resident-vram0:\t3 MiB\n", 3 },
		{ "drm-total-vram0:\t9 MiB\ndrm-resident-vram0:\t4 MiB\n", 4 },
		{ "drm-resident-local0:\t4 MiB\ndrm-memory-local0:\t9 MiB\n", 4 },
		{ "drm-memory-vram:\t5 MiB\ndrm-total-vram:\t9 MiB\n", 5 },
		{ "drm-total-vram0:\t6 MiB\ndrm-total-system:\t9 MiB\n", 6 },
		{ "drm-resident-vram0:\t3 MiB\ndrm-resident-vram1:\t4 MiB\n", 7 },
		{ "drm-resident-system:\t9 MiB\n", GPU_UNKNOWN },
		{ "drm-resident-vram0:\t9 miles\n", GPU_UNKNOWN },
	};

	make_tree();
	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		struct sample *sample;

		put_client(cases[i].text, 1);
		sample = read_once(&backend_drm, directory, NULL);
		CHECK(sample && sample->gpus[0].n_processes == 1);
		if (sample)
			CHECK_INT(sample->gpus[0].processes[0].memory_mib, cases[i].mib);
		sample_free(sample);
	}
}

/* One process that may not be looked into makes all of them unknown. */
static void refused(void)
{
	char path[128];
	struct sample *sample;
	uid_t uid = geteuid();

	make_tree();
	put_client("drm-resident-vram0:\t1 MiB\n", 1);
	tree_put(directory, "proc/51/fdinfo/3", "pos:\t0\n");
	snprintf(path, sizeof(path), "%s/proc/51/fdinfo", directory);
	CHECK_INT(chmod(path, 0), 0);
	if (uid == 0)
		CHECK_INT(seteuid(65534), 0);
	sample = read_once(&backend_drm, directory, NULL);
	CHECK_INT(seteuid(uid), 0);
	CHECK(sample && sample->n_gpus == 1);
	if (sample) {
		CHECK(sample->gpus[0].processes_unknown);
		CHECK_INT(sample->gpus[0].n_processes, 0);
	}
	sample_free(sample);
	chmod(path, 0755);
}

static void not_a_gpu(void)
{
	_cleanup_(freep) char *sysroot = fixture("display-only");
	struct error err = { 0 };

	CHECK(!read_once(&backend_drm, sysroot, &err));
	CHECK_STR(err.id, "drm.no-gpus");
}

int main(void)
{
	TEST(clients_count_once);
	TEST(integrated);
	TEST(hidden_processes);
	TEST(hostile);
	TEST(utilization_by_cycles);
	TEST(utilization_by_time);
	TEST(units_and_kinds);
	TEST(refused);
	TEST(not_a_gpu);
	return tree_done();
}
