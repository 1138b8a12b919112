/* SPDX-License-Identifier: MIT */
/*
 * NVIDIA GPUs.
 *
 * Who the GPUs are (the roster) is read once, and again when their number, a UUID or the instances
 * of a card changed; what they do is read for every sample. A GPU that was read once stays in the
 * roster when its calls begin to fail, so that it is shown with its fault instead of vanishing. Any
 * single number may be unsupported on some GPU, which is no fault: it is unknown.
 *
 * Health is that of a card, and of all its instances: what mends it is a reset of the card. XIDs
 * are only reported to those who were listening when they happened, so a defect by XID lives in the
 * roster until the backend is closed.
 */
#include "gpu/backend.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gpu/nvml_health.h"
#include "gpu/nvml_processes.h"
#include "gpu/nvml_roster.h"
#include "gpu/nvml_tree.h"
#include "gpu/tree.h"
#include "gpu/xid.h"

#define RETRY_READINGS 60 /* until GPUs that could not be opened are tried again */
#define NODES_READINGS 5  /* until nodes are looked up again */

struct nvml {
	struct nvml_lib lib;
	struct nvml_roster *roster; /* owned */
	nvml_events events;         /* owned; NULL = the driver has none */
	struct nvml_list list;
	unsigned readings; /* since the roster was made */
	int root;          /* owned descriptor; negative = there is none */
};

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "memory", "out of memory");
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
	const struct nvml_roster *roster = nvml->roster;
	unsigned heard = 0;

	stop_listening(nvml);
	if (!lib->events_new || !lib->events_supported || !lib->events_register ||
		!lib->events_wait || !lib->events_free ||
		lib->events_new(&nvml->events) != NVML_SUCCESS) {
		nvml->events = NULL;
		return;
	}
	for (unsigned i = 0; i < roster->n_cards; i++) {
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
	_cleanup_(freep) struct nvml_roster *roster = calloc(1, sizeof(*roster));
	int r;

	if (!roster)
		return no_memory(err);
	r = nvml_roster_read(&nvml->lib, count, roster, err);
	if (r < 0)
		return r;
	if (nvml->roster)
		nvml_roster_inherit(roster, nvml->roster);
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
	const struct nvml_roster *roster = nvml->roster;
	uint32_t count = 0;
	int result = lib->count(&count);

	if (result != NVML_SUCCESS)
		return nvml_error(lib, result, "nvmlDeviceGetCount", err);
	if (roster && count == roster->count &&
		!(roster->incomplete && nvml->readings >= RETRY_READINGS) &&
		nvml_roster_holds(lib, nvml->roster))
		return 0;
	return renew_roster(nvml, count, err);
}

static void set_memory(struct gpu *gpu, uint64_t total, uint64_t used)
{
	/* Some integrated GPUs answer, but with nothing. */
	if (total >> 20 == 0)
		return;
	gpu->memory_mib = (int64_t)MIN(total >> 20, (uint64_t)SAMPLE_MEMORY_MAX);
	gpu->memory_used_mib = (int64_t)MIN(used >> 20, (uint64_t)SAMPLE_MEMORY_MAX);
}

static int read_own_memory(struct nvml *nvml, nvml_device device, struct gpu *gpu)
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

static int read_memory(struct nvml *nvml, const struct nvml_member *member, struct gpu *gpu)
{
	int result = read_own_memory(nvml, member->device, gpu);

	/* An integrated GPU (GB10) works in the memory of the machine. */
	if (member->instance.gpu == UINT32_MAX && gpu->memory_used_mib == GPU_UNKNOWN &&
		(result == NVML_NOT_SUPPORTED || result == NVML_SUCCESS))
		nvml_read_shared_memory(nvml->root, gpu);
	return result;
}

static int read_utilization(struct nvml *nvml, const struct nvml_member *member, struct gpu *gpu)
{
	struct nvml_utilization utilization = { 0 };
	int result = nvml->lib.utilization ? nvml->lib.utilization(member->device, &utilization)
					   : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && utilization.gpu <= 100)
		gpu->utilization = (int)utilization.gpu;
	return result;
}

static int read_temperature(struct nvml *nvml, const struct nvml_member *member, struct gpu *gpu)
{
	uint32_t celsius = 0;
	int result = nvml->lib.temperature
			     ? nvml->lib.temperature(member->device, NVML_TEMPERATURE_GPU, &celsius)
			     : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && celsius <= SAMPLE_TEMPERATURE_MAX)
		gpu->temperature_c = (int)celsius;
	return result;
}

