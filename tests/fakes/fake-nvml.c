/* SPDX-License-Identifier: MIT */
/*
 * A libnvidia-ml.so.1 that answers from a file (fake-nvml-state.h).
 *
 * Structures are written by the byte offsets that a compiler made of NVIDIA's header, and not with
 * the declarations that dibs uses, so that a mistake in those shows. Which versions of a function
 * exist is decided at compile time, for dlsym() has to fail for the others:
 *
 *   FAKE_LISTS  newest version of the process lists: 1 (none with a suffix), 2 or 3
 *   FAKE_OLD    1 = an old driver: no memory_v2, field values, topology, NVLink, event wait _v2,
 * MIG, ECC errors, remapped rows
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake-nvml-state.h"

#define API(name, ...)                                                \
	__attribute__((visibility("default"))) int name(__VA_ARGS__); \
	int name(__VA_ARGS__)

enum {
	SUCCESS = 0,
	UNINITIALIZED = 1,
	INVALID_ARGUMENT = 2,
	NOT_SUPPORTED = 3,
	NO_PERMISSION = 4,
	NOT_FOUND = 6,
	INSUFFICIENT_SIZE = 7,
	DRIVER_NOT_LOADED = 9,
	TIMEOUT = 10,
	GPU_IS_LOST = 15,
	VERSION_MISMATCH = 25,
};

/* A handle stays with its GPU, wherever that stands in the file later. */
struct handle {
	char uuid[FAKE_TEXT];
	bool listening;
};

static struct fake_state state;
static struct handle handles[FAKE_GPUS];
static int initialised;
static int event_set;

static void put32(void *dst, size_t offset, uint32_t value)
{
	memcpy((char *)dst + offset, &value, sizeof(value));
}

static void put64(void *dst, size_t offset, uint64_t value)
{
	memcpy((char *)dst + offset, &value, sizeof(value));
}

static struct handle *handle_of(const char *uuid)
{
	for (int i = 0; i < FAKE_GPUS; i++) {
		if (!handles[i].uuid[0])
			memcpy(handles[i].uuid, uuid, strlen(uuid) + 1);
		if (strcmp(handles[i].uuid, uuid) == 0)
			return &handles[i];
	}
	return NULL;
}

static int apply_rules(const char *function, int gpu)
{
	for (int i = 0; i < state.n_rules; i++) {
		const struct fake_rule *rule = &state.rules[i];

		if ((rule->gpu != FAKE_NONE && rule->gpu != gpu) ||
			(strcmp(rule->function, "*") != 0 && strcmp(rule->function, function) != 0))
			continue;
		if (rule->verb == FAKE_RETURN)
			return (int)rule->value;
		if (rule->verb == FAKE_DELAY)
			usleep((useconds_t)rule->value);
		while (rule->verb == FAKE_HANG)
			pause();
	}
	return SUCCESS;
}

/* How every call begins. */
static int enter(const char *function)
{
	if (!fake_state_load(&state))
		return DRIVER_NOT_LOADED;
	return initialised > 0 ? apply_rules(function, FAKE_NONE) : UNINITIALIZED;
}

static int enter_gpu(const char *function, const void *device, const struct fake_gpu **ret)
{
	const struct handle *handle = device;
	int gpu;

	if (!fake_state_load(&state))
		return DRIVER_NOT_LOADED;
	if (initialised == 0)
		return UNINITIALIZED;
	if (!handle)
		return INVALID_ARGUMENT;
	gpu = fake_state_find(&state, handle->uuid);
	if (gpu == FAKE_NONE)
		return GPU_IS_LOST;
	*ret = &state.gpus[gpu];
	return apply_rules(function, gpu);
}

#define ENTER()                           \
	do {                              \
		int r_ = enter(__func__); \
		if (r_ != SUCCESS)        \
			return r_;        \
	} while (0)

#define ENTER_GPU(gpu)                                      \
	const struct fake_gpu *gpu;                         \
	do {                                                \
		int r_ = enter_gpu(__func__, device, &gpu); \
		if (r_ != SUCCESS)                          \
			return r_;                          \
	} while (0)

static int number(long value, unsigned *ret)
{
	if (value == FAKE_NONE)
		return NOT_SUPPORTED;
	*ret = (unsigned)value;
	return SUCCESS;
}

static int text(const char *value, char *ret, unsigned size)
{
	return snprintf(ret, size, "%s", value) < (int)size ? SUCCESS : INSUFFICIENT_SIZE;
}

