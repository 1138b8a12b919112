/* SPDX-License-Identifier: MIT */
/*
 * Two GPUs are NVLink neighbours if an active link of one ends at the other, or if links of both
 * end at one device that is no GPU: an NVSwitch. All else is the common ancestor in the PCIe tree.
 */
#include "gpu/nvml_topology.h"

#include <errno.h>

/* Where the active NVLinks of one GPU end. */
struct ends {
	uint64_t keys[NVML_NVLINK_MAX_LINKS];
	unsigned n;
};

uint64_t nvml_pci_key(const struct nvml_pci *pci)
{
	return (uint64_t)pci->domain << 32 | (uint64_t)(pci->bus & 0xffff) << 16 |
	       (pci->device & 0xffff);
}

static void read_ends(const struct nvml_lib *lib, nvml_device device, struct ends *ends)
{
	if (!lib->nvlink_state || !lib->nvlink_remote)
		return;
	for (uint32_t link = 0; link < NVML_NVLINK_MAX_LINKS; link++) {
		struct nvml_pci remote = { 0 };
		int active = 0;

		if (lib->nvlink_state(device, link, &active) != NVML_SUCCESS || !active ||
			lib->nvlink_remote(device, link, &remote) != NVML_SUCCESS)
			continue;
		ends->keys[ends->n++] = nvml_pci_key(&remote);
	}
}

static bool has(const uint64_t *keys, unsigned n, uint64_t key)
{
	for (unsigned i = 0; i < n; i++)
		if (keys[i] == key)
			return true;
	return false;
}

static bool nvlinked(
	const struct ends *ends, const uint64_t keys[], unsigned n, unsigned a, unsigned b)
{
	for (unsigned i = 0; i < ends[a].n; i++) {
		uint64_t end = ends[a].keys[i];

		if (end == keys[b] || (!has(keys, n, end) && has(ends[b].keys, ends[b].n, end)))
			return true;
	}
	return has(ends[b].keys, ends[b].n, keys[a]);
}

static enum gpu_link ancestor(const struct nvml_lib *lib, nvml_device a, nvml_device b)
{
	int level;

	if (!lib->ancestor || lib->ancestor(a, b, &level) != NVML_SUCCESS)
		return GPU_LINK_SYSTEM;
	switch (level) {
	case NVML_LEVEL_INTERNAL:
		return GPU_LINK_INTERNAL;
	case NVML_LEVEL_SINGLE:
		return GPU_LINK_SINGLE;
	case NVML_LEVEL_MULTIPLE:
		return GPU_LINK_MULTIPLE;
	case NVML_LEVEL_HOSTBRIDGE:
		return GPU_LINK_HOSTBRIDGE;
	case NVML_LEVEL_NODE:
		return GPU_LINK_NODE;
	default:
		return GPU_LINK_SYSTEM;
	}
}

int nvml_read_links(const struct nvml_lib *lib, const nvml_device devices[], const uint64_t keys[],
	struct gpu gpus[], unsigned n)
{
	_cleanup_(freep) struct ends *ends = calloc(n, sizeof(*ends));

	if (!ends)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		read_ends(lib, devices[i], &ends[i]);
	for (unsigned a = 0; a < n; a++) {
		gpus[a].link[a] = GPU_LINK_INTERNAL;
		for (unsigned b = a + 1; b < n; b++) {
			enum gpu_link link = nvlinked(ends, keys, n, a, b)
						     ? GPU_LINK_NVLINK
						     : ancestor(lib, devices[a], devices[b]);

			gpus[a].link[b] = gpus[b].link[a] = (uint8_t)link;
		}
	}
	return 0;
}
