/* SPDX-License-Identifier: MIT */
/* What is wrong with a GPU. */
#include "base/clock.h"
#include "nvml-fixture.h"

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
		CHECK_STR(f.sample->gpus[0].defect, faults[i].result == 15 ? faults[i].fault : "");
		CHECK_STR(f.sample->gpus[1].defect, "");
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
	CHECK_STR(f.sample->gpus[0].defect, "the driver asks to reset the GPU");
	CHECK_STR(f.sample->gpus[0].fault, "");
	CHECK_STR(f.sample->gpus[1].defect, "");
	CHECK_STR(f.sample->gpus[2].defect, "the driver asks for recovery action 77");
}

static void memory_that_fails_is_a_defect(void)
{
	static const struct {
		const char *state, *defect;
	} cases[] = {
		{ "ecc 0\nrows 0 0\n", "" },
		{ "ecc 2\n", "2 uncorrectable memory errors since the driver was loaded; reset the "
			     "GPU" },
		{ "rows 1 0\n", "reset the GPU to remap rows of its memory" },
		{ "ecc 2\nrows 1 0\n", "reset the GPU to remap rows of its memory" },
		{ "rows 1 1\n",
			"rows of its memory could not be remapped; the card is to be replaced" },
		{ "rows 1 1\nrecovery 4\n", "the driver asks to drain and reset the GPU" },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases) && !old; i++) {
		FIXTURE(f);

		put("", FIRST "%s" SECOND, cases[i].state);
		CHECK_INT(set_up_and_read(&f), 0);
		CHECK_STR(f.sample->gpus[0].defect, cases[i].defect);
		CHECK_STR(f.sample->gpus[0].fault, "");
		CHECK_INT(f.sample->gpus[0].memory_mib, 81920);
		CHECK_STR(f.sample->gpus[1].defect, "");
	}
}

static void an_xid_ends_the_wait_and_stays(void)
{
	static const char defect[] = "XID 79: NVIDIA advises to restart the machine";
	FIXTURE(f);
	int64_t before;

	put("", FIRST SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	put(".xid", "GPU-2 79\n");
	before = clock_monotonic_ms();
	backend_nvml.wait(f.context, WAIT_MS);
	CHECK(clock_monotonic_ms() - before < WAIT_MS);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[1].fault, "");
	CHECK_STR(f.sample->gpus[0].defect, "");
	CHECK_STR(f.sample->gpus[1].defect, defect);
	CHECK_INT(f.sample->gpus[1].memory_mib, 24576);

	/* Also when the other GPU vanishes and comes back, and what comes later is its consequence.
	 */
	put("", SECOND "return nvmlDeviceGetPowerUsage 15\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].defect, defect);
	put("", FIRST SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[0].defect, "");
	CHECK_STR(f.sample->gpus[1].defect, defect);

	/* A new sensor begins anew. */
	backend_nvml.close(f.context);
	f.context = NULL;
	CHECK_INT(backend_nvml.open(
			  &(struct backend_options){ .sysroot = directory }, &f.context, &f.err),
		0);
	CHECK_INT(read_again(&f), 0);
	CHECK_STR(f.sample->gpus[1].defect, "");
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
	CHECK_STR(f.sample->gpus[0].defect, "");
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
		before = clock_monotonic_ms();
		backend_nvml.wait(f.context, 30);
		CHECK(clock_monotonic_ms() - before >= 29);
		CHECK(clock_monotonic_ms() - before < WAIT_MS);
		CHECK_INT(read_again(&f), 0);
	}
}

int main(int argc, char **argv)
{
	if (!begin(argc, argv))
		return 1;
	TEST(faults_of_one_gpu_stay_with_it);
	TEST(the_driver_asks_for_recovery);
	TEST(memory_that_fails_is_a_defect);
	TEST(an_xid_ends_the_wait_and_stays);
	TEST(an_xid_of_a_program_is_no_fault);
	TEST(waiting_ends_without_events);
	return end();
}
