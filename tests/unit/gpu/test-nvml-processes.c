/* SPDX-License-Identifier: MIT */
/* Who is on a GPU. */
#include "nvml-fixture.h"

static void check_processes(const struct gpu *gpu)
{
	CHECK_STR(gpu->fault, "");
	CHECK_INT(gpu->n_processes, old ? 4 : 5);
	for (size_t i = 0; i < gpu->n_processes; i++)
		CHECK_INT(gpu->processes[i].pid, 4711 + (pid_t)i + (old && i == 3));
	CHECK(!gpu->processes_unknown);
	if (gpu->n_processes < 3)
		return;
	CHECK_INT(gpu->processes[0].memory_mib, 512);
	CHECK_INT(gpu->processes[1].memory_mib, GPU_UNKNOWN);
	CHECK_INT(gpu->processes[2].memory_mib, 42405);
}

/* So that only the _v3 lists can have answered. */
#define WITHOUT_OLDER                                            \
	"return nvmlDeviceGetComputeRunningProcesses 13\n"       \
	"return nvmlDeviceGetComputeRunningProcesses_v2 13\n"    \
	"return nvmlDeviceGetMPSComputeRunningProcesses_v2 13\n" \
	"return nvmlDeviceGetGraphicsRunningProcesses 13\n"      \
	"return nvmlDeviceGetGraphicsRunningProcesses_v2 13\n"

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

/* An MPS client may be in two lists, and who draws and computes as well. */
static void counts_a_process_once(void)
{
	FIXTURE(f);

	put("", FIRST "process 4711 5 compute\nprocess 4711 9 mps\nprocess 4711 na compute\n"
		      "process 4712 7 graphics\nprocess 4712 3 compute\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->gpus[0].n_processes, 2);
	CHECK_INT(f.sample->gpus[0].processes[0].memory_mib, old ? 5 : 9);
	CHECK_INT(f.sample->gpus[0].processes[1].memory_mib, 7);
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

int main(int argc, char **argv)
{
	if (!begin(argc, argv))
		return 1;
	TEST(understands_every_stride);
	TEST(one_process_is_enough);
	TEST(reads_long_lists);
	TEST(counts_a_process_once);
	TEST(sees_the_living);
	TEST(a_list_in_no_known_form_is_a_fault);
	return end();
}
