/* SPDX-License-Identifier: MIT */
/*
 * A fault is what keeps a GPU from being used now, and goes when it goes; a defect asks for repair,
 * even if the GPU works on. Whatever is not supported by a GPU says nothing about its health.
 */
#include "gpu/nvml_health.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/macro.h"
#include "base/text.h"
#include "gpu/xid.h"

/* The first is the cause of those that follow. */
static void note(char dst[GPU_REASON_SIZE], const char *text)
{
	if (!dst[0])
		text_copy(dst, GPU_REASON_SIZE, text);
}

bool nvml_note_xid(struct gpu *gpu, uint64_t xid)
{
	char text[GPU_REASON_SIZE];

	if (!xid_defect(xid, text, sizeof(text)))
		return false;
	note(gpu->defect, text);
	return true;
}

void nvml_note_result(struct gpu *gpu, int result)
{
	static const char lost[] = "the GPU has fallen off the bus or is otherwise inaccessible";

	switch (result) {
	case NVML_GPU_IS_LOST:
		note(gpu->fault, lost);
		note(gpu->defect, lost);
		break;
	case NVML_RESET_REQUIRED:
		note(gpu->fault, "the GPU has to be reset before it can be used again");
		break;
	case NVML_UNKNOWN:
		note(gpu->fault,
			"the driver reports an unknown error of this GPU; see the kernel log");
		break;
	}
}

static void note_recovery(struct gpu *gpu, uint64_t action)
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
		snprintf(
			text, sizeof(text), "the driver asks for recovery action %" PRIu64, action);
	note(gpu->defect, text);
}

static int read_recovery(const struct nvml_lib *lib, nvml_device device, struct gpu *gpu)
{
	struct nvml_field field = { .id = NVML_FI_DEV_GET_GPU_RECOVERY_ACTION };
	int result = lib->fields ? lib->fields(device, 1, &field) : NVML_FUNCTION_NOT_FOUND;

	if (result == NVML_SUCCESS && field.result == NVML_SUCCESS)
		note_recovery(gpu, field.type == NVML_VALUE_TYPE_UNSIGNED_INT ? field.value.u32
									      : field.value.u64);
	return result;
}

static int read_ecc_errors(const struct nvml_lib *lib, nvml_device device, struct gpu *gpu)
{
	uint64_t errors = 0;
	char text[GPU_REASON_SIZE];
	int result = lib->ecc_errors ? lib->ecc_errors(device, NVML_ECC_UNCORRECTED,
					       NVML_ECC_VOLATILE, &errors)
				     : NVML_FUNCTION_NOT_FOUND;

	if (result != NVML_SUCCESS || errors == 0)
		return result;
	snprintf(text, sizeof(text),
		"%" PRIu64 " uncorrectable memory errors since the driver was loaded; reset the "
		"GPU",
		errors);
	note(gpu->defect, text);
	return result;
}

static int read_remapped_rows(const struct nvml_lib *lib, nvml_device device, struct gpu *gpu)
{
	uint32_t correctable, uncorrectable, pending = 0, failed = 0;
	int result = lib->remapped_rows ? lib->remapped_rows(device, &correctable, &uncorrectable,
						  &pending, &failed)
					: NVML_FUNCTION_NOT_FOUND;

	/* Where rows can be remapped, an error that was contained is over when its program ended:
	 * what is left to do is told by these and by the recovery action, not by the count. */
	if (result == NVML_NOT_SUPPORTED || result == NVML_FUNCTION_NOT_FOUND)
		return read_ecc_errors(lib, device, gpu);
	if (result != NVML_SUCCESS)
		return result;
	if (failed)
		note(gpu->defect, "rows of its memory could not be remapped; the card is to be "
				  "replaced");
	if (pending)
		note(gpu->defect, "reset the GPU to remap rows of its memory");
	return result;
}

int nvml_read_health(const struct nvml_lib *lib, nvml_device device, struct gpu *gpu)
{
	static int (*const readers[])(const struct nvml_lib *, nvml_device, struct gpu *) = {
		read_recovery,
		read_remapped_rows,
	};

	for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
		int result = readers[i](lib, device, gpu);

		nvml_note_result(gpu, result);
		if (nvml_result_is_global(result) || result == NVML_GPU_IS_LOST)
			return result;
	}
	return NVML_SUCCESS;
}
