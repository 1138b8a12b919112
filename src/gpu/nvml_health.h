/* SPDX-License-Identifier: MIT */
/* When NVIDIA says that a GPU is not to be used any more. All texts end up in struct gpu. */
#pragma once

#include "gpu/nvml_lib.h"
#include "model/gpu.h"

/* What a GPU needs after this XID, into gpu->defect, unless it has one. Returns whether the XID is
 * one of those; the others are faults of programs. */
bool nvml_note_xid(struct gpu *gpu, uint64_t xid);

/* What the result of a call says about this GPU, into gpu->fault, and gpu->defect if it needs
 * repair; results that only say that a number is not to be had are none of its faults. */
void nvml_note_result(struct gpu *gpu, int result);

/* Asks a card (not an instance of it) for its recovery action, remapped rows and ECC errors, and
 * notes what it finds and how it answered. Returns NVML_SUCCESS, NVML_GPU_IS_LOST, or a result that
 * means that NVML is gone. */
int nvml_read_health(const struct nvml_lib *lib, nvml_device device, struct gpu *gpu);
