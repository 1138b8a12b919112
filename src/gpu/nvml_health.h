/* SPDX-License-Identifier: MIT */
/* When NVIDIA says that a GPU is not to be used any more. All texts end up in struct gpu. */
#pragma once

#include "gpu/nvml_abi.h"
#include "model/gpu.h"

/* Why nothing may run on a GPU after this XID, into gpu->fault, unless it has one. Returns whether
 * the XID is one of those; the others are faults of programs. */
bool nvml_note_xid(struct gpu *gpu, uint64_t xid);

/* The same for the recovery action that the driver asks for (field 230). */
void nvml_note_recovery(struct gpu *gpu, uint64_t action);

/* The same for the result of a call about this GPU; results that only say that a number is not to
 * be had are none of its faults. */
void nvml_note_result(struct gpu *gpu, int result);

/* The recovery action of a GPU has changed: no fault by itself. */
#define NVML_XID_RECOVERY_ACTION 154
