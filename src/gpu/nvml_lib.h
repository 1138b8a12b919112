/* SPDX-License-Identifier: MIT */
/* libnvidia-ml.so.1, loaded, with the functions of it that this driver has. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "gpu/nvml_abi.h"

typedef int (*nvml_process_list)(nvml_device device, uint32_t *count, void *entries);

#define NVML_LIST_VERSIONS 3

/* Optional functions are NULL where the driver lacks them. */
struct nvml_lib {
	void *handle; /* owned; NULL = not loaded */

	int (*init)(void);
	int (*shutdown)(void);
	const char *(*error_string)(int result); /* optional */
	int (*count)(uint32_t *ret);
	int (*by_index)(uint32_t index, nvml_device *ret);
	int (*uuid)(nvml_device device, char *ret, uint32_t size);
	int (*name)(nvml_device device, char *ret, uint32_t size);

	/* Optional from here on. */
	int (*minor)(nvml_device device, uint32_t *ret);
	int (*pci)(nvml_device device, struct nvml_pci *ret);
	int (*memory)(nvml_device device, struct nvml_memory *ret);
	int (*memory_v2)(nvml_device device, struct nvml_memory_v2 *ret);
	int (*utilization)(nvml_device device, struct nvml_utilization *ret);
	int (*temperature)(nvml_device device, int sensor, uint32_t *ret);
	int (*power)(nvml_device device, uint32_t *ret_mw);
	int (*fields)(nvml_device device, int count, struct nvml_field *fields);
	int (*ecc_errors)(nvml_device device, int type, int counter, uint64_t *ret);
	int (*remapped_rows)(nvml_device device, uint32_t *ret_correctable,
		uint32_t *ret_uncorrectable, uint32_t *ret_pending, uint32_t *ret_failed);
	int (*mig_mode)(nvml_device device, uint32_t *ret_current, uint32_t *ret_pending);
	int (*mig_count)(nvml_device device, uint32_t *ret_max);
	int (*mig_by_index)(nvml_device device, uint32_t number, nvml_device *ret);
	int (*gpu_instance)(nvml_device mig_device, uint32_t *ret);
	int (*compute_instance)(nvml_device mig_device, uint32_t *ret);
	int (*ancestor)(nvml_device a, nvml_device b, int *ret_level);
	int (*nvlink_state)(nvml_device device, uint32_t link, int *ret_active);
	int (*nvlink_remote)(nvml_device device, uint32_t link, struct nvml_pci *ret);
	int (*events_new)(nvml_events *ret);
	int (*events_supported)(nvml_device device, uint64_t *ret_types);
	int (*events_register)(nvml_device device, uint64_t types, nvml_events set);
	int (*events_wait)(nvml_events set, struct nvml_event *ret, uint32_t timeout_ms);
	int (*events_free)(nvml_events set);
	nvml_process_list compute[NVML_LIST_VERSIONS]; /* newest first */
	nvml_process_list mps[NVML_LIST_VERSIONS];
	nvml_process_list graphics[NVML_LIST_VERSIONS];
};

/* Loads and initialises it. BACKEND_STALE: see gpu/backend.h. */
int nvml_lib_open(struct nvml_lib *lib, struct error *err);

/* Shuts it down and unloads it; one that is not loaded is fine. */
void nvml_lib_close(struct nvml_lib *lib);

/* Does this result mean that NVML as a whole is gone, whichever GPU was asked? */
bool nvml_result_is_global(int result);

/* The negative errno and sentence of a result of a call that concerns all GPUs. */
int nvml_error(const struct nvml_lib *lib, int result, const char *call, struct error *err);
