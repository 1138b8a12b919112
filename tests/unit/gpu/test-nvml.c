/* SPDX-License-Identifier: MIT */
/*
 * The NVML backend against the stand-in for NVIDIA's library (tests/fakes/fake-nvml-state.h), in
 * the variant that the argument names: "current", "no-v3" or "old".
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "../tap.h"
#include "base/text.h"
#include "gpu/backend.h"

#define WAIT_MS 20000 /* longer than anything here takes */

#define FIRST  "gpu GPU-1\nminor 5\nbus 00000000:3B:00.0\nmemory 81920 512 3\n"
#define SECOND "gpu GPU-2\nminor 4\nbus 00000000:5E:00.0\nmemory 24576 256 7\n"

static char directory[] = "/tmp/dibs-nvml-XXXXXX";
static bool has_v3, old;

/* Puts text into the file "state" + suffix, at one moment. */
static void put(const char *suffix, const char *fmt, ...) _printf_(2, 3);
static void put(const char *suffix, const char *fmt, ...)
{
	char path[64], draft[64];
	va_list ap;
	FILE *file;

	snprintf(path, sizeof(path), "%s/state%s", directory, suffix);
	snprintf(draft, sizeof(draft), "%s/draft", directory);
	file = fopen(draft, "we");
	va_start(ap, fmt);
	vfprintf(file, fmt, ap);
	va_end(ap);
	fclose(file);
	CHECK_INT(rename(draft, path), 0);
}

static bool exists(const char *suffix)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/state%s", directory, suffix);
	return access(path, F_OK) == 0;
}

struct fixture {
	void *context;
	struct sample *sample;
	struct error err;
};

static void tear_down(struct fixture *f)
{
	backend_nvml.close(f->context);
	sample_free(f->sample);
}

static int set_up(struct fixture *f)
{
	f->sample = sample_new();
	return backend_nvml.open(&(struct backend_options){ 0 }, &f->context, &f->err);
}

static int read_again(struct fixture *f)
{
	sample_clear(f->sample);
	f->err = (struct error){ 0 };
	return backend_nvml.read(f->context, f->sample, &f->err);
}

/* Opens, and reads once. */
static int set_up_and_read(struct fixture *f)
{
	int r = set_up(f);

	return r < 0 ? r : read_again(f);
}

#define FIXTURE(f) _cleanup_(tear_down) struct fixture f = { 0 }

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

static void check_processes(const struct gpu *gpu)
{
	CHECK_STR(gpu->fault, "");
	CHECK_INT(gpu->n_processes, old ? 3 : 4);
	for (size_t i = 0; i < gpu->n_processes; i++)
		CHECK_INT(gpu->processes[i].pid, 4711 + (pid_t)i);
	if (gpu->n_processes < 3)
		return;
	CHECK_INT(gpu->processes[0].memory_mib, 512);
	CHECK_INT(gpu->processes[1].memory_mib, GPU_UNKNOWN);
	CHECK_INT(gpu->processes[2].memory_mib, 42405);
}

/* So that only the _v3 lists can have answered. */
#define WITHOUT_OLDER                                         \
	"return nvmlDeviceGetComputeRunningProcesses 13\n"    \
	"return nvmlDeviceGetComputeRunningProcesses_v2 13\n" \
	"return nvmlDeviceGetMPSComputeRunningProcesses_v2 13\n"

static void understands_every_stride(void)
{
	/* 20 and 40 bytes never were; then the older function is right. */
	static const int strides[] = { 24, 16, 32, 20, 40 };

	for (size_t i = 0; i < ELEMENTSOF(strides); i++) {
		FIXTURE(f);

		put("",
			"stride %d\n" FIRST "process 4711 512 compute\nprocess 4712 na compute\n"
			"process 4713 42405 compute\nprocess 0 1 compute\nprocess 4714 1 mps\n"
			"process 4715 1 graphics\n%s",
			strides[i], has_v3 && i < 3 ? WITHOUT_OLDER : "");
		CHECK_INT(set_up_and_read(&f), 0);
		check_processes(&f.sample->gpus[0]);
	}
}

static void one_process_is_enough(void)
{
	static const int strides[] = { 24, 16, 32 };

	for (size_t i = 0; i < ELEMENTSOF(strides); i++) {
		FIXTURE(f);

		put("", "stride %d\n" FIRST "process 4711 0 compute\n%s", strides[i],
			has_v3 ? WITHOUT_OLDER : "");
		CHECK_INT(set_up_and_read(&f), 0);
		CHECK_INT(f.sample->gpus[0].n_processes, 1);
		CHECK_INT(f.sample->gpus[0].processes[0].pid, 4711);
		CHECK_INT(f.sample->gpus[0].processes[0].memory_mib, 0);
	}
}

