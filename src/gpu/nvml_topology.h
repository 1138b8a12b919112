/* SPDX-License-Identifier: MIT */
/* How the GPUs of this machine reach each other, according to NVML. */
#pragma once

#include "gpu/nvml_lib.h"
#include "model/gpu.h"

/* The PCI address of a device as one number; NVML_PCI_UNKNOWN. */
#define NVML_PCI_UNKNOWN UINT64_MAX
uint64_t nvml_pci_key(const struct nvml_pci *pci);

/* Fills gpus[i].link[j] for all pairs of n devices whose addresses are keys. What the driver does
 * not tell is GPU_LINK_SYSTEM. -ENOMEM. */
int nvml_read_links(const struct nvml_lib *lib, const nvml_device devices[], const uint64_t keys[],
	struct gpu gpus[], unsigned n);
