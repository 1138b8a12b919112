/* SPDX-License-Identifier: MIT */
/*
 * An instance of a MIG card can be used by who may open the node of the card and two capabilities,
 * which are minors of the driver nvidia-caps: /proc/driver/nvidia-caps/mig-minors has lines
 * "gpuMINOR/giG/access M" and "gpuMINOR/giG/ciC/access M", /proc/devices the major.
 */
#include "gpu/nvml_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/parse.h"
#include "gpu/tree.h"

#define LINE_SIZE 256

/* The major of a character driver; block drivers come behind them in the same file. */
static bool find_major(int root, const char *driver, uint64_t *ret)
{
	_cleanup_(fclosep) FILE *file = fopen_at(root, "proc/devices");
	char line[LINE_SIZE];

	while (file && fgets(line, sizeof(line), file) && !strstr(line, "Block devices:")) {
		char *number = line + strspn(line, " "), *name = strchr(number, ' ');

		line[strcspn(line, "\n")] = '\0';
		if (!name)
			continue;
		*name = '\0';
		if (strcmp(name + 1, driver) == 0)
			return parse_uint(number, 0, SAMPLE_MAJOR_MAX, ret) >= 0;
	}
	return false;
}

static void add_capabilities(int root, const struct nvml_instance *instance, struct gpu *gpu)
{
	_cleanup_(fclosep) FILE *file = fopen_at(root, "proc/driver/nvidia-caps/mig-minors");
	char line[LINE_SIZE], whole[64], part[64];
	uint64_t major, minor;

	if (!file || !find_major(root, "nvidia-caps", &major))
		return;
	snprintf(whole, sizeof(whole), "gpu%d/gi%" PRIu32 "/access", gpu->minor, instance->gpu);
	snprintf(part, sizeof(part), "gpu%d/gi%" PRIu32 "/ci%" PRIu32 "/access", gpu->minor,
		instance->gpu, instance->compute);
	while (fgets(line, sizeof(line), file)) {
		char *space = strchr(line, ' ');

		line[strcspn(line, "\n")] = '\0';
		if (!space)
			continue;
		*space = '\0';
		if ((strcmp(line, whole) == 0 || strcmp(line, part) == 0) &&
			parse_uint(space + 1, 0, SAMPLE_MINOR_MAX, &minor) >= 0)
			sample_add_node(gpu, major, minor);
	}
}

static void add_drm_nodes(int root, const char *prefix, struct gpu *gpu)
{
	_cleanup_(closep) int drm = -1;
	_cleanup_(freep) uint64_t *numbers = NULL;
	unsigned domain, bus, device, function;
	char path[TREE_PATH_SIZE], text[32];
	int n;

	if (sscanf(gpu->pci, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
		return;
	tree_path(path, "sys/bus/pci/devices/%04x:%02x:%02x.%x/drm", domain, bus, device, function);
	drm = tree_open_dir(root, path);
	n = tree_list(drm, ".", prefix, &numbers);
	for (int i = 0; i < n; i++) {
		tree_path(path, "%s%" PRIu64 "/dev", prefix, numbers[i]);
		if (tree_text(drm, path, text, sizeof(text)) >= 0)
			sample_add_node_text(gpu, text);
	}
}

void nvml_read_nodes(int root, const struct nvml_instance *instance, struct gpu *gpu)
{
	gpu->n_nodes = 0;
	if (gpu->minor != GPU_UNKNOWN) {
		sample_add_node(gpu, NVIDIA_MAJOR, (uint64_t)gpu->minor);
		if (instance)
			add_capabilities(root, instance, gpu);
	}
	add_drm_nodes(root, "card", gpu);
	add_drm_nodes(root, "renderD", gpu);
}

void nvml_read_shared_memory(int root, struct gpu *gpu)
{
	_cleanup_(fclosep) FILE *file = fopen_at(root, "proc/meminfo");
	unsigned long long total = 0, available = 0;
	char line[LINE_SIZE];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemTotal: %18llu kB", &total) != 1)
			sscanf(line, "MemAvailable: %18llu kB", &available);
	if (total >> 10 == 0 || total >> 10 > SAMPLE_MEMORY_MAX || available > total)
		return;
	gpu->memory_mib = (int64_t)(total >> 10);
	gpu->memory_used_mib = (int64_t)((total - available) >> 10);
}