API(nvmlInit_v2, void)
{
	int r;

	initialised++;
	r = enter(__func__);
	if (r != SUCCESS)
		initialised--;
	return r;
}

API(nvmlShutdown, void)
{
	if (initialised == 0)
		return UNINITIALIZED;
	initialised--;
	return SUCCESS;
}

__attribute__((visibility("default"))) const char *nvmlErrorString(int result);
const char *nvmlErrorString(int result)
{
	static char string[32];

	snprintf(string, sizeof(string), "Fake Error %d", result);
	return string;
}

/* 0, or the errno of opening the node. */
static int open_node(const struct fake_gpu *gpu)
{
	int fd;

	if (!gpu->node[0])
		return 0;
	fd = open(gpu->node, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static bool permitted(const struct fake_gpu *gpu)
{
	int e = open_node(gpu);

	return e != EACCES && e != EPERM;
}

API(nvmlDeviceGetCount_v2, unsigned *ret)
{
	ENTER();
	*ret = 0;
	for (int i = 0; i < state.n_gpus; i++)
		*ret += state.gpus[i].card == FAKE_NONE &&
			(!state.skip || permitted(&state.gpus[i]));
	return SUCCESS;
}

API(nvmlDeviceGetHandleByIndex_v2, unsigned index, void **ret)
{
	ENTER();
	for (int i = 0; i < state.n_gpus; i++) {
		struct handle *handle = handle_of(state.gpus[i].uuid);
		int r;

		if (state.gpus[i].card != FAKE_NONE || (state.skip && !permitted(&state.gpus[i])))
			continue;
		if (index-- > 0)
			continue;
		r = apply_rules(__func__, i);
		if (r != SUCCESS)
			return r;
		*ret = handle;
		return permitted(&state.gpus[i]) ? SUCCESS : NO_PERMISSION;
	}
	return INVALID_ARGUMENT;
}

API(nvmlDeviceGetUUID, void *device, char *ret, unsigned size)
{
	ENTER_GPU(gpu);
	return text(gpu->says, ret, size);
}

API(nvmlDeviceGetName, void *device, char *ret, unsigned size)
{
	ENTER_GPU(gpu);
	return text(gpu->name, ret, size);
}

API(nvmlDeviceGetMinorNumber, void *device, unsigned *ret)
{
	ENTER_GPU(gpu);
	return number(gpu->minor, ret);
}

/* nvmlPciInfo_t */
static void put_pci(void *dst, const char *bus)
{
	unsigned domain, number_of_bus, device;

	if (sscanf(bus, "%x:%x:%x", &domain, &number_of_bus, &device) != 3)
		return;
	memset(dst, 0, 68);
	snprintf(dst, 16, "%04X:%02X:%02X.0", domain & 0xffff, number_of_bus & 0xff, device & 0xff);
	put32(dst, 16, domain);
	put32(dst, 20, number_of_bus);
	put32(dst, 24, device);
	snprintf((char *)dst + 36, 32, "%s", bus);
}

API(nvmlDeviceGetPciInfo_v3, void *device, void *ret)
{
	ENTER_GPU(gpu);
	put_pci(ret, gpu->bus);
	return SUCCESS;
}

/* nvmlMemory_t */
API(nvmlDeviceGetMemoryInfo, void *device, void *ret)
{
	ENTER_GPU(gpu);
	if (gpu->total == FAKE_NONE)
		return NOT_SUPPORTED;
	put64(ret, 0, (uint64_t)gpu->total << 20);
	put64(ret, 8, (uint64_t)(gpu->total - gpu->reserved - gpu->used) << 20);
	put64(ret, 16, (uint64_t)(gpu->reserved + gpu->used) << 20);
	return SUCCESS;
}

API(nvmlDeviceGetUtilizationRates, void *device, void *ret)
{
	unsigned percent = 0;
	int r;

	ENTER_GPU(gpu);
	r = number(gpu->util, &percent);
	put32(ret, 0, percent);
	put32(ret, 4, 0);
	return r;
}

API(nvmlDeviceGetTemperature, void *device, int sensor, unsigned *ret)
{
	ENTER_GPU(gpu);
	return sensor == 0 ? number(gpu->temp, ret) : INVALID_ARGUMENT;
}

API(nvmlDeviceGetPowerUsage, void *device, unsigned *ret)
{
	ENTER_GPU(gpu);
	return number(gpu->power, ret);
}

/* nvmlProcessInfo_t in one of its sizes; a size that never was is what a future driver may do. */
static int list(
	const struct fake_gpu *gpu, const char *kind, size_t stride, unsigned *count, char *ret)
{
	unsigned room = *count, n = 0;

	for (int i = 0; i < state.n_processes; i++) {
		const struct fake_process *process = &state.processes[i];
		char entry[64] = { 0 };

		const struct fake_gpu *on = &state.gpus[process->gpu];

		if ((on != gpu && (on->card == FAKE_NONE || gpu != &state.gpus[on->card])) ||
			strcmp(process->kind, kind) != 0)
			continue;
		if (n++ >= room)
			continue;
		if (!ret)
			return INVALID_ARGUMENT;
		put32(entry, 0, (uint32_t)process->pid);
		put64(entry, 8, process->bytes);
		put32(entry, 16, on->gpu_instance);
		put32(entry, 20, on->compute_instance);
		memcpy(ret + (n - 1) * stride, entry, stride);
	}
	*count = n;
	return n > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API(nvmlDeviceGetComputeRunningProcesses, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "compute", 16, count, ret);
}

API(nvmlDeviceGetGraphicsRunningProcesses, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "graphics", 16, count, ret);
}

#if FAKE_LISTS >= 2
API(nvmlDeviceGetComputeRunningProcesses_v2, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "compute", 24, count, ret);
}

