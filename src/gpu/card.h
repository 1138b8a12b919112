/* SPDX-License-Identifier: MIT */
/*
 * The GPUs that the kernel's own drivers (DRM) show in /sys/class/drm: of amdgpu, i915 and xe, with
 * a render node. Cards without one, and those of other drivers, only draw (ast, mgag200, virtio,
 * nouveau ...). NVIDIA's driver is asked in other ways.
 *
 * An integrated GPU is left out when the machine has another one, be it NVIDIA's: nobody who asks
 * for "a GPU" means the one inside the processor. It counts where it is all there is.
 */
#pragma once

#include <stdbool.h>

#include "gpu/sample.h"

enum card_driver {
	CARD_AMDGPU,
	CARD_I915,
	CARD_XE,
	CARD_DRIVER_MAX,
	CARD_DRIVER_INVALID = -22,
};

struct card {
	char pci[GPU_PCI_SIZE]; /* "0000:03:00.0" */
	char model[GPU_MODEL_SIZE];
	enum card_driver driver;
	unsigned vendor, device; /* PCI ids */
	unsigned card, render;   /* N of cardN, renderDN */
	bool integrated;
};

struct cards {
	int root; /* borrowed */
	unsigned n;
	struct card card[GPU_MAX]; /* by PCI address */
};

/* Reads who is there now. The first call takes a struct of zeros with its root. Never fails: what
 * cannot be read is not there. */
void cards_read(struct cards *cards);

/* The directory of the device; a descriptor or a negative errno. */
int card_open(int root, const struct card *card);

/* Its hwmon directory, of a device's descriptor; a descriptor or a negative errno. */
int card_open_hwmon(int device);

/* Appends a GPU with what all cards have: identity ("PCI-<address>" as UUID), nodes, temperature
 * and power. Its index is its place in the sample. NULL when the sample is full. */
struct gpu *card_add(struct sample *sample, int root, const struct card *card);

/* Links between the GPUs of a sample, whose i-th is cards[i]: one NUMA node, or unknown. */
void cards_link(struct sample *sample, int root, const struct card *const cards[]);
