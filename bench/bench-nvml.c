/* SPDX-License-Identifier: MIT */
/*
 * A libnvidia-ml.so.1 that answers at once, so that what a sample costs is what dibs makes of it: 8
 * GPUs that all look alike, and on them, in turn, the processes that the file $BENCH_PIDS lists,
 * one pid a line. A real driver takes its time on top of that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/nvml_abi.h"

#define GPUS     8
#define PIDS_MAX 65536

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(uint32_t *ret);
int nvmlDeviceGetHandleByIndex_v2(uint32_t index, nvml_device *ret);
int nvmlDeviceGetUUID(nvml_device device, char *ret, uint32_t size);
int nvmlDeviceGetName(nvml_device device, char *ret, uint32_t size);
int nvmlDeviceGetMinorNumber(nvml_device device, uint32_t *ret);
int nvmlDeviceGetPciInfo_v3(nvml_device device, struct nvml_pci *ret);
int nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *ret);
int nvmlDeviceGetUtilizationRates(nvml_device device, struct nvml_utilization *ret);
int nvmlDeviceGetTemperature(nvml_device device, int sensor, uint32_t *ret);
int nvmlDeviceGetPowerUsage(nvml_device device, uint32_t *ret_mw);
int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, uint32_t *count, void *entries);

static uint32_t pids[PIDS_MAX];
static uint32_t n_pids;

static uint32_t index_of(nvml_device device)
{
	return (uint32_t)((uintptr_t)device - 1);
}

int nvmlInit_v2(void)
{
	const char *path = getenv("BENCH_PIDS");
	FILE *file = path ? fopen(path, "re") : NULL;

	while (file && n_pids < PIDS_MAX && fscanf(file, "%u", &pids[n_pids]) == 1)
		n_pids++;
	if (file)
		fclose(file);
	return NVML_SUCCESS;
}

int nvmlShutdown(void)
{
	return NVML_SUCCESS;
}

int nvmlDeviceGetCount_v2(uint32_t *ret)
{
	*ret = GPUS;
	return NVML_SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(uint32_t index, nvml_device *ret)
{
	*ret = (nvml_device)(uintptr_t)(index + 1);
	return NVML_SUCCESS;
}

int nvmlDeviceGetUUID(nvml_device device, char *ret, uint32_t size)
{
	snprintf(ret, size, "GPU-%08x-0000-4000-8000-000000000000", index_of(device));
	return NVML_SUCCESS;
}

int nvmlDeviceGetName(nvml_device device, char *ret, uint32_t size)
{
	snprintf(ret, size, "NVIDIA A100-SXM4-80GB");
	return NVML_SUCCESS;
}

int nvmlDeviceGetMinorNumber(nvml_device device, uint32_t *ret)
{
	*ret = index_of(device);
	return NVML_SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(nvml_device device, struct nvml_pci *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->bus = index_of(device) + 1;
	snprintf(ret->id, sizeof(ret->id), "00000000:%02X:00.0", ret->bus);
	return NVML_SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *ret)
{
	ret->total = UINT64_C(80) << 30;
	ret->reserved = UINT64_C(512) << 20;
	ret->used = UINT64_C(40) << 30;
	ret->free = ret->total - ret->reserved - ret->used;
	return NVML_SUCCESS;
}

int nvmlDeviceGetUtilizationRates(nvml_device device, struct nvml_utilization *ret)
{
	*ret = (struct nvml_utilization){ .gpu = 97, .memory = 40 };
	return NVML_SUCCESS;
}

int nvmlDeviceGetTemperature(nvml_device device, int sensor, uint32_t *ret)
{
	*ret = 61;
	return NVML_SUCCESS;
}

int nvmlDeviceGetPowerUsage(nvml_device device, uint32_t *ret_mw)
{
	*ret_mw = 305000;
	return NVML_SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, uint32_t *count, void *entries)
{
	struct nvml_process *list = entries;
	uint32_t room = *count, n = 0;

	for (uint32_t i = index_of(device); i < n_pids; i += GPUS, n++)
		if (n < room)
			list[n] = (struct nvml_process){ pids[i], UINT64_C(512) << 20, UINT32_MAX,
				UINT32_MAX };
	*count = n;
	return n > room ? NVML_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
