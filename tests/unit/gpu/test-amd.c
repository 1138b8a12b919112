/* SPDX-License-Identifier: MIT */
#include "tree.h"

static void two_dies(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_amd, "amd-mi250");
	const struct gpu *gpu;

	CHECK(sample != NULL);
	if (!sample)
		return;
	CHECK_INT(sample->n_gpus, 2);
	gpu = &sample->gpus[0];
	CHECK_STR(gpu->uuid, "GPU-3cb6a1c1d5a7f301");
	CHECK_STR(gpu->model, "AMD INSTINCT MI250 (MCM) OAM AC MBA");
	CHECK_STR(gpu->pci, "0000:29:00.0");
	CHECK_INT(gpu->vendor, GPU_AMD);
	CHECK_INT(gpu->minor, 128);
	CHECK_INT(gpu->memory_mib, 65520);
	CHECK_INT(gpu->memory_used_mib, 2059);
	CHECK_INT(gpu->utilization, 87);
	CHECK_INT(gpu->temperature_c, 41);
	CHECK_INT(gpu->power_w, 213);
	CHECK_INT(gpu->n_nodes, 2);
	CHECK_INT(gpu->nodes[0].major, 226);
	CHECK_INT(gpu->nodes[0].minor, 128);
	CHECK_INT(gpu->nodes[1].minor, 1);
	CHECK_INT(gpu->link[1], GPU_LINK_NVLINK);
	CHECK_INT(sample->gpus[1].link[0], GPU_LINK_NVLINK);
}

/* A process has a file for each GPU; it is on those where it has memory or a queue. */
static void kfd_processes(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_amd, "amd-mi250");
	_cleanup_(freep) char *first = NULL, *second = NULL;

	CHECK(sample != NULL);
	if (!sample)
		return;
	first = pids_of(&sample->gpus[0]);
	second = pids_of(&sample->gpus[1]);
	CHECK_STR(first, "4711 4712");
	CHECK_STR(second, "4712");
	CHECK_INT(sample->gpus[0].processes[0].memory_mib, 2048);
	CHECK_INT(sample->gpus[0].processes[1].memory_mib, 5);
	CHECK_INT(sample->gpus[1].processes[0].memory_mib, 0);
	CHECK(!sample->gpus[0].processes_unknown);
}

static void without_kfd(void)
{
	_cleanup_(sample_freep) struct sample *sample =
		read_fixture(&backend_amd, "amd-without-kfd");

	CHECK(sample != NULL);
	if (!sample)
		return;
	CHECK_INT(sample->n_gpus, 1);
	CHECK_STR(sample->gpus[0].uuid, "PCI-0000:03:00.0");
	CHECK_STR(sample->gpus[0].model, "Radeon RX 7900 XTX");
	CHECK_INT(sample->gpus[0].power_w, 31);
	CHECK(sample->gpus[0].processes_unknown);
	CHECK_INT(sample->gpus[0].n_processes, 0);
}

/* Whatever is in the files, what comes out can be sent and read again. */
static void hostile(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_fixture(&backend_amd, "hostile"),
					      *again = sample_new();
	_cleanup_(freep) char *line = sample ? sample_encode(sample) : NULL;
	struct error err = { 0 };

	CHECK(line != NULL);
	if (!line)
		return;
	CHECK_INT(sample_decode(line, strlen(line), again, &err), 0);
	CHECK_STR(err.text, "");
	CHECK_INT(again->n_gpus, 3);
	CHECK_STR(again->gpus[0].uuid, "PCI-0000:01:00.0"); /* has the unique_id of the next */
	CHECK_STR(again->gpus[1].uuid, "PCI-0000:02:00.0");
	CHECK_STR(again->gpus[2].uuid, "PCI-0000:03:00.0");
	CHECK_STR(again->gpus[0].model, "?[31mred??xxxxxxxxxxxxxxxxxxxx");
	CHECK_INT(again->gpus[0].memory_mib, GPU_UNKNOWN);
	CHECK_INT(again->gpus[0].utilization, GPU_UNKNOWN);
	CHECK_INT(again->gpus[0].temperature_c, GPU_UNKNOWN);
	CHECK_INT(again->gpus[1].n_processes, 1);
	CHECK_INT(again->gpus[1].link[2], GPU_LINK_SYSTEM); /* PCIe */
}