static int read_power(struct nvml *nvml, const struct nvml_member *member, struct gpu *gpu)
{
	uint32_t milliwatts = 0;
	int result = nvml->lib.power ? nvml->lib.power(member->device, &milliwatts)
				     : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && milliwatts / 1000 <= SAMPLE_POWER_MAX)
		gpu->power_w = (int)(milliwatts / 1000);
	return result;
}

static int read_processes(struct nvml *nvml, const struct nvml_member *member, struct gpu *gpu)
{
	return nvml_read_processes(&nvml->lib, member->device, nvml->roster->devices[member->card],
		member->instance, &nvml->list, gpu);
}

static int read_gpu(
	struct nvml *nvml, const struct nvml_member *member, struct gpu *gpu, struct error *err)
{
	static int (*const readers[])(struct nvml *, const struct nvml_member *, struct gpu *) = {
		read_memory,
		read_utilization,
		read_temperature,
		read_power,
		read_processes,
	};

	for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
		int result = readers[i](nvml, member, gpu);

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

static struct gpu *add_known(struct sample *sample, const struct gpu *known)
{
	struct gpu *gpu = sample_add(sample);

	text_copy(gpu->uuid, sizeof(gpu->uuid), known->uuid);
	text_copy(gpu->model, sizeof(gpu->model), known->model);
	text_copy(gpu->pci, sizeof(gpu->pci), known->pci);
	memcpy(gpu->link, known->link, sizeof(gpu->link));
	memcpy(gpu->nodes, known->nodes, sizeof(gpu->nodes));
	gpu->n_nodes = known->n_nodes;
	gpu->vendor = known->vendor;
	gpu->index = known->index;
	gpu->minor = known->minor;
	gpu->memory_mib = known->memory_mib;
	return gpu;
}

/* Reads the GPUs of a card, which begin at *i, and moves that behind them. */
static int read_card(
	struct nvml *nvml, unsigned card, unsigned *i, struct sample *ret, struct error *err)
{
	struct nvml_roster *roster = nvml->roster;
	struct gpu health = { 0 };
	int result, r = 0;

	text_copy(health.defect, sizeof(health.defect), roster->cards[card].defect);
	result = nvml_read_health(&nvml->lib, roster->devices[card], &health);
	if (nvml_result_is_global(result))
		return nvml_error(&nvml->lib, result, "reading the health of a GPU", err);
	for (; r >= 0 && *i < roster->n && roster->members[*i].card == card; ++*i) {
		struct gpu *gpu = add_known(ret, &roster->gpus[*i]);

		text_copy(gpu->fault, sizeof(gpu->fault), health.fault);
		text_copy(gpu->defect, sizeof(gpu->defect), health.defect);
		if (result != NVML_GPU_IS_LOST)
			r = read_gpu(nvml, &roster->members[*i], gpu, err);
		/* A lost GPU keeps the size that it had. */
		roster->gpus[*i].memory_mib = gpu->memory_mib;
	}
	return r;
}

static int nvml_read(void *context, struct sample *ret, struct error *err)
{
	struct nvml *nvml = context;
	int r = check_roster(nvml, err);

	if (r < 0)
		return r;
	if (nvml->readings++ % NODES_READINGS == 0)
		nvml_roster_read_nodes(nvml->roster, nvml->root);
	for (unsigned card = 0, i = 0; r >= 0 && card < nvml->roster->n_cards; card++)
		r = read_card(nvml, card, &i, ret, err);
	return r;
}

/* Is there something new to read? */
static bool note_event(struct nvml_roster *roster, const struct nvml_event *event)
{
	unsigned card = nvml_roster_card_of(roster, event->device);

	if (!(event->type & NVML_EVENT_XID))
		return false;
	if (card < roster->n_cards && nvml_note_xid(&roster->cards[card], event->data))
		return true;
	return event->data == XID_RECOVERY_ACTION;
}

static void nvml_wait(void *context, int timeout_ms)
{
	struct nvml *nvml = context;
	int64_t end = clock_monotonic_ms() + timeout_ms, left;

	while ((left = end - clock_monotonic_ms()) > 0) {
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
	closep(&nvml->root);
	free(nvml->roster);
	free(nvml);
}

static int nvml_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	struct nvml *nvml = calloc(1, sizeof(*nvml));
	int r;

	if (!nvml)
		return no_memory(err);
	nvml->root = tree_open(options->sysroot);
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
