/* SPDX-License-Identifier: MIT */
/*
 * NVIDIA GPUs.
 *
 * Who the GPUs are (the roster: handles, UUIDs, addresses, links) is read once, and again when
 * their number or a UUID changed; what they do is read for every sample. A GPU that was read once
 * stays in the roster when its calls begin to fail, so that it is shown with its fault instead of
 * vanishing. Any single number may be unsupported on some GPU, which is no fault: it is unknown.
 *
 * XIDs are only reported to those who were listening when they happened, so a fault by XID lives in
 * the roster until the backend is closed.
 */
#include "gpu/backend.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "gpu/nvml_health.h"
#include "gpu/nvml_processes.h"
#include "gpu/nvml_topology.h"

/* After so many readings, GPUs that could not be opened are tried again. */
#define RETRY_READINGS 60

struct roster {
	uint32_t count; /* that NVML told; some may not be readable */
	unsigned n;     /* that were read */
	nvml_device devices[GPU_MAX];
	uint64_t keys[GPU_MAX];
	struct gpu gpus[GPU_MAX]; /* identity; fault: the XID that was seen */
};

struct nvml {
	struct nvml_lib lib;
	struct roster *roster; /* owned */
	nvml_events events;    /* owned; NULL = the driver has none */
	struct nvml_list list;
	unsigned readings; /* since the roster was made */
};

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "memory", "out of memory");
}

static void read_address(const struct nvml_lib *lib, struct roster *roster, unsigned i)
{
	struct nvml_pci pci = { 0 };
	struct gpu *gpu = &roster->gpus[i];
	uint32_t minor;

	roster->keys[i] = NVML_PCI_UNKNOWN;
	if (lib->pci && lib->pci(roster->devices[i], &pci) == NVML_SUCCESS) {
		roster->keys[i] = nvml_pci_key(&pci);
		pci.id[sizeof(pci.id) - 1] = '\0';
		text_copy(gpu->pci, sizeof(gpu->pci), pci.id);
		text_sanitize(gpu->pci);
		for (char *p = gpu->pci; *p; p++)
			*p = (char)tolower((unsigned char)*p);
	}
	gpu->minor = GPU_UNKNOWN;
	if (lib->minor && lib->minor(roster->devices[i], &minor) == NVML_SUCCESS &&
		minor <= SAMPLE_MINOR_MAX)
		gpu->minor = (int)minor;
}

/* Reads who the index-th GPU of NVML is into the next place of the roster. Returns an NVML result.
 */
static int read_identity(const struct nvml_lib *lib, struct roster *roster, uint32_t index)
{
	struct gpu *gpu = &roster->gpus[roster->n];
	nvml_device *device = &roster->devices[roster->n];
	char name[NVML_TEXT_SIZE] = "";
	int result = lib->by_index(index, device);

	if (result == NVML_SUCCESS)
		result = lib->uuid(*device, gpu->uuid, sizeof(gpu->uuid));
	if (result != NVML_SUCCESS)
		return result;
	gpu->uuid[sizeof(gpu->uuid) - 1] = '\0';
	if (!sample_uuid_valid(gpu->uuid))
		return NVML_UNKNOWN;
	if (lib->name(*device, name, sizeof(name)) != NVML_SUCCESS)
		text_copy(name, sizeof(name), "unknown");
	name[sizeof(name) - 1] = '\0';
	text_sanitize(name);
	text_copy(gpu->model, sizeof(gpu->model), name);
	gpu->vendor = GPU_NVIDIA;
	gpu->index = (int)index;
	gpu->memory_mib = GPU_UNKNOWN;
	read_address(lib, roster, roster->n++);
	return NVML_SUCCESS;
}

static int read_roster(
	const struct nvml_lib *lib, uint32_t count, struct roster *roster, struct error *err)
{
	int failure = NVML_SUCCESS;

	roster->count = count;
	for (uint32_t index = 0; index < MIN(count, (uint32_t)GPU_MAX); index++) {
		int result = read_identity(lib, roster, index);

		if (nvml_result_is_global(result))
			return nvml_error(lib, result, "nvmlDeviceGetHandleByIndex", err);
		if (result != NVML_SUCCESS)
			failure = result;
	}
	if (count == 0)
		return error_set(err, -ENODEV, "nvml.no-gpus", "the NVIDIA driver sees no GPU");
	if (roster->n == 0) {
		nvml_error(lib, failure, "nvmlDeviceGetHandleByIndex", err);
		return error_prefix(err, -EIO, "none of the %u GPUs can be read", count);
	}
	return nvml_read_links(lib, roster->devices, roster->keys, roster->gpus, roster->n) < 0
		       ? no_memory(err)
		       : 0;
}