API(nvmlDeviceGetMPSComputeRunningProcesses_v2, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "mps", 24, count, ret);
}
#endif

#if FAKE_LISTS >= 2
API(nvmlDeviceGetGraphicsRunningProcesses_v2, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "graphics", 24, count, ret);
}
#endif

#if FAKE_LISTS >= 3
API(nvmlDeviceGetGraphicsRunningProcesses_v3, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "graphics", (size_t)state.stride, count, ret);
}

API(nvmlDeviceGetComputeRunningProcesses_v3, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "compute", (size_t)state.stride, count, ret);
}

API(nvmlDeviceGetMPSComputeRunningProcesses_v3, void *device, unsigned *count, void *ret)
{
	ENTER_GPU(gpu);
	return list(gpu, "mps", (size_t)state.stride, count, ret);
}
#endif

API(nvmlEventSetCreate, void **ret)
{
	ENTER();
	*ret = &event_set;
	return SUCCESS;
}

API(nvmlEventSetFree, void *set)
{
	for (int i = 0; i < FAKE_GPUS; i++)
		handles[i].listening = false;
	return set == &event_set ? SUCCESS : INVALID_ARGUMENT;
}

API(nvmlDeviceGetSupportedEventTypes, void *device, unsigned long long *ret)
{
	ENTER_GPU(gpu);
	*ret = gpu->uuid[0] ? 0x8 | 0x1 | 0x2 : 0;
	return SUCCESS;
}

