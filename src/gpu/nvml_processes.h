/* SPDX-License-Identifier: MIT */
/* Who is on a GPU, according to NVML. */
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
 * Adds those who have a compute or graphics context on the device to gpu, MPS clients included,
 * each pid once with the most memory that any list tells. Where the device is an instance of a
 * card, only those of that instance. Whoever may not see the list of compute processes (not
 * supported, no permission) gets gpu->processes_unknown, which is a success; a list that cannot be
 * understood sets gpu->fault. Returns an NVML result, or -ENOMEM.
 */
int nvml_read_processes(const struct nvml_lib *lib, nvml_device device, nvml_device card,
	struct nvml_instance instance, struct nvml_list *list, struct gpu *gpu);
