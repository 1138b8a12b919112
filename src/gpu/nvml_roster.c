/* SPDX-License-Identifier: MIT */
/*
 * An instance is called 100 * (card + 1) + its number at the card, so that people see where it is
 * and nothing is renumbered when another card changes its mode. Where there are so many cards that
 * this would meet an index of a card or leave the range, MIG is not looked at.
 *
 * Instances have holes in their numbers (NVML_NOT_FOUND). Their nodes and links are those of their
 * card, and among themselves they are on one board.
 */
#include "gpu/nvml_roster.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "gpu/nvml_topology.h"
#include "gpu/nvml_tree.h"

#define INSTANCES_MAX 100 /* numbers of a card */
#define MIG_CARDS_MAX 99

static void read_address(const struct nvml_lib *lib, struct nvml_roster *roster, unsigned i)
{
	struct nvml_pci pci = { 0 };
	struct gpu *gpu = &roster->cards[i];
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

static int read_uuid(const struct nvml_lib *lib, nvml_device device, char dst[GPU_UUID_SIZE])
{
	int result = lib->uuid(device, dst, GPU_UUID_SIZE);

	if (result != NVML_SUCCESS)
		return result;
	dst[GPU_UUID_SIZE - 1] = '\0';
	return sample_uuid_valid(dst) ? NVML_SUCCESS : NVML_UNKNOWN;
}

static void read_name(
	const struct nvml_lib *lib, nvml_device device, const char *otherwise, struct gpu *gpu)
{
	char name[NVML_TEXT_SIZE] = "";

	if (lib->name(device, name, sizeof(name)) != NVML_SUCCESS)
		text_copy(name, sizeof(name), otherwise);
	name[sizeof(name) - 1] = '\0';
	text_sanitize(name);
	text_copy(gpu->model, sizeof(gpu->model), name);
}

/* 0 or 1; what cannot be told is as before. */
static bool has_mig(const struct nvml_lib *lib, nvml_device device, bool before)
{
	uint32_t current = 0, pending;
	int result;

	if (!lib->mig_mode || !lib->mig_count || !lib->mig_by_index || !lib->gpu_instance ||
		!lib->compute_instance)
		return false;
	result = lib->mig_mode(device, &current, &pending);
	if (result == NVML_NOT_SUPPORTED || result == NVML_FUNCTION_NOT_FOUND)
		return false;
	return result == NVML_SUCCESS ? current == 1 : before;
}

/* Reads who the index-th card of NVML is into the next place. Returns an NVML result. */
static int read_card(const struct nvml_lib *lib, struct nvml_roster *roster, uint32_t index)
{
	unsigned i = roster->n_cards;
	struct gpu *gpu = &roster->cards[i];
	int result = lib->by_index(index, &roster->devices[i]);

	if (result == NVML_SUCCESS)
		result = read_uuid(lib, roster->devices[i], gpu->uuid);
	if (result != NVML_SUCCESS)
		return result;
	read_name(lib, roster->devices[i], "unknown", gpu);
	gpu->vendor = GPU_NVIDIA;
	gpu->index = (int)index;
	gpu->memory_mib = GPU_UNKNOWN;
	roster->mig[i] = roster->count <= MIG_CARDS_MAX && has_mig(lib, roster->devices[i], false);
	read_address(lib, roster, i);
	roster->n_cards++;
	return NVML_SUCCESS;
}

/* Adds a GPU with what it has of its card. NULL when there are GPU_MAX. */
static struct nvml_member *add_member(
	struct nvml_roster *roster, unsigned card, nvml_device device, struct gpu **ret_gpu)
{
	struct nvml_member *member = &roster->members[roster->n];

	if (roster->n == GPU_MAX)
		return NULL;
	*ret_gpu = &roster->gpus[roster->n++];
	**ret_gpu = roster->cards[card];
	*member = (struct nvml_member){
		.device = device,
		.card = card,
		.instance = NVML_NO_INSTANCE,
	};
	return member;
}

static uint32_t count_numbers(const struct nvml_lib *lib, nvml_device card)
{
	uint32_t count = 0;

	if (lib->mig_count(card, &count) != NVML_SUCCESS)
		return 0;
	return MIN(count, (uint32_t)INSTANCES_MAX);
}

/* Returns an NVML result. */
static int read_instance(
	const struct nvml_lib *lib, struct nvml_roster *roster, unsigned card, uint32_t number)
{
	struct nvml_member *member;
	struct nvml_instance instance;
	struct gpu *gpu;
	nvml_device device;
	char uuid[GPU_UUID_SIZE];
	int result = lib->mig_by_index(roster->devices[card], number, &device);

	if (result == NVML_SUCCESS)
		result = read_uuid(lib, device, uuid);
	if (result == NVML_SUCCESS)
		result = lib->gpu_instance(device, &instance.gpu);
	if (result == NVML_SUCCESS)
		result = lib->compute_instance(device, &instance.compute);
	if (result != NVML_SUCCESS)
		return result;
	member = add_member(roster, card, device, &gpu);
	if (!member)
		return NVML_UNKNOWN;
	member->number = number;
	member->instance = instance;
	gpu->index = 100 * (gpu->index + 1) + (int)number;
	text_copy(gpu->uuid, sizeof(gpu->uuid), uuid);
	read_name(lib, device, gpu->model, gpu);
	return NVML_SUCCESS;
}

static int read_instances(const struct nvml_lib *lib, struct nvml_roster *roster, unsigned card)
{
	uint32_t count = count_numbers(lib, roster->devices[card]);
	int failure = NVML_SUCCESS;

	for (uint32_t number = 0; number < count; number++) {
		int result = read_instance(lib, roster, card, number);

		if (result != NVML_SUCCESS && result != NVML_NOT_FOUND)
			failure = result;
	}
	return failure;
}

static int read_members(const struct nvml_lib *lib, struct nvml_roster *roster)
{
	int failure = NVML_SUCCESS;

	for (unsigned i = 0; i < roster->n_cards; i++) {
		struct gpu *gpu;
		int result = NVML_SUCCESS;

		if (roster->mig[i])
			result = read_instances(lib, roster, i);
		else
			add_member(roster, i, roster->devices[i], &gpu);
		if (result != NVML_SUCCESS)
			failure = result;
	}
	return failure;
}

static void link_members(struct nvml_roster *roster)
{
	for (unsigned i = 0; i < roster->n; i++)
		for (unsigned j = 0; j < roster->n; j++)
			roster->gpus[i].link[j] = roster->cards[roster->members[i].card]
							  .link[roster->members[j].card];
}

static int none(const struct nvml_lib *lib, const struct nvml_roster *roster, int failure,
	struct error *err)
{
	if (roster->count == 0)
		return error_set(err, -ENODEV, "nvml.no-gpus", "the NVIDIA driver sees no GPU");
	if (failure == NVML_SUCCESS)
		return error_set(err, -ENODEV, "nvml.no-instances",
			"all GPUs are in MIG mode and have no instances; make some with "
			"'nvidia-smi mig -cgi'");
	nvml_error(lib, failure, "nvmlDeviceGetHandleByIndex", err);
	return error_prefix(err, -EIO, "none of the %u GPUs can be read", roster->count);
}

int nvml_roster_read(
	const struct nvml_lib *lib, uint32_t count, struct nvml_roster *ret, struct error *err)
{
	int failure = NVML_SUCCESS, result;

	ret->count = count;
	for (uint32_t index = 0; index < MIN(count, (uint32_t)GPU_MAX); index++) {
		result = read_card(lib, ret, index);
		if (nvml_result_is_global(result))
			return nvml_error(lib, result, "nvmlDeviceGetHandleByIndex", err);
		if (result != NVML_SUCCESS)
			failure = result;
	}
	if (nvml_read_links(lib, ret->devices, ret->keys, ret->cards, ret->n_cards) < 0)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	result = read_members(lib, ret);
	if (result != NVML_SUCCESS)
		failure = result;
	ret->incomplete = failure != NVML_SUCCESS;
	if (ret->n == 0)
		return none(lib, ret, failure, err);
	link_members(ret);
	return 0;
}

static struct nvml_member *find_instance(
	struct nvml_roster *roster, unsigned card, uint32_t number, const struct gpu **ret_gpu)
{
	for (unsigned i = 0; i < roster->n; i++)
		if (roster->members[i].card == card && roster->members[i].number == number) {
			*ret_gpu = &roster->gpus[i];
			return &roster->members[i];
		}
	return NULL;
}

static bool instances_hold(const struct nvml_lib *lib, struct nvml_roster *roster, unsigned card)
{
	uint32_t count = count_numbers(lib, roster->devices[card]);

	for (uint32_t number = 0; number < count; number++) {
		const struct gpu *gpu = NULL;
		struct nvml_member *member = find_instance(roster, card, number, &gpu);
		char uuid[GPU_UUID_SIZE];
		nvml_device device;
		int result = lib->mig_by_index(roster->devices[card], number, &device);

		if (result == NVML_SUCCESS)
			result = read_uuid(lib, device, uuid);
		if (result == NVML_NOT_FOUND && member)
			return false;
		if (result != NVML_SUCCESS)
			continue;
		/* One that was there, but could not be read, is tried again later. */
		if (!member && !roster->incomplete)
			return false;
		if (member && strcmp(uuid, gpu->uuid) != 0)
			return false;
		if (member)
			member->device = device;
	}
	return true;
}

bool nvml_roster_holds(const struct nvml_lib *lib, struct nvml_roster *roster)
{
	for (unsigned i = 0; i < roster->n_cards; i++) {
		char uuid[GPU_UUID_SIZE];

		/* A card that does not even tell its name any more will say why when it is read. */
		if (read_uuid(lib, roster->devices[i], uuid) != NVML_SUCCESS)
			continue;
		if (strcmp(uuid, roster->cards[i].uuid) != 0 ||
			(roster->count <= MIG_CARDS_MAX &&
				has_mig(lib, roster->devices[i], roster->mig[i]) !=
					roster->mig[i]) ||
			(roster->mig[i] && !instances_hold(lib, roster, i)))
			return false;
	}
	return true;
}

static void inherit(struct gpu *gpu, const struct gpu *old)
{
	if (strcmp(gpu->uuid, old->uuid) != 0)
		return;
	text_copy(gpu->defect, sizeof(gpu->defect), old->defect);
	gpu->memory_mib = old->memory_mib;
}

void nvml_roster_inherit(struct nvml_roster *roster, const struct nvml_roster *old)
{
	for (unsigned i = 0; i < roster->n_cards; i++)
		for (unsigned j = 0; j < old->n_cards; j++)
			inherit(&roster->cards[i], &old->cards[j]);
	for (unsigned i = 0; i < roster->n; i++)
		for (unsigned j = 0; j < old->n; j++)
			inherit(&roster->gpus[i], &old->gpus[j]);
}

void nvml_roster_read_nodes(struct nvml_roster *roster, int root)
{
	for (unsigned i = 0; i < roster->n; i++)
		nvml_read_nodes(root,
			roster->mig[roster->members[i].card] ? &roster->members[i].instance : NULL,
			&roster->gpus[i]);
}

unsigned nvml_roster_card_of(const struct nvml_roster *roster, nvml_device device)
{
	unsigned i;

	for (i = 0; i < roster->n_cards && roster->devices[i] != device; i++)
		;
	for (unsigned j = 0; i == roster->n_cards && j < roster->n; j++)
		if (roster->members[j].device == device)
			return roster->members[j].card;
	return i;
}