API(nvmlDeviceRegisterEvents, void *device, unsigned long long types, void *set)
{
	ENTER_GPU(gpu);
	handle_of(gpu->uuid)->listening = (types & 0x8) && set == &event_set;
	return SUCCESS;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* nvmlEventData_t; only the first 24 bytes of it in the first version. */
static int wait_for_event(void *ret, unsigned timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	do {
		char uuid[FAKE_TEXT];
		uint64_t xid;

		if (fake_take_xid(uuid, &xid) && handle_of(uuid)->listening) {
			struct handle *handle = handle_of(uuid);

			memcpy(ret, &handle, sizeof(handle));
			put64(ret, 8, 0x8);
			put64(ret, 16, xid);
			return SUCCESS;
		}
		poll(NULL, 0, 5);
	} while (now_ms() < end);
	return TIMEOUT;
}

API(nvmlEventSetWait, void *set, void *ret, unsigned timeout_ms)
{
	ENTER();
	return set == &event_set ? wait_for_event(ret, timeout_ms) : INVALID_ARGUMENT;
}

#if !FAKE_OLD
API(nvmlEventSetWait_v2, void *set, void *ret, unsigned timeout_ms)
{
	ENTER();
	put32(ret, 24, UINT32_MAX);
	put32(ret, 28, UINT32_MAX);
	return set == &event_set ? wait_for_event(ret, timeout_ms) : INVALID_ARGUMENT;
}

/* nvmlMemory_v2_t */
API(nvmlDeviceGetMemoryInfo_v2, void *device, void *ret)
{
	uint32_t version;

	ENTER_GPU(gpu);
	memcpy(&version, ret, sizeof(version));
	if (version != 0x02000028)
		return VERSION_MISMATCH;
	if (gpu->total == FAKE_NONE)
		return NOT_SUPPORTED;
	put64(ret, 8, (uint64_t)gpu->total << 20);
	put64(ret, 16, (uint64_t)gpu->reserved << 20);
	put64(ret, 24, (uint64_t)(gpu->total - gpu->reserved - gpu->used) << 20);
	put64(ret, 32, (uint64_t)gpu->used << 20);
	return SUCCESS;
}

/* nvmlFieldValue_t */
API(nvmlDeviceGetFieldValues, void *device, int count, char *values)
{
	ENTER_GPU(gpu);
	for (int i = 0; i < count; i++, values += 40) {
		uint32_t id;

		memcpy(&id, values, sizeof(id));
		if (id != 230 || gpu->recovery == FAKE_NONE) {
			put32(values, 28, NOT_SUPPORTED);
			continue;
		}
		put32(values, 24, 1); /* unsigned int */
		put32(values, 28, SUCCESS);
		put32(values, 32, (uint32_t)gpu->recovery);
	}
	return SUCCESS;
}

API(nvmlDeviceGetTopologyCommonAncestor, void *device, void *other, int *ret)
{
	const struct handle *handle = other;

	ENTER_GPU(gpu);
	*ret = 50;
	for (int i = 0; i < gpu->n_near; i++)
		if (strcmp(gpu->near[i].uuid, handle->uuid) == 0)
			*ret = gpu->near[i].level;
	return SUCCESS;
}

API(nvmlDeviceGetNvLinkState, void *device, unsigned link, int *ret)
{
	ENTER_GPU(gpu);
	if (link >= FAKE_LINKS)
		return INVALID_ARGUMENT;
	if (gpu->n_links == 0)
		return NOT_SUPPORTED;
	*ret = link < (unsigned)gpu->n_links;
	return SUCCESS;
}

API(nvmlDeviceGetNvLinkRemotePciInfo_v2, void *device, unsigned link, void *ret)
{
	ENTER_GPU(gpu);
	if (link >= (unsigned)gpu->n_links)
		return INVALID_ARGUMENT;
	put_pci(ret, gpu->links[link]);
	return SUCCESS;
}

API(nvmlDeviceGetTotalEccErrors, void *device, int type, int counter, unsigned long long *ret)
{
	ENTER_GPU(gpu);
	if (gpu->ecc == FAKE_NONE)
		return NOT_SUPPORTED;
	*ret = type == 1 && counter == 0 ? (unsigned long long)gpu->ecc : 4711;
	return SUCCESS;
}

API(nvmlDeviceGetRemappedRows, void *device, unsigned *correctable, unsigned *uncorrectable,
	unsigned *pending, unsigned *failed)
{
	ENTER_GPU(gpu);
	*correctable = *uncorrectable = 0;
	return gpu->rows_pending == FAKE_NONE
		       ? NOT_SUPPORTED
		       : number(gpu->rows_pending, pending) | number(gpu->rows_failed, failed);
}

API(nvmlDeviceGetMigMode, void *device, unsigned *current, unsigned *pending)
{
	ENTER_GPU(gpu);
	if (gpu->mig == FAKE_NONE)
		return NOT_SUPPORTED;
	*current = *pending = gpu->mig > 0;
	return SUCCESS;
}

API(nvmlDeviceGetMaxMigDeviceCount, void *device, unsigned *ret)
{
	ENTER_GPU(gpu);
	*ret = gpu->mig > 0 ? (unsigned)gpu->mig : 0;
	return SUCCESS;
}

API(nvmlDeviceGetMigDeviceHandleByIndex, void *device, unsigned index, void **ret)
{
	ENTER_GPU(gpu);
	if (gpu->mig <= 0 || index >= (unsigned)gpu->mig)
		return INVALID_ARGUMENT;
	for (int i = 0; i < state.n_gpus; i++)
		if (state.gpus[i].card == gpu - state.gpus && state.gpus[i].number == (int)index) {
			*ret = handle_of(state.gpus[i].uuid);
			return SUCCESS;
		}
	return NOT_FOUND;
}

API(nvmlDeviceGetGpuInstanceId, void *device, unsigned *ret)
{
	ENTER_GPU(gpu);
	*ret = gpu->gpu_instance;
	return gpu->card == FAKE_NONE ? NOT_SUPPORTED : SUCCESS;
}

API(nvmlDeviceGetComputeInstanceId, void *device, unsigned *ret)
{
	ENTER_GPU(gpu);
	*ret = gpu->compute_instance;
	return gpu->card == FAKE_NONE ? NOT_SUPPORTED : SUCCESS;
}
#endif
