/* SPDX-License-Identifier: MIT */
/* Cards in MIG mode. The old driver knows none. */
#include "nvml-fixture.h"

#define CARD                                                                                    \
	"gpu GPU-1\nname NVIDIA A100 80GB PCIe\nminor 5\nbus 00000000:3B:00.0\nmemory 81920 0 " \
	"9\nmig 7\n"
#define ONE                                                                                \
	"instance 0 MIG-1 7 0\nname NVIDIA A100 80GB PCIe MIG 1g.10gb\nmemory 9728 0 12\n" \
	"util 50\n"
#define TWO "instance 3 MIG-2 2 1\nname NVIDIA A100 80GB PCIe MIG 2g.20gb\nmemory 19968 0 25\n"

static void each_instance_is_a_gpu(void)
{
	FIXTURE(f);
	const struct gpu *gpu;
	_cleanup_(freep) char *line = NULL;

	put("", SECOND "near GPU-1 40\n" CARD ONE TWO "gpu GPU-3\nmig 0\nmemory 4096 0 0\n");
	put_tree("proc/devices", "Character devices:\n195 nvidia\n236 nvidia-caps\n"
				 "509 nvidia-caps-imex-channels\n\nBlock devices:\n  7 loop\n");
	put_tree("proc/driver/nvidia-caps/mig-minors",
		"config 1\nmonitor 2\ngpu5/gi2/access 30\ngpu5/gi2/ci0/access 31\n"
		"gpu5/gi2/ci1/access 32\ngpu4/gi7/access 900\ngpu5/gi7/access 66\n"
		"gpu5/gi7/ci0/access 67\ngpu5/gi7/ci1/access 68\n");
	put_tree("sys/bus/pci/devices/0000:3b:00.0/drm/renderD128/dev", "226:128\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 4);
	gpu = &f.sample->gpus[1];
	CHECK_STR(gpu->uuid, "MIG-1");
	CHECK_STR(gpu->model, "NVIDIA A100 80GB PCIe MIG 1g.10gb");
	CHECK_STR(gpu->pci, "00000000:3b:00.0");
	CHECK_INT(gpu->index, 200);
	CHECK_INT(gpu->minor, 5);
	CHECK_INT(gpu->memory_mib, 9728);
	CHECK_INT(gpu->memory_used_mib, 12);
	CHECK_INT(gpu->utilization, 50);
	check_nodes(gpu, "195:5 236:66 236:67 226:128");
	gpu = &f.sample->gpus[2];
	CHECK_STR(gpu->uuid, "MIG-2");
	CHECK_INT(gpu->index, 203);
	CHECK_INT(gpu->memory_mib, 19968);
	CHECK_INT(gpu->utilization, GPU_UNKNOWN);
	check_nodes(gpu, "195:5 236:30 236:32 226:128");
	CHECK_INT(f.sample->gpus[0].index, 0);
	CHECK_INT(f.sample->gpus[3].index, 2);
	check_nodes(&f.sample->gpus[0], "195:4");
	check_links(&f, 0, ".nns");
	check_links(&f, 1, "n..s");
	check_links(&f, 2, "n..s");
	line = sample_encode(f.sample);
	CHECK_INT(sample_decode(line, strlen(line), f.sample, NULL), 0);
}

static void notices_other_instances(void)
{
	FIXTURE(f);

	put("", CARD ONE TWO);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 2);
	put("", CARD TWO);
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "MIG-2");
	CHECK_INT(f.sample->gpus[0].index, 103);
	put("", CARD ONE TWO "instance 1 MIG-3 4 0\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 3);
	CHECK_STR(f.sample->gpus[1].uuid, "MIG-3");
	put("", CARD "instance 0 MIG-9 7 0\n");
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "MIG-9");

	/* Without instances there is nothing to be used, without the mode there is the card. */
	put("", CARD);
	CHECK_INT(read_again(&f), -ENODEV);
	CHECK_STR(f.err.id, "nvml.no-instances");
	put("", CARD SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-2");
	put("", CARD "mig 0\n" SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 2);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-1");
	CHECK_INT(f.sample->gpus[0].index, 0);
}