static void reads_long_lists(void)
{
	FIXTURE(f);
	static char text[32768];
	size_t n = (size_t)snprintf(text, sizeof(text), FIRST);

	for (int pid = 1; pid <= 950; pid++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "process %d 1 compute\n", pid);
	put("", "%s", text);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->gpus[0].n_processes, 950);
	CHECK_INT(f.sample->gpus[0].processes[949].pid, 950);
}

/* An MPS client may be in both lists. */
static void counts_a_process_once(void)
{
	FIXTURE(f);

	put("", FIRST "process 4711 5 compute\nprocess 4711 9 mps\nprocess 4711 na compute\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->gpus[0].n_processes, 1);
	CHECK_INT(f.sample->gpus[0].processes[0].memory_mib, old ? 5 : 9);
}

static void sees_the_living(void)
{
	FIXTURE(f);
	char path[64];
	long long start = 0;
	FILE *file = fopen("/proc/self/stat", "re");

	CHECK_INT(fscanf(file,
			  "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			  "%*d"
			  " %*d %*d %lld",
			  &start),
		1);
	fclose(file);
	snprintf(path, sizeof(path), "%s/state.processes", directory);
	mkdir(path, 0700);
	put("", FIRST);
	put(".processes/me", "GPU-1 %d %lld 77 compute\n", (int)getpid(), start);
	put(".processes/recycled", "GPU-1 %d %lld 77 compute\n", (int)getpid(), start + 1);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->gpus[0].n_processes, 1);
	CHECK_INT(f.sample->gpus[0].processes[0].pid, getpid());
	CHECK_INT(f.sample->gpus[0].processes[0].memory_mib, 77);
	snprintf(path, sizeof(path), "%s/state.processes/me", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/state.processes/recycled", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/state.processes", directory);
	rmdir(path);
}

