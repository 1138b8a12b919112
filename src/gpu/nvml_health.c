/* SPDX-License-Identifier: MIT */
/*
 * The advice is that of NVIDIA's XID catalog (2025-10), as carried by leptonai/gpud. XIDs that are
 * not listed here are faults of a program (13, 31, 43, 45, 94, ...) or informational: the
 * GPU stays in use.
 */
#include "gpu/nvml_health.h"

#include <stdio.h>

#include "base/macro.h"
#include "base/text.h"

static const char reset_gpu[] = "reset the GPU";
static const char restart_machine[] = "restart the machine";

static const struct {
	uint16_t xid;
	const char *advice;
} drain[] = {
	{ 46, reset_gpu },
	{ 48, "follow its workflow for this XID" },
	{ 62, reset_gpu },
	{ 64, reset_gpu },
	{ 79, restart_machine },
	{ 95, reset_gpu },
	{ 109, reset_gpu },
	{ 110, reset_gpu },
	{ 119, reset_gpu },
	{ 120, reset_gpu },
	{ 136, reset_gpu },
	{ 140, reset_gpu },
	{ 143, reset_gpu },
	{ 151, restart_machine },
	{ 155, reset_gpu },
	{ 156, reset_gpu },
	{ 158, reset_gpu },
};

/* The first fault is the cause of those that follow. */
static void note(struct gpu *gpu, const char *fault)
{
	if (!gpu->fault[0])
		text_copy(gpu->fault, sizeof(gpu->fault), fault);
}

bool nvml_note_xid(struct gpu *gpu, uint64_t xid)
{
	char text[GPU_REASON_SIZE];

	for (size_t i = 0; i < ELEMENTSOF(drain); i++) {
		if (drain[i].xid != xid)
			continue;
		snprintf(text, sizeof(text), "XID %u: NVIDIA advises to %s", drain[i].xid,
			drain[i].advice);
		note(gpu, text);
		return true;
	}
	return false;
}

void nvml_note_recovery(struct gpu *gpu, uint64_t action)
{
	static const char *const actions[] = {
		[1] = "reset the GPU",
		[2] = "reboot the machine",
		[3] = "drain peer-to-peer traffic",
		[4] = "drain and reset the GPU",
		[5] = "recover IMEX",
	};
	char text[GPU_REASON_SIZE];

	if (action == 0)
		return;
	if (action < ELEMENTSOF(actions))
		snprintf(text, sizeof(text), "the driver asks to %s", actions[action]);
	else
		snprintf(text, sizeof(text), "the driver asks for recovery action %llu",
			(unsigned long long)action);
	note(gpu, text);
}

void nvml_note_result(struct gpu *gpu, int result)
{
	switch (result) {
	case NVML_GPU_IS_LOST:
		note(gpu, "the GPU has fallen off the bus or is otherwise inaccessible");
		break;
	case NVML_RESET_REQUIRED:
		note(gpu, "the GPU has to be reset before it can be used again");
		break;
	case NVML_UNKNOWN:
		note(gpu, "the driver reports an unknown error of this GPU; see the kernel log");
		break;
	}
}