/* Asked of the instance, or, if that is not to be had, of the card. */
static void processes_belong_to_their_instance(void)
{
	static const char *const rules[] = {
		"",
		"return nvmlDeviceGetComputeRunningProcesses_v3 3\n"
		"return nvmlDeviceGetComputeRunningProcesses_v2 3\n"
		"return nvmlDeviceGetComputeRunningProcesses 3\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
		FIXTURE(f);

		put("",
			CARD ONE "process 4711 5 compute\n%s" TWO
				 "process 4712 6 compute\nprocess 4713 7 compute\n%s",
			rules[i], rules[i]);
		CHECK_INT(set_up_and_read(&f), 0);
		CHECK_INT(f.sample->gpus[0].n_processes, 1);
		CHECK_INT(f.sample->gpus[0].processes[0].pid, 4711);
		CHECK_INT(f.sample->gpus[1].n_processes, 2);
		CHECK_INT(f.sample->gpus[1].processes[1].pid, 4713);
		CHECK_INT(f.sample->gpus[1].processes[1].memory_mib, 7);
		CHECK(!f.sample->gpus[0].processes_unknown);
	}
}

static void health_is_that_of_the_card(void)
{
	FIXTURE(f);

	put("", CARD "ecc 1\n" ONE "recovery 1\n" TWO SECOND);
	CHECK_INT(set_up_and_read(&f), 0);
	for (int i = 0; i < 2; i++)
		CHECK_STR(f.sample->gpus[i].defect,
			"1 uncorrectable memory errors since the driver was loaded; reset the GPU");
	CHECK_STR(f.sample->gpus[2].defect, "");

	put("", CARD ONE TWO SECOND);
	put(".xid", "GPU-1 79\n");
	backend_nvml.wait(f.context, WAIT_MS);
	CHECK_INT(read_again(&f), 0);
	for (int i = 0; i < 2; i++)
		CHECK_STR(
			f.sample->gpus[i].defect, "XID 79: NVIDIA advises to restart the machine");
	CHECK_STR(f.sample->gpus[2].defect, "");

	/* A card that is gone keeps its instances, with their sizes. */
	put("", CARD "return * 15\n" ONE "return * 15\n" TWO "return * 15\n" SECOND);
	CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 3);
	CHECK_INT(f.sample->gpus[0].memory_mib, 9728);
	CHECK_STR(f.sample->gpus[1].fault,
		"the GPU has fallen off the bus or is otherwise inaccessible");
	CHECK_STR(f.sample->gpus[2].fault, "");
}

static void instances_without_permission_come_later(void)
{
	FIXTURE(f);

	put("", CARD ONE TWO "return nvmlDeviceGetUUID 4\n");
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	put("", CARD ONE TWO);
	for (int i = 0; i < 70 && f.sample->n_gpus == 1; i++)
		CHECK_INT(read_again(&f), 0);
	CHECK_INT(f.sample->n_gpus, 2);
}

static void an_old_driver_has_cards(void)
{
	FIXTURE(f);

	put("", CARD ONE);
	CHECK_INT(set_up_and_read(&f), 0);
	CHECK_INT(f.sample->n_gpus, 1);
	CHECK_STR(f.sample->gpus[0].uuid, "GPU-1");
}

int main(int argc, char **argv)
{
	if (!begin(argc, argv))
		return 1;
	if (old) {
		TEST(an_old_driver_has_cards);
		return end();
	}
	TEST(each_instance_is_a_gpu);
	TEST(notices_other_instances);
	TEST(processes_belong_to_their_instance);
	TEST(health_is_that_of_the_card);
	TEST(instances_without_permission_come_later);
	return end();
}
