/* SPDX-License-Identifier: MIT */
/*
 * Who uses GPUs, according to the fdinfo of their open DRM files: the standardised keys of the
 * kernel's Documentation/gpu/drm-usage-stats.rst. Seen is everything or nothing: without the right
 * to look into all processes there is no answer.
 */
#pragma once

#include "gpu/sample.h"

#define FDINFO_ENGINES_MAX 16

/* A class of engines of one GPU. */
struct fdinfo_engine {
	char name[24];
	unsigned capacity;       /* engines of this class */
	uint64_t busy_ns;        /* i915, amdgpu: time */
	uint64_t cycles, clocks; /* xe: busy cycles, of so many that have passed */
};

/* What all clients of one GPU have together. */
struct fdinfo_usage {
	uint64_t memory; /* bytes of its own memory (VRAM); that of the machine is not counted */
	bool has_memory; /* clients told about such memory */
	struct fdinfo_engine engines[FDINFO_ENGINES_MAX];
	unsigned n_engines;
};

/*
 * Adds the processes to the GPUs of a sample, whose pci is "0000:03:00.0", and what is used of the
 * i-th to usages[i], which are zeros. A client counts once, however many descriptors and processes
 * share it; each process that holds it is on the GPU, and the one with the lowest pid has its
 * memory. Clients that never had memory or ran anything are none (logind keeps all cards open).
 *
 * Returns 1; 0 if not all processes can be seen: then the processes of all GPUs are unknown and the
 * usages are not to be used; -ENOMEM.
 */
int fdinfo_read(int root, struct sample *sample, struct fdinfo_usage usages[]);
