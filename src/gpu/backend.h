/* SPDX-License-Identifier: MIT */
/* A way to read GPUs. The sensor opens the first that has any, and asks it again and again. */
#pragma once

#include <errno.h>

#include "gpu/sample.h"

struct backend_options {
	const char *argument; /* of the option that chose this backend (--sim SPEC); NULL = none */
	const char *sysroot;  /* before /proc, /sys and /dev, for captured trees; NULL = none */
};

struct backend {
	const char *name;

	/* *ret_context is the backend's own; the options live as long as it. Fails with a sentence
	 * when this machine has none of its kind. */
	int (*open)(const struct backend_options *options, void **ret_context, struct error *err);

	/* Fills an empty sample. A GPU that fails alone gets its fault set; a failure of everything
	 * is the return value, and the caller closes and opens again. */
	int (*read)(void *context, struct sample *ret, struct error *err);

	/* Sleeps until the hardware reports that a GPU must not be used any more (XID), or
	 * timeout_ms passed. NULL = the caller sleeps. */
	void (*wait)(void *context, int timeout_ms);

	/* NULL is fine. What is remembered of the GPUs (XID faults) is forgotten. */
	void (*close)(void *context);
};

/*
 * open and read return BACKEND_STALE when no call of this process can ever succeed again (the
 * driver was replaced, and the old library cannot be unloaded reliably): only a new process helps.
 */
#define BACKEND_STALE (-ESTALE)

/* Everything that this machine has: by NVML, else nvidia-smi; AMD; DRM. */
extern const struct backend backend_hardware;

/* NVIDIA's own library, libnvidia-ml.so.1. */
extern const struct backend backend_nvml;

/* NVIDIA's program, nvidia-smi: from PATH, or from usr/bin of the sysroot. */
extern const struct backend backend_nvidia_smi;

/* AMD GPUs, by sysfs and amdkfd. */
extern const struct backend backend_amd;

/* Intel GPUs, by sysfs and the fdinfo of DRM. */
extern const struct backend backend_drm;

/* A program that writes the sensor's lines; the argument is its path. It may tell an error itself:
 * then the sample has it, and the reading has not failed. */
extern const struct backend backend_exec;

/* "8xA100-80G" or "4xH100-80G,4xV100-32G": GPUs that do not exist, with stable UUIDs, NVLink within
 * groups of four, two NUMA nodes. Also answers whether a SPEC is well-formed: open fails with a
 * sentence. */
extern const struct backend backend_sim;
