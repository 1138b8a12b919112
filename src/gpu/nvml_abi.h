/* SPDX-License-Identifier: MIT */
/*
 * The part of NVML's binary interface that dibs uses, declared here so that building needs nothing
 * of NVIDIA's. Names, values and layouts are facts of nvml.h (API 13; read in NVIDIA/go-nvml); the
 * asserts state the x86-64 layouts that a compiler made of that header. Where drivers deviate from
 * it, the comment says who found out.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* nvmlReturn_t. Only those that are told apart. */
enum nvml_return {
	NVML_SUCCESS = 0,
	NVML_UNINITIALIZED = 1,
	NVML_NOT_SUPPORTED = 3,
	NVML_NOT_FOUND = 6,
	NVML_INSUFFICIENT_SIZE = 7,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_TIMEOUT = 10,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_GPU_IS_LOST = 15,
	NVML_RESET_REQUIRED = 16,
	NVML_OPERATING_SYSTEM = 17,
	NVML_LIB_RM_VERSION_MISMATCH = 18,
	NVML_UNKNOWN = 999, /* also what a container sees that lost its devices */
};

typedef struct nvml_device_handle *nvml_device; /* opaque */
typedef struct nvml_event_handle *nvml_events;  /* opaque */

#define NVML_TEXT_SIZE 96 /* NVML_DEVICE_UUID_V2_BUFFER_SIZE, NVML_DEVICE_NAME_V2_BUFFER_SIZE */

/* nvmlMemory_t; used includes reserved. */
struct nvml_memory {
	uint64_t total, free, used;
};
_Static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t");

/* nvmlMemory_v2_t; reserved is counted apart from used. */
struct nvml_memory_v2 {
	uint32_t version;
	uint64_t total, reserved, free, used;
};
_Static_assert(sizeof(struct nvml_memory_v2) == 40, "nvmlMemory_v2_t");
_Static_assert(offsetof(struct nvml_memory_v2, used) == 32, "nvmlMemory_v2_t");
/* NVML_STRUCT_VERSION: size | version << 24 */
#define NVML_MEMORY_V2 (UINT32_C(2) << 24 | (uint32_t)sizeof(struct nvml_memory_v2))

/* nvmlUtilization_t */
struct nvml_utilization {
	uint32_t gpu, memory; /* percent */
};
_Static_assert(sizeof(struct nvml_utilization) == 8, "nvmlUtilization_t");

/* nvmlPciInfo_t */
struct nvml_pci {
	char legacy_id[16];
	uint32_t domain, bus, device, device_id, subsystem_id;
	char id[32]; /* "00000000:3B:00.0" */
};
_Static_assert(sizeof(struct nvml_pci) == 68, "nvmlPciInfo_t");
_Static_assert(offsetof(struct nvml_pci, id) == 36, "nvmlPciInfo_t");

/*
 * nvmlProcessInfo_t begins so in every version. An entry is 16 bytes without suffix, 24 in _v2 and
 * today's _v3 (which add the MIG instances), and was 32 in the _v3 of 535.43 to 535.86
 * (XuehaiPan/nvitop issues 79, 89 and 226).
 */
struct nvml_process {
	uint32_t pid;
	uint64_t memory;                         /* bytes; NVML_VALUE_NOT_AVAILABLE */
	uint32_t gpu_instance, compute_instance; /* not in entries of 16 bytes */
};
_Static_assert(sizeof(struct nvml_process) == 24, "nvmlProcessInfo_v2_t");
_Static_assert(offsetof(struct nvml_process, gpu_instance) == 16, "nvmlProcessInfo_v2_t");
#define NVML_PROCESS_SIZE_MAX    32
#define NVML_VALUE_NOT_AVAILABLE UINT64_MAX

/* A part of a card in MIG mode; UINT32_MAX = none, as NVML itself writes it. */
struct nvml_instance {
	uint32_t gpu, compute;
};
#define NVML_NO_INSTANCE ((struct nvml_instance){ UINT32_MAX, UINT32_MAX })

/* nvmlFieldValue_t; the union read as its widest unsigned member. */
struct nvml_field {
	uint32_t id, scope;
	int64_t timestamp, latency_us;
	uint32_t type; /* nvmlValueType_t */
	uint32_t result;
	union {
		uint32_t u32;
		uint64_t u64;
	} value;
};
_Static_assert(sizeof(struct nvml_field) == 40, "nvmlFieldValue_t");
#define NVML_FI_DEV_GET_GPU_RECOVERY_ACTION 230
#define NVML_VALUE_TYPE_UNSIGNED_INT        1

/* nvmlEventData_t; the first version ends before gpu_instance. */
struct nvml_event {
	nvml_device device;
	uint64_t type, data; /* of an XID event: its number */
	uint32_t gpu_instance, compute_instance;
};
_Static_assert(sizeof(struct nvml_event) == 32, "nvmlEventData_t");
#define NVML_EVENT_XID UINT64_C(0x8) /* nvmlEventTypeXidCriticalError */

/* nvmlGpuTopologyLevel_t */
enum nvml_level {
	NVML_LEVEL_INTERNAL = 0,
	NVML_LEVEL_SINGLE = 10,
	NVML_LEVEL_MULTIPLE = 20,
	NVML_LEVEL_HOSTBRIDGE = 30,
	NVML_LEVEL_NODE = 40,
	NVML_LEVEL_SYSTEM = 50,
};

#define NVML_NVLINK_MAX_LINKS 36
#define NVML_TEMPERATURE_GPU  0 /* nvmlTemperatureSensors_t */
#define NVML_ECC_UNCORRECTED  1 /* nvmlMemoryErrorType_t */
#define NVML_ECC_VOLATILE     0 /* nvmlEccCounterType_t: since the driver was loaded */
