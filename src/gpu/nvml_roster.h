/* SPDX-License-Identifier: MIT */
/*
 * Who the GPUs are, according to NVML: cards, and what of them is used as a GPU, which is the card
 * itself, or in MIG mode each of its instances and not the card. Handles, UUIDs, addresses, nodes
 * and links; not what they do.
 */
#pragma once

#include "gpu/nvml_lib.h"
#include "gpu/sample.h"

struct nvml_member {
	nvml_device device;
	unsigned card;                 /* its place among the cards */
	uint32_t number;               /* of NVML among the instances of its card; 0 for a card */
	struct nvml_instance instance; /* NVML_NO_INSTANCE: the card itself */
};

struct nvml_roster {
	uint32_t count;  /* of cards, as NVML told; some may not be readable */
	bool incomplete; /* something could not be read, and may be later */

	unsigned n_cards;
	nvml_device devices[GPU_MAX];
	uint64_t keys[GPU_MAX];
	bool mig[GPU_MAX];
	struct gpu cards[GPU_MAX]; /* identity and links; defect: the XID that was seen */

	unsigned n; /* grouped by card */
	struct nvml_member members[GPU_MAX];
	struct gpu gpus[GPU_MAX]; /* identity, links, nodes */
};

/* Reads all of it but the nodes into a roster of zeros. */
int nvml_roster_read(
	const struct nvml_lib *lib, uint32_t count, struct nvml_roster *ret, struct error *err);

/* Is it still true? Also renews the handles of instances. A card that cannot be asked any more has
 * not changed. */
bool nvml_roster_holds(const struct nvml_lib *lib, struct nvml_roster *roster);

/* What is known of a card, and how large a GPU is, outlives a new numbering. */
void nvml_roster_inherit(struct nvml_roster *roster, const struct nvml_roster *old);

/* Reads the nodes again: drivers are loaded later. root is that of gpu/tree.h. */
void nvml_roster_read_nodes(struct nvml_roster *roster, int root);

/* Who has this handle, as its place among the cards; n_cards if nobody. */
unsigned nvml_roster_card_of(const struct nvml_roster *roster, nvml_device device);
