/* SPDX-License-Identifier: MIT */
/* What the kernel tells about an NVIDIA GPU and NVML does not. root is that of gpu/tree.h. */
#pragma once

#include "gpu/nvml_abi.h"
#include "gpu/sample.h"

/*
 * Replaces the nodes of a GPU by those that give access to it: /dev/nvidiaMINOR, the DRM nodes of
 * its card, and for an instance (else NULL) its capabilities. What does not exist is left out.
 */
void nvml_read_nodes(int root, const struct nvml_instance *instance, struct gpu *gpu);

/* The memory of a GPU that has none of its own: that of the machine. */
void nvml_read_shared_memory(int root, struct gpu *gpu);
