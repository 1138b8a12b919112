/* SPDX-License-Identifier: MIT */
/* Who computes on a GPU, according to NVML. */
#pragma once

#include "gpu/nvml_lib.h"
#include "gpu/sample.h"

/* Room for a list, kept from call to call. Starts as zeros. */
struct nvml_list {
	unsigned char *entries; /* owned */
	uint32_t capacity;
};

void nvml_list_release(struct nvml_list *list);

/*
 * Adds those who hold a compute context on the device to gpu, MPS clients included, each pid once.
 * Returns an NVML result; whoever may not see the list (not supported, no permission) sees an empty
 * one, which is a success. A list that cannot be understood sets gpu->fault. Negative: -ENOMEM.
 */
int nvml_read_processes(
	const struct nvml_lib *lib, nvml_device device, struct nvml_list *list, struct gpu *gpu);