static void not_a_gpu(void)
{
	_cleanup_(freep) char *sysroot = fixture("display-only");
	struct error err = { 0 };

	CHECK(!read_once(&backend_amd, sysroot, &err));
	CHECK_STR(err.id, "amd.no-gpus");
	CHECK(!read_once(&backend_amd, "/nonexistent", &err));
}

/* The one inside the processor counts only alone; it is known by a voltage of its own. */
static void integrated(void)
{
	char directory[64];
	struct sample *sample;

	tree_make(directory);
	tree_put(directory, "sys/class/drm/card0/device/uevent",
		"DRIVER=amdgpu\nPCI_ID=1002:164E\nPCI_SLOT_NAME=0000:0e:00.0\n");
	tree_put(directory, "sys/class/drm/card0/device/drm/renderD128/dev", "226:128\n");
	tree_put(directory, "sys/class/drm/card0/device/hwmon/hwmon3/in1_label", "vddnb\n");
	sample = read_once(&backend_amd, directory, NULL);
	CHECK(sample && sample->n_gpus == 1);
	sample_free(sample);

	tree_put(directory, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
	tree_put(directory, "sys/bus/pci/devices/0000:01:00.0/class", "0x040300\n"); /* sound */
	sample = read_once(&backend_amd, directory, NULL);
	CHECK(sample && sample->n_gpus == 1);
	sample_free(sample);

	tree_put(directory, "sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
	CHECK(!read_once(&backend_amd, directory, NULL));

	tree_put(directory, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x1234\n");
	tree_put(directory, "sys/class/drm/card1/device/uevent",
		"DRIVER=amdgpu\nPCI_ID=1002:744C\nPCI_SLOT_NAME=0000:03:00.0\n");
	tree_put(directory, "sys/class/drm/card1/device/drm/renderD129/dev", "226:129\n");
	sample = read_once(&backend_amd, directory, NULL);
	CHECK(sample && sample->n_gpus == 1);
	if (sample)
		CHECK_INT(sample->gpus[0].minor, 129);
	sample_free(sample);
}

/* A card that is taken out is not remembered. */
static void unplugged(void)
{
	char directory[64], from[128], to[128];
	struct backend_options options = { .sysroot = directory };
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	struct error err = { 0 };
	void *context = NULL;

	tree_make(directory);
	tree_put(directory, "sys/class/drm/card0/device/uevent",
		"DRIVER=amdgpu\nPCI_ID=1002:744C\nPCI_SLOT_NAME=0000:03:00.0\n");
	tree_put(directory, "sys/class/drm/card0/device/drm/renderD128/dev", "226:128\n");
	CHECK_INT(backend_amd.open(&options, &context, NULL), 0);
	CHECK_INT(backend_amd.read(context, sample, NULL), 0);
	CHECK_INT(sample->n_gpus, 1);
	snprintf(from, sizeof(from), "%s/sys/class/drm/card0", directory);
	snprintf(to, sizeof(to), "%s/gone", directory);
	CHECK_INT(rename(from, to), 0);
	sample_clear(sample);
	CHECK_INT(backend_amd.read(context, sample, &err), -ENODEV);
	backend_amd.close(context);
}

int main(void)
{
	TEST(two_dies);
	TEST(kfd_processes);
	TEST(without_kfd);
	TEST(hostile);
	TEST(not_a_gpu);
	TEST(integrated);
	TEST(unplugged);
	return tree_done();
}
