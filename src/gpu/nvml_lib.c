/* SPDX-License-Identifier: MIT */
/*
 * Loading NVML.
 *
 * nvml.h renames functions by macro ("nvmlInit" is nvmlInit_v2 to whoever compiles against it), and
 * drivers add and once even removed versions. So each function is looked up by its real names,
 * newest first, and a driver that lacks an optional one merely tells less. Versions of one function
 * that differ in their layout (memory, process lists) are separate entries.
 *
 * The library is found by its SONAME alone: libnvidia-ml.so exists only where development packages
 * are installed.
 */
#include "gpu/nvml_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "gpu/backend.h"

#define LIBRARY "libnvidia-ml.so.1"

#define SYMBOL(field, required, ...)                        \
	{                                                   \
		offsetof(struct nvml_lib, field), required, \
		{                                           \
			__VA_ARGS__                         \
		}                                           \
	}

static const struct {
	size_t offset;
	bool required;
	const char *names[2]; /* newest first */
} symbols[] = {
	SYMBOL(init, true, "nvmlInit_v2", "nvmlInit"),
	SYMBOL(shutdown, true, "nvmlShutdown"),
	SYMBOL(error_string, false, "nvmlErrorString"),
	SYMBOL(count, true, "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"),
	SYMBOL(by_index, true, "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"),
	SYMBOL(uuid, true, "nvmlDeviceGetUUID"),
	SYMBOL(name, true, "nvmlDeviceGetName"),
	SYMBOL(minor, false, "nvmlDeviceGetMinorNumber"),
	SYMBOL(pci, false, "nvmlDeviceGetPciInfo_v3"),
	SYMBOL(memory, false, "nvmlDeviceGetMemoryInfo"),
	SYMBOL(memory_v2, false, "nvmlDeviceGetMemoryInfo_v2"),
	SYMBOL(utilization, false, "nvmlDeviceGetUtilizationRates"),
	SYMBOL(temperature, false, "nvmlDeviceGetTemperature"),
	SYMBOL(power, false, "nvmlDeviceGetPowerUsage"),
	SYMBOL(fields, false, "nvmlDeviceGetFieldValues"),
	SYMBOL(ecc_errors, false, "nvmlDeviceGetTotalEccErrors"),
	SYMBOL(remapped_rows, false, "nvmlDeviceGetRemappedRows"),
	SYMBOL(mig_mode, false, "nvmlDeviceGetMigMode"),
	SYMBOL(mig_count, false, "nvmlDeviceGetMaxMigDeviceCount"),
	SYMBOL(mig_by_index, false, "nvmlDeviceGetMigDeviceHandleByIndex"),
	SYMBOL(gpu_instance, false, "nvmlDeviceGetGpuInstanceId"),
	SYMBOL(compute_instance, false, "nvmlDeviceGetComputeInstanceId"),
	SYMBOL(ancestor, false, "nvmlDeviceGetTopologyCommonAncestor"),
	SYMBOL(nvlink_state, false, "nvmlDeviceGetNvLinkState"),
	SYMBOL(nvlink_remote, false, "nvmlDeviceGetNvLinkRemotePciInfo_v2"),
	SYMBOL(events_new, false, "nvmlEventSetCreate"),
	SYMBOL(events_supported, false, "nvmlDeviceGetSupportedEventTypes"),
	SYMBOL(events_register, false, "nvmlDeviceRegisterEvents"),
	SYMBOL(events_wait, false, "nvmlEventSetWait_v2", "nvmlEventSetWait"),
	SYMBOL(events_free, false, "nvmlEventSetFree"),
	SYMBOL(compute[0], false, "nvmlDeviceGetComputeRunningProcesses_v3"),
	SYMBOL(compute[1], false, "nvmlDeviceGetComputeRunningProcesses_v2"),
	SYMBOL(compute[2], false, "nvmlDeviceGetComputeRunningProcesses"),
	SYMBOL(mps[0], false, "nvmlDeviceGetMPSComputeRunningProcesses_v3"),
	SYMBOL(mps[1], false, "nvmlDeviceGetMPSComputeRunningProcesses_v2"),
	SYMBOL(mps[2], false, "nvmlDeviceGetMPSComputeRunningProcesses"),
	SYMBOL(graphics[0], false, "nvmlDeviceGetGraphicsRunningProcesses_v3"),
	SYMBOL(graphics[1], false, "nvmlDeviceGetGraphicsRunningProcesses_v2"),
	SYMBOL(graphics[2], false, "nvmlDeviceGetGraphicsRunningProcesses"),
};

