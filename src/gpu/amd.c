/* SPDX-License-Identifier: MIT */
/*
 * AMD GPUs, by what the kernel shows of them in sysfs; no library of ROCm is needed.
 *
 * The UUID is "GPU-<unique_id>", as ROCR_VISIBLE_DEVICES takes it. Not all cards have a unique_id,
 * and the parts of one card may share theirs: those are named by their PCI address.
 *
 * Processes are those of amdkfd (ROCm). Where it is not in the kernel they are taken from fdinfo,
 * if the sensor may read it; else they are unknown.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"
#include "gpu/backend.h"
#include "gpu/card.h"
#include "gpu/fdinfo.h"
#include "gpu/kfd.h"
#include "gpu/tree.h"

#define MEMORY_MAX ((uint64_t)SAMPLE_MEMORY_MAX << 20)

struct amd {
	struct cards cards;
	int root;
};

static int64_t read_mib(int device, const char *file)
{
	uint64_t bytes;

	return tree_uint(device, file, MEMORY_MAX, &bytes) < 0 ? GPU_UNKNOWN
							       : (int64_t)(bytes >> 20);
}

static void read_uuid(int device, struct gpu *gpu)
{
	char id[24];

	if (tree_text(device, "unique_id", id, sizeof(id)) < 0 ||
		strspn(id, "0123456789abcdefABCDEF") != strlen(id) || strspn(id, "0") == strlen(id))
		return;
	snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%s", id);
}

static void read_device(int device, struct gpu *gpu)
{
	uint64_t percent;

	gpu->memory_mib = read_mib(device, "mem_info_vram_total");
	gpu->memory_used_mib = read_mib(device, "mem_info_vram_used");
	if (tree_uint(device, "gpu_busy_percent", 100, &percent) >= 0)
		gpu->utilization = (int)percent;
	read_uuid(device, gpu);
}

/* A number that two have is none. */
static void part_twins(struct sample *sample, const struct card *const cards[])
{
	bool twin[GPU_MAX] = { false };

	for (unsigned i = 0; i < sample->n_gpus; i++)
		for (unsigned j = 0; j < sample->n_gpus; j++)
			twin[i] |=
				i != j && strcmp(sample->gpus[i].uuid, sample->gpus[j].uuid) == 0;
	for (unsigned i = 0; i < sample->n_gpus; i++)
		if (twin[i])
			snprintf(sample->gpus[i].uuid, GPU_UUID_SIZE, "PCI-%s", cards[i]->pci);
}

static int read_fdinfo(struct sample *sample, int root)
{
	_cleanup_(freep) struct fdinfo_usage *usages = calloc(GPU_MAX, sizeof(*usages));

	return usages ? fdinfo_read(root, sample, usages) : -ENOMEM;
}

static int amd_read(void *context, struct sample *ret, struct error *err)
{
	struct amd *amd = context;
	const struct card *cards[GPU_MAX];
	int r;

	cards_read(&amd->cards);
	for (unsigned i = 0; i < amd->cards.n; i++) {
		_cleanup_(closep) int device = -1;
		const struct card *card = &amd->cards.card[i];

		if (card->driver != CARD_AMDGPU)
			continue;
		cards[ret->n_gpus] = card;
		device = card_open(amd->root, card);
		read_device(device, card_add(ret, amd->root, card));
	}
	if (ret->n_gpus == 0)
		return error_set(err, -ENODEV, "amd.no-gpus", "no AMD GPU found");
	part_twins(ret, cards);
	cards_link(ret, amd->root, cards);
	kfd_read_links(ret, amd->root, cards);
	r = kfd_read_processes(ret, amd->root, cards);
	if (r == -ENOENT)
		r = read_fdinfo(ret, amd->root);
	return r < 0 ? error_set(err, r, "memory", "out of memory") : 0;
}

static void amd_close(void *context)
{
	struct amd *amd = context;

	if (!amd)
		return;
	closep(&amd->root);
	free(amd);
}

static int amd_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	struct amd *amd = calloc(1, sizeof(*amd));

	if (!amd)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	amd->root = amd->cards.root = tree_open(options->sysroot);
	cards_read(&amd->cards);
	for (unsigned i = 0; i < amd->cards.n; i++)
		if (amd->cards.card[i].driver == CARD_AMDGPU) {
			*ret_context = amd;
			return 0;
		}
	amd_close(amd);
	return error_set(err, -ENODEV, "amd.no-gpus", "no AMD GPU found");
}

const struct backend backend_amd = {
	.name = "amd",
	.open = amd_open,
	.read = amd_read,
	.close = amd_close,
};