/* What is known of a GPU outlives a new numbering. */
static void inherit(struct roster *roster, const struct roster *old)
{
	for (unsigned i = 0; i < roster->n; i++)
		for (unsigned j = 0; j < old->n; j++)
			if (strcmp(roster->gpus[i].uuid, old->gpus[j].uuid) == 0)
				text_copy(roster->gpus[i].fault, sizeof(roster->gpus[i].fault),
					old->gpus[j].fault);
}

static void stop_listening(struct nvml *nvml)
{
	if (nvml->events)
		nvml->lib.events_free(nvml->events);
	nvml->events = NULL;
}

/* Without events, faults show only in results and recovery actions. */
static void listen_for_xids(struct nvml *nvml)
{
	const struct nvml_lib *lib = &nvml->lib;
	const struct roster *roster = nvml->roster;
	unsigned heard = 0;

	stop_listening(nvml);
	if (!lib->events_new || !lib->events_supported || !lib->events_register ||
		!lib->events_wait || !lib->events_free ||
		lib->events_new(&nvml->events) != NVML_SUCCESS) {
		nvml->events = NULL;
		return;
	}
	for (unsigned i = 0; i < roster->n; i++) {
		uint64_t types = 0;

		if (lib->events_supported(roster->devices[i], &types) == NVML_SUCCESS &&
			types & NVML_EVENT_XID &&
			lib->events_register(roster->devices[i], NVML_EVENT_XID, nvml->events) ==
				NVML_SUCCESS)
			heard++;
	}
	if (!heard)
		stop_listening(nvml);
}

static int renew_roster(struct nvml *nvml, uint32_t count, struct error *err)
{
	_cleanup_(freep) struct roster *roster = calloc(1, sizeof(*roster));
	int r;

	if (!roster)
		return no_memory(err);
	r = read_roster(&nvml->lib, count, roster, err);
	if (r < 0)
		return r;
	if (nvml->roster)
		inherit(roster, nvml->roster);
	free(nvml->roster);
	nvml->roster = TAKE_PTR(roster);
	nvml->readings = 0;
	listen_for_xids(nvml);
	return 0;
}

/* Is the roster still true? */
static int check_roster(struct nvml *nvml, struct error *err)
{
	const struct nvml_lib *lib = &nvml->lib;
	const struct roster *roster = nvml->roster;
	uint32_t count = 0;
	int result = lib->count(&count);

	if (result != NVML_SUCCESS)
		return nvml_error(lib, result, "nvmlDeviceGetCount", err);
	if (!roster || count != roster->count ||
		(roster->n < MIN(count, (uint32_t)GPU_MAX) && nvml->readings >= RETRY_READINGS))
		return renew_roster(nvml, count, err);
	for (unsigned i = 0; i < roster->n; i++) {
		char uuid[NVML_TEXT_SIZE] = "";

		/* A GPU that does not even tell its name any more will say why below. */
		if (lib->uuid(roster->devices[i], uuid, sizeof(uuid)) != NVML_SUCCESS)
			continue;
		uuid[sizeof(uuid) - 1] = '\0';
		if (strcmp(uuid, roster->gpus[i].uuid) != 0)
			return renew_roster(nvml, count, err);
	}
	return 0;
}

static void set_memory(struct gpu *gpu, uint64_t total, uint64_t used)
{
	/* Some integrated GPUs answer, but with nothing. */
	if (total >> 20 == 0)
		return;
	gpu->memory_mib = (int64_t)MIN(total >> 20, (uint64_t)SAMPLE_MEMORY_MAX);
	gpu->memory_used_mib = (int64_t)MIN(used >> 20, (uint64_t)SAMPLE_MEMORY_MAX);
}

static int read_memory(struct nvml *nvml, nvml_device device, struct gpu *gpu)
{
	struct nvml_memory_v2 v2 = { .version = NVML_MEMORY_V2 };
	struct nvml_memory v1 = { 0 };
	int result;

	if (nvml->lib.memory_v2 && nvml->lib.memory_v2(device, &v2) == NVML_SUCCESS) {
		set_memory(gpu, v2.total, v2.used);
		return NVML_SUCCESS;
	}
	if (!nvml->lib.memory)
		return NVML_FUNCTION_NOT_FOUND;
	result = nvml->lib.memory(device, &v1);
	if (result == NVML_SUCCESS)
		set_memory(gpu, v1.total, v1.used);
	return result;
}

static int read_utilization(struct nvml *nvml, nvml_device device, struct gpu *gpu)
{
	struct nvml_utilization utilization = { 0 };
	int result = nvml->lib.utilization ? nvml->lib.utilization(device, &utilization)
					   : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && utilization.gpu <= 100)
		gpu->utilization = (int)utilization.gpu;
	return result;
}

static int read_temperature(struct nvml *nvml, nvml_device device, struct gpu *gpu)
{
	uint32_t celsius = 0;
	int result = nvml->lib.temperature
			     ? nvml->lib.temperature(device, NVML_TEMPERATURE_GPU, &celsius)
			     : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && celsius <= SAMPLE_TEMPERATURE_MAX)
		gpu->temperature_c = (int)celsius;
	return result;
}