bool nvml_result_is_global(int result)
{
	return result == NVML_UNINITIALIZED || result == NVML_DRIVER_NOT_LOADED ||
	       result == NVML_LIB_RM_VERSION_MISMATCH;
}

/* The words of the library for a result. */
static const char *words(const struct nvml_lib *lib, int result)
{
	const char *text = lib->error_string ? lib->error_string(result) : NULL;

	return text && text_is_utf8(text) ? text : "no description";
}

int nvml_error(const struct nvml_lib *lib, int result, const char *call, struct error *err)
{
	switch (result) {
	case NVML_DRIVER_NOT_LOADED:
		return error_set(err, -ENODEV, "nvml.no-driver",
			"the NVIDIA driver is not loaded; try 'modprobe nvidia' and look into the "
			"kernel "
			"log");
	case NVML_LIB_RM_VERSION_MISMATCH:
		return error_set(err, BACKEND_STALE, "nvml.driver-replaced",
			"the NVIDIA library and the loaded kernel driver have different versions "
			"(driver "
			"updated?); the sensor has to be started again after a reboot or a reload "
			"of the "
			"driver");
	case NVML_OPERATING_SYSTEM:
		return error_set(err, -EPERM, "nvml.blocked",
			"the operating system keeps the sensor from the NVIDIA control device; "
			"check "
			"/dev/nvidiactl and the device rules of the sensor's cgroup");
	default:
		return error_set(err, -EIO, "nvml.failed", "%s failed: %s (NVML %d)", call,
			words(lib, result), result);
	}
}

/* dlerror() speaks of paths and may be in any encoding. */
static int load_error(struct error *err)
{
	char text[256];
	const char *why = dlerror();

	text_copy(text, sizeof(text), why ? why : LIBRARY " cannot be loaded");
	text_sanitize(text);
	return error_set(err, -ENOENT, "nvml.no-library", "%s", text);
}

static int load(struct nvml_lib *lib, struct error *err)
{
	lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle)
		return load_error(err);
	for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
		void *function = NULL;

		for (size_t j = 0; j < ELEMENTSOF(symbols[i].names) && symbols[i].names[j]; j++)
			if (!function)
				function = dlsym(lib->handle, symbols[i].names[j]);
		if (!function && symbols[i].required)
			return error_set(err, -ENOSYS, "nvml.too-old",
				LIBRARY " has no %s; this driver is too old or not NVIDIA's",
				symbols[i].names[0]);
		/* POSIX lets object pointers from dlsym be functions; ISO C needs the copy. */
		memcpy((char *)lib + symbols[i].offset, &function, sizeof(function));
	}
	return 0;
}

int nvml_lib_open(struct nvml_lib *lib, struct error *err)
{
	int r = load(lib, err);

	if (r >= 0) {
		int result = lib->init();

		if (result == NVML_SUCCESS)
			return 0;
		r = nvml_error(lib, result, "nvmlInit", err);
	}
	if (lib->handle)
		dlclose(lib->handle);
	lib->handle = NULL;
	return r;
}

void nvml_lib_close(struct nvml_lib *lib)
{
	if (!lib->handle)
		return;
	lib->shutdown();
	dlclose(lib->handle);
	lib->handle = NULL;
}