static void a_list_in_no_known_form_is_a_fault(void)
{
	FIXTURE(f);

	if (!has_v3)
		return;
	put("", "stride 20\n" FIRST "process 4711 1 compute\n"
		"return nvmlDeviceGetComputeRunningProcesses_v2 3\n"
		"return nvmlDeviceGetComputeRunningProcesses 13\n" SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_STR(
		f.sample->gpus[0].fault, "the driver lists processes in a form that is not known");
	CHECK_INT(f.sample->gpus[0].n_processes, 0);
	CHECK_STR(f.sample->gpus[1].fault, "");
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
		"nvmlDeviceGetNvLinkState" };

	for (size_t i = 0; i < ELEMENTSOF(results); i++) {
		FIXTURE(f);
		char rules[2048];
		size_t n = 0;

		for (size_t j = 0; j < ELEMENTSOF(calls); j++)
			n += (size_t)snprintf(rules + n, sizeof(rules) - n, "return %s %d\n",
				calls[j], results[i]);
		put("",
			FIRST
			"util 1\ntemp 1\npower 1\nrecovery 0\nprocess 4711 1 compute\n%s" SECOND,
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
}

static void faults_of_one_gpu_stay_with_it(void)
{
	static const struct {
		int result;
		const char *fault;
	} faults[] = {
		{ 15, "the GPU has fallen off the bus or is otherwise inaccessible" },
		{ 16, "the GPU has to be reset before it can be used again" },
		{ 999, "the driver reports an unknown error of this GPU; see the kernel log" },
	};
	FIXTURE(f);

	put("", FIRST SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	for (size_t i = 0; i < ELEMENTSOF(faults); i++) {
		put("", FIRST "return * %d\n" SECOND, faults[i].result);
		CHECK_INT(read_again(&f), 0);
		CHECK_INT(f.sample->n_gpus, 2);
		CHECK_STR(f.sample->gpus[0].uuid, "GPU-1");
		CHECK_STR(f.sample->gpus[0].fault, faults[i].fault);
		CHECK_INT(f.sample->gpus[0].memory_mib, 81920);
		CHECK_INT(f.sample->gpus[0].memory_used_mib, GPU_UNKNOWN);
		CHECK_STR(f.sample->gpus[1].fault, "");
		CHECK_INT(f.sample->gpus[1].memory_used_mib, old ? 263 : 7);
	}
	put("", FIRST SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[0].fault, "");

	put("", FIRST "return nvmlDeviceGetComputeRunningProcesses%s 999\n" SECOND,
		old      ? ""
		: has_v3 ? "_v3"
			 : "_v2");
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[0].fault, faults[2].fault);
}

static void the_driver_asks_for_recovery(void)
{
	FIXTURE(f);

	if (old)
		return;
	put("", FIRST "recovery 1\n" SECOND "recovery 0\ngpu GPU-3\nrecovery 77\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_STR(f.sample->gpus[0].fault, "the driver asks to reset the GPU");
	CHECK_STR(f.sample->gpus[1].fault, "");
	CHECK_STR(f.sample->gpus[2].fault, "the driver asks for recovery action 77");
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void an_xid_ends_the_wait_and_stays(void)
{
	static const char fault[] = "XID 79: NVIDIA advises to restart the machine";
	FIXTURE(f);
	int64_t before;

	put("", FIRST SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	put(".xid", "GPU-2 79\n");
	before = now_ms();
	backend_nvml.wait(f.context, WAIT_MS);
	CHECK(now_ms() - before < WAIT_MS);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[0].fault, "");
	CHECK_STR(f.sample->gpus[1].fault, fault);
	CHECK_INT(f.sample->gpus[1].memory_mib, 24576);

	/* Also when the other GPU vanishes and comes back, and what comes later is its consequence.
	 */
	put("", SECOND "return nvmlDeviceGetPowerUsage 15\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].fault, fault);
	put("", FIRST SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[0].fault, "");
	CHECK_STR(f.sample->gpus[1].fault, fault);

	/* A new sensor begins anew. */
	backend_nvml.close(f.context);
	f.context = NULL;
	CHECK_INT(backend_nvml.open(&(struct backend_options){ 0 }, &f.context, &f.err), 0);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[1].fault, "");
}

static void an_xid_of_a_program_is_no_fault(void)
{
	FIXTURE(f);

	put("", FIRST);
	CHECK_INT(set_up_and_read(&f), 0);
	put(".xid", "GPU-1 31\n");
	while (exists(".xid"))
		backend_nvml.wait(f.context, 20);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[0].fault, "");
}

/* Readings go on where events are not to be had. */
static void waiting_ends_without_events(void)
{
	static const char *const rules[] = {
		"return nvmlEventSetWait 999\nreturn nvmlEventSetWait_v2 999\n",
		"return nvmlEventSetCreate 3\n", ""
	};

	for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
		FIXTURE(f);
		int64_t before;

		put("", "%s" FIRST, rules[i]);
		CHECK_INT(set_up(&f), 0);
		before = now_ms();
		backend_nvml.wait(f.context, 30);
		CHECK(now_ms() - before >= 29);
		CHECK(now_ms() - before < WAIT_MS);
		CHECK_INT(read_again(&f), 0);
	}
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

/* The links of GPU a to those in the sample, as letters. */
static void check_links(const struct fixture *f, unsigned a, const char *expected)
{
	static const char letters[GPU_LINK_MAX + 1] = "snhmb.L"; /* in the order of enum gpu_link */
	char links[GPU_MAX + 1] = "";

	for (unsigned b = 0; b < f->sample->n_gpus; b++)
		links[b] = letters[f->sample->gpus[a].link[b]];
	CHECK_STR(links, expected);
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
	const char *variant = argc > 1 ? argv[1] : "current";
	char path[64];

	has_v3 = strcmp(variant, "current") == 0;
	old = strcmp(variant, "old") == 0;
	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/state", directory);
	setenv("FAKE_NVML_STATE", path, 1);
	TEST(reads_what_there_is);
	TEST(its_sample_survives_the_line);
	TEST(understands_every_stride);
	TEST(one_process_is_enough);
	TEST(reads_long_lists);
	TEST(counts_a_process_once);
	TEST(sees_the_living);
	TEST(a_list_in_no_known_form_is_a_fault);
	TEST(what_is_not_supported_is_unknown);
	TEST(memory_falls_back);
	TEST(faults_of_one_gpu_stay_with_it);
	TEST(the_driver_asks_for_recovery);
	TEST(an_xid_ends_the_wait_and_stays);
	TEST(an_xid_of_a_program_is_no_fault);
	TEST(waiting_ends_without_events);
	TEST(notices_who_comes_and_goes);
	TEST(notices_another_identity);
	TEST(gpus_without_permission_are_left_out);
	TEST(hostile_uuids_are_left_out);
	TEST(says_why_it_cannot_be_opened);
	TEST(a_driver_that_goes_ends_the_reading);
	TEST(reads_the_topology);
	TEST(a_gpu_is_no_switch);
	unlink(path);
	rmdir(directory);
	return tap_done();
}
