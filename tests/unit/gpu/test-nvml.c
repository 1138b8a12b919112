/* SPDX-License-Identifier: MIT */
/* Who the GPUs are, and their numbers. */
#include "nvml-fixture.h"

static void reads_what_there_is(void)
{
	FIXTURE(f);
	const struct gpu *gpu;

	put("", FIRST "name NVIDIA A100-SXM4-80GB\nutil 7\ntemp 31\npower 60999\n" SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 2);
	gpu = &f.sample->gpus[0];
	CHECK_STR(gpu->uuid, "GPU-1");
	CHECK_STR(gpu->model, "NVIDIA A100-SXM4-80GB");
	CHECK_STR(gpu->pci, "00000000:3b:00.0");
	CHECK_INT(gpu->vendor, GPU_NVIDIA);
	CHECK_INT(gpu->index, 0);
	CHECK_INT(gpu->minor, 5);
	CHECK_INT(gpu->memory_mib, 81920);
	CHECK_INT(gpu->memory_used_mib, old ? 515 : 3);
	CHECK_INT(gpu->utilization, 7);
	CHECK_INT(gpu->temperature_c, 31);
	CHECK_INT(gpu->power_w, 60);
	CHECK(gpu->present);
	CHECK_STR(gpu->fault, "");
	CHECK_INT(gpu->n_processes, 0);
	gpu = &f.sample->gpus[1];
	CHECK_INT(gpu->index, 1);
	CHECK_INT(gpu->minor, 4);
	CHECK_INT(gpu->utilization, GPU_UNKNOWN);
	CHECK_INT(gpu->temperature_c, GPU_UNKNOWN);
	CHECK_INT(gpu->power_w, GPU_UNKNOWN);
	CHECK_STR(gpu->fault, "");
}

static void its_sample_survives_the_line(void)
{
	FIXTURE(f);
	_cleanup_(freep) char *line = NULL;

	put("", "gpu GPU-1\nname A\x1b[31m\xff\nutil 4000000000\ntemp 999\npower 4000000000\nminor "
		"4000000000\n"
		"memory 81920 0 3\nprocess 4711 99999999999999 compute\n");
	CHECK_INT(set_up_and_read(&f), 0);
	line = sample_encode(f.sample);
	CHECK_INT(sample_decode(line, strlen(line), f.sample, NULL), 0);
	CHECK_STR(f.sample->gpus[0].model, "A?[31m?");
	CHECK_INT(f.sample->gpus[0].utilization, GPU_UNKNOWN);
	CHECK_INT(f.sample->gpus[0].temperature_c, GPU_UNKNOWN);
	CHECK_INT(f.sample->gpus[0].power_w, GPU_UNKNOWN);
	CHECK_INT(f.sample->gpus[0].minor, GPU_UNKNOWN);
}

static void what_is_not_supported_is_unknown(void)
{
	static const int results[] = { 2, 3, 4, 6, 10, 13, 25 };
	static const char *const calls[] = { "nvmlDeviceGetMemoryInfo",
		"nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetUtilizationRates",
		"nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues",
		"nvmlDeviceGetMinorNumber", "nvmlDeviceGetPciInfo_v3",
		"nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2",
		"nvmlDeviceGetComputeRunningProcesses_v3",
		"nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetSupportedEventTypes",
		"nvmlDeviceRegisterEvents", "nvmlDeviceGetTopologyCommonAncestor",
		"nvmlDeviceGetNvLinkState", "nvmlDeviceGetGraphicsRunningProcesses",
		"nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetRemappedRows",
		"nvmlDeviceGetMigMode" };

	for (size_t i = 0; i < ELEMENTSOF(results); i++) {
		FIXTURE(f);
		char rules[2048];
		size_t n = 0;

		for (size_t j = 0; j < ELEMENTSOF(calls); j++)
			n += (size_t)snprintf(rules + n, sizeof(rules) - n, "return %s %d\n",
				calls[j], results[i]);
		put("",
			FIRST "util 1\ntemp 1\npower 1\nrecovery 0\necc 0\nrows 0 0\nmig "
			      "0\nprocess 4711 1 compute\n%s" SECOND,
			rules);
		CHECK_INT(set_up_and_read(&f), 0);
		CHECK_INT(f.sample->n_gpus, 2);
		CHECK_STR(f.sample->gpus[0].fault, "");
		CHECK_INT(f.sample->gpus[0].memory_mib, GPU_UNKNOWN);
		CHECK_INT(f.sample->gpus[0].memory_used_mib, GPU_UNKNOWN);
		CHECK_INT(f.sample->gpus[0].utilization, GPU_UNKNOWN);
		CHECK_INT(f.sample->gpus[0].temperature_c, GPU_UNKNOWN);
		CHECK_INT(f.sample->gpus[0].power_w, GPU_UNKNOWN);
		CHECK_INT(f.sample->gpus[0].minor, GPU_UNKNOWN);
		CHECK_INT(f.sample->gpus[0].n_processes, 0);
		CHECK(f.sample->gpus[0].processes_unknown);
		CHECK(!f.sample->gpus[1].processes_unknown);
		CHECK_STR(f.sample->gpus[0].defect, "");
		CHECK_INT(f.sample->gpus[1].memory_mib, 24576);
	}
}