static int read_power(struct nvml *nvml, nvml_device device, struct gpu *gpu)
{
	uint32_t milliwatts = 0;
	int result =
		nvml->lib.power ? nvml->lib.power(device, &milliwatts) : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && milliwatts / 1000 <= SAMPLE_POWER_MAX)
		gpu->power_w = (int)(milliwatts / 1000);
	return result;
}

static int read_recovery(struct nvml *nvml, nvml_device device, struct gpu *gpu)
{
	struct nvml_field field = { .id = NVML_FI_DEV_GET_GPU_RECOVERY_ACTION };
	int result =
		nvml->lib.fields ? nvml->lib.fields(device, 1, &field) : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && field.result == NVML_SUCCESS)
		nvml_note_recovery(gpu, field.type == NVML_VALUE_TYPE_UNSIGNED_INT
						? field.value.u32
						: field.value.u64);
	return result;
}

static int read_processes(struct nvml *nvml, nvml_device device, struct gpu *gpu)
{
	return nvml_read_processes(&nvml->lib, device, &nvml->list, gpu);
}

static int read_gpu(struct nvml *nvml, nvml_device device, struct gpu *gpu, struct error *err)
{
	static int (*const readers[])(struct nvml *, nvml_device, struct gpu *) = {
		read_memory,
		read_utilization,
		read_temperature,
		read_power,
		read_recovery,
		read_processes,
	};

	for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
		int result = readers[i](nvml, device, gpu);

		if (result < 0)
			return no_memory(err);
		if (nvml_result_is_global(result))
			return nvml_error(&nvml->lib, result, "reading a GPU", err);
		nvml_note_result(gpu, result);
		/* Each call to a GPU that is gone may block. */
		if (result == NVML_GPU_IS_LOST)
			break;
	}
	return 0;
}

static int nvml_read(void *context, struct sample *ret, struct error *err)
{
	struct nvml *nvml = context;
	int r = check_roster(nvml, err);

	nvml->readings++;
	for (unsigned i = 0; r >= 0 && i < nvml->roster->n; i++) {
		struct gpu *known = &nvml->roster->gpus[i], *gpu = sample_add(ret);

		text_copy(gpu->uuid, sizeof(gpu->uuid), known->uuid);
		text_copy(gpu->model, sizeof(gpu->model), known->model);
		text_copy(gpu->pci, sizeof(gpu->pci), known->pci);
		text_copy(gpu->fault, sizeof(gpu->fault), known->fault);
		memcpy(gpu->link, known->link, sizeof(gpu->link));
		gpu->vendor = known->vendor;
		gpu->index = known->index;
		gpu->minor = known->minor;
		gpu->memory_mib = known->memory_mib;
		r = read_gpu(nvml, nvml->roster->devices[i], gpu, err);
		/* A lost GPU keeps the size that it had. */
		known->memory_mib = gpu->memory_mib;
	}
	return r;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Is there something new to read? */
static bool note_event(struct roster *roster, const struct nvml_event *event)
{
	if (!(event->type & NVML_EVENT_XID))
		return false;
	for (unsigned i = 0; i < roster->n; i++)
		if (roster->devices[i] == event->device &&
			nvml_note_xid(&roster->gpus[i], event->data))
			return true;
	return event->data == NVML_XID_RECOVERY_ACTION;
}

static void nvml_wait(void *context, int timeout_ms)
{
	struct nvml *nvml = context;
	int64_t end = now_ms() + timeout_ms, left;

	while ((left = end - now_ms()) > 0) {
		struct nvml_event event = { 0 };
		int result = nvml->events
				     ? nvml->lib.events_wait(nvml->events, &event, (uint32_t)left)
				     : NVML_FUNCTION_NOT_FOUND;

		if (result == NVML_SUCCESS) {
			if (note_event(nvml->roster, &event))
				return;
			continue;
		}
		/* Broken events must not turn the sensor into a busy loop. */
		if (result != NVML_TIMEOUT)
			poll(NULL, 0, (int)left);
		return;
	}
}

static void nvml_close(void *context)
{
	struct nvml *nvml = context;

	if (!nvml)
		return;
	stop_listening(nvml);
	nvml_lib_close(&nvml->lib);
	nvml_list_release(&nvml->list);
	free(nvml->roster);
	free(nvml);
}

static int nvml_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	struct nvml *nvml = calloc(1, sizeof(*nvml));
	int r;

	if (!nvml)
		return no_memory(err);
	r = nvml_lib_open(&nvml->lib, err);
	if (r >= 0)
		r = check_roster(nvml, err);
	if (r < 0) {
		nvml_close(nvml);
		return r;
	}
	*ret_context = nvml;
	return 0;
}

const struct backend backend_nvml = {
	.name = "nvml",
	.open = nvml_open,
	.read = nvml_read,
	.wait = nvml_wait,
	.close = nvml_close,
};