static void memory_falls_back(void)
{
	FIXTURE(f);

	put("", FIRST
		"return nvmlDeviceGetMemoryInfo_v2 25\ngpu GPU-GB10\ngpu GPU-3\nmemory 0 0 0\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->gpus[0].memory_used_mib, 515);
	CHECK_INT(f.sample->gpus[1].memory_mib, GPU_UNKNOWN);
	CHECK_STR(f.sample->gpus[1].fault, "");
	CHECK_INT(f.sample->gpus[2].memory_mib, GPU_UNKNOWN);

	/* Integrated GPUs use the memory of the machine. */
	put_tree("proc/meminfo", "MemTotal:       125829120 kB\nMemFree:        1024 kB\n"
				 "MemAvailable:   83886080 kB\nCached: 1 kB\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->gpus[0].memory_used_mib, 515);
	for (int i = 1; i <= 2; i++) {
		CHECK_INT(f.sample->gpus[i].memory_mib, 122880);
		CHECK_INT(f.sample->gpus[i].memory_used_mib, 40960);
	}
	put_tree("proc/meminfo", "MemTotal: 1024 kB\nMemAvailable: 4096 kB\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->gpus[1].memory_used_mib, GPU_UNKNOWN);
	put_tree("proc/meminfo", "");
}

static void finds_its_nodes(void)
{
	FIXTURE(f);

	put("", FIRST "bus 0001003B:C1:1F.0\n" SECOND "gpu GPU-3\n");
	put_tree("sys/bus/pci/devices/1003b:c1:1f.0/drm/renderD129/dev", "226:129\n");
	put_tree("sys/bus/pci/devices/1003b:c1:1f.0/drm/card1/dev", "226:1\n");
	put_tree("sys/bus/pci/devices/1003b:c1:1f.0/drm/card7/dev", "nonsense\n");
	put_tree("sys/bus/pci/devices/1003b:c1:1f.0/drm/version/dev", "226:9\n");
	CHECK_INT(set_up_and_read(&f), 0);
	check_nodes(&f.sample->gpus[0], "195:5 226:1 226:129");
	check_nodes(&f.sample->gpus[1], "195:4");
	check_nodes(&f.sample->gpus[2], "");

	/* A driver that is loaded later is noticed, if not with the next sample. */
	put_tree("sys/bus/pci/devices/0000:5e:00.0/drm/renderD128/dev", "226:128\n");
	for (int i = 0; i < 10; i++)
		CHECK_INT(read_again(&f), 0);
	check_nodes(&f.sample->gpus[1], "195:4 226:128");
	remove_directory();
	mkdir(directory, 0700);
}

static void notices_who_comes_and_goes(void)
{
	FIXTURE(f);

	put("", FIRST SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	put("", SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-2");
	CHECK_INT(f.sample->gpus[0].index, 0);
	put("", FIRST SECOND "gpu GPU-3\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 3);
	CHECK_INT(f.sample->gpus[1].index, 1);
	put("", "# none\n");
	CHECK(read_again(&f) < 0);
	CHECK_STR(f.err.id, "nvml.no-gpus");
}

static void notices_another_identity(void)
{
	FIXTURE(f);

	put("", FIRST SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	put("", FIRST "uuid GPU-9\nname B200\n" SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 2);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-9");
	CHECK_STR(f.sample->gpus[0].model, "B200");
}

static void gpus_without_permission_are_left_out(void)
{
	FIXTURE(f);

	put("", FIRST "return nvmlDeviceGetHandleByIndex_v2 4\n" SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-2");
	CHECK_INT(f.sample->gpus[0].index, 1);

	/* It is tried again, not with every sample, but soon. */
	put("", FIRST SECOND);
	for (int i = 0; i < 70 && f.sample->n_gpus == 1; i++)
		CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 2);
}

static void hostile_uuids_are_left_out(void)
{
	FIXTURE(f);

	put("", "gpu GPU-$(id)\ngpu GPU-1\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-1");
}

static void says_why_it_cannot_be_opened(void)
{
	static const struct {
		const char *state, *id;
		int code;
	} cases[] = {
		{ "# no GPU\n", "nvml.no-gpus", -ENODEV },
		{ "return nvmlInit_v2 9\n" FIRST, "nvml.no-driver", -ENODEV },
		{ "return nvmlInit_v2 18\n" FIRST, "nvml.driver-replaced", BACKEND_STALE },
		{ "return nvmlInit_v2 17\n" FIRST, "nvml.blocked", -EPERM },
		{ "return nvmlInit_v2 999\n" FIRST, "nvml.failed", -EIO },
		{ "return nvmlDeviceGetCount_v2 4\n" FIRST, "nvml.failed", -EIO },
		{ "return nvmlDeviceGetHandleByIndex_v2 4\n" FIRST, "nvml.failed", -EIO },
		{ FIRST "return nvmlDeviceGetHandleByIndex_v2 18\n", "nvml.driver-replaced",
			BACKEND_STALE },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		FIXTURE(f);

		put("", "%s", cases[i].state);
		CHECK_INT(set_up(&f), cases[i].code);
		CHECK_STR(f.err.id, cases[i].id);
		CHECK(strlen(f.err.text) > 0 && strlen(f.err.text) < GPU_REASON_SIZE);
	}
}

static void a_driver_that_goes_ends_the_reading(void)
{
	FIXTURE(f);

	put("", FIRST SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	put("", FIRST SECOND "return nvmlDeviceGetPowerUsage 18\n");
	CHECK_INT(read_again(&f), BACKEND_STALE);
	put("", FIRST SECOND "return nvmlDeviceGetPowerUsage 9\n");
	CHECK_INT(read_again(&f), -ENODEV);
	put("", "return * 1\n" FIRST);
	CHECK_INT(read_again(&f), -EIO);
	put("", FIRST SECOND);
	CHECK_INT(read_again(&f), 0);
}

static void reads_the_topology(void)
{
	FIXTURE(f);

	/* A and B are cabled, C and D share a switch, only F tells of its cable to E; the rest is
	 * PCIe. */
	put("", "gpu A\nbus 00000000:01:00.0\nlink 00000000:02:00.0\nlink 00000000:02:00.0\nnear C "
		"10\n"
		"near D 20\nnear E 30\nnear F 40\n"
		"gpu B\nbus 00000000:02:00.0\nlink 00000000:01:00.0\n"
		"gpu C\nbus 00000000:03:00.0\nlink 00000001:C1:00.0\n"
		"gpu D\nbus 00000000:04:00.0\nlink 00000001:C1:00.0\nnear E 0\n"
		"gpu E\nbus 00000000:05:00.0\nreturn nvmlDeviceGetTopologyCommonAncestor 3\n"
		"gpu F\nbus 00000000:06:00.0\nlink 00000000:05:00.0\n");
	CHECK_INT(set_up_and_read(&f), 0);
	if (old) {
		check_links(&f, 0, ".sssss");
		return;
	}
	check_links(&f, 0, ".Lbmhn");
	check_links(&f, 1, "L.ssss");
	check_links(&f, 2, "bs.Lss");
	check_links(&f, 3, "msL..s");
	check_links(&f, 4, "hss..L");
	check_links(&f, 5, "nsssL.");
}

/* Two GPUs that are both cabled to a third are not cabled to each other. */
static void a_gpu_is_no_switch(void)
{
	FIXTURE(f);

	if (old)
		return;
	put("", "gpu A\nbus 00000000:01:00.0\nlink 00000000:02:00.0\n"
		"gpu B\nbus 00000000:02:00.0\nlink 00000000:01:00.0\nlink 00000000:03:00.0\n"
		"gpu C\nbus 00000000:03:00.0\nlink 00000000:02:00.0\n");
	CHECK_INT(set_up_and_read(&f), 0);
	check_links(&f, 0, ".Ls");
	check_links(&f, 1, "L.L");
}

int main(int argc, char **argv)
{
	if (!begin(argc, argv))
		return 1;
	TEST(reads_what_there_is);
	TEST(its_sample_survives_the_line);
	TEST(what_is_not_supported_is_unknown);
	TEST(memory_falls_back);
	TEST(finds_its_nodes);
	TEST(notices_who_comes_and_goes);
	TEST(notices_another_identity);
	TEST(gpus_without_permission_are_left_out);
	TEST(hostile_uuids_are_left_out);
	TEST(says_why_it_cannot_be_opened);
	TEST(a_driver_that_goes_ends_the_reading);
	TEST(reads_the_topology);
	TEST(a_gpu_is_no_switch);
	return end();
}
