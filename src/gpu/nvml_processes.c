/* SPDX-License-Identifier: MIT */
/*
 * Process lists of NVML, whose entries changed their size between driver releases without a change
 * of the function's name (see nvml_abi.h).
 *
 * So their size is measured instead of believed: the buffer has room for the largest entries, is
 * filled with a byte that no entry ends in (entries end in the high byte of a byte count, or
 * in an instance number), and after the call the last byte that changed tells the stride. If that
 * is no known stride, the next older version of the function is asked.
 */
#include "gpu/nvml_processes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define FILL           0xA5
#define CAPACITY       64
#define CAPACITY_MAX   65536 /* entries; drivers stop at 950 */
#define UNINTELLIGIBLE (-EPROTO)

void nvml_list_release(struct nvml_list *list)
{
	free(list->entries);
	*list = (struct nvml_list){ 0 };
}

static int reserve(struct nvml_list *list, uint32_t capacity)
{
	unsigned char *larger;

	if (capacity <= list->capacity)
		return 0;
	if (capacity > CAPACITY_MAX)
		return UNINTELLIGIBLE;
	larger = reallocarray(list->entries, capacity, NVML_PROCESS_SIZE_MAX);
	if (!larger)
		return -ENOMEM;
	list->entries = larger;
	list->capacity = capacity;
	return 0;
}

/* Asks until the list fits: processes may start between two calls. */
static int fetch(
	nvml_process_list function, nvml_device device, struct nvml_list *list, uint32_t *ret_count)
{
	int r = reserve(list, CAPACITY);

	for (int attempt = 0; r >= 0 && attempt < 8; attempt++) {
		uint32_t count = list->capacity;
		int result;

		memset(list->entries, FILL, (size_t)list->capacity * NVML_PROCESS_SIZE_MAX);
		result = function(device, &count, list->entries);
		if (result != NVML_INSUFFICIENT_SIZE) {
			*ret_count = count;
			return result;
		}
		r = reserve(list, (MAX(count, list->capacity) * 2) + 5);
	}
	return r < 0 ? r : UNINTELLIGIBLE;
}

/* The size of an entry, 0 if it is none of the known ones. */
static size_t stride(const struct nvml_list *list, uint32_t count)
{
	static const size_t sizes[] = { 16, 24, 32 };
	size_t used = (size_t)list->capacity * NVML_PROCESS_SIZE_MAX;

	while (used > 0 && list->entries[used - 1] == FILL)
		used--;
	for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
		if (used == count * sizes[i])
			return sizes[i];
	return 0;
}

/* Is the entry about this instance? Of the list of a whole card only those count that say so. */
static bool is_about(const struct nvml_process *process, struct nvml_instance instance, bool whole)
{
	if (process->gpu_instance == UINT32_MAX)
		return !whole;
	return process->gpu_instance == instance.gpu &&
	       process->compute_instance == instance.compute;
}

static int add(struct gpu *gpu, const struct nvml_process *process)
{
	int64_t mib = process->memory == NVML_VALUE_NOT_AVAILABLE
			      ? GPU_UNKNOWN
			      : (int64_t)MIN(process->memory >> 20, (uint64_t)SAMPLE_MEMORY_MAX);

	if (process->pid == 0 || process->pid > INT_MAX)
		return 0;
	for (size_t i = 0; i < gpu->n_processes; i++) {
		if (gpu->processes[i].pid != (pid_t)process->pid)
			continue;
		gpu->processes[i].memory_mib = MAX(gpu->processes[i].memory_mib, mib);
		return 0;
	}
	return sample_add_process(gpu, (pid_t)process->pid, mib);
}

/* What is asked of whom. */
struct question {
	nvml_device device;
	struct nvml_instance instance; /* NVML_NO_INSTANCE: whoever is in the list */
	bool whole;                    /* the device is the card of the instance */
};

static int read_list(nvml_process_list function, const struct question *question,
	struct nvml_list *list, struct gpu *gpu)
{
	uint32_t count = 0;
	int r = fetch(function, question->device, list, &count);
	size_t size;

	if (r != NVML_SUCCESS || count == 0)
		return r;
	size = count <= list->capacity ? stride(list, count) : 0;
	if (size == 0)
		return UNINTELLIGIBLE;
	for (uint32_t i = 0; i < count && r >= 0; i++) {
		struct nvml_process process = { .gpu_instance = UINT32_MAX };

		memcpy(&process, list->entries + i * size, MIN(size, sizeof(process)));
		if (question->instance.gpu == UINT32_MAX ||
			is_about(&process, question->instance, question->whole))
			r = add(gpu, &process);
	}
	return r == -ENOSPC ? NVML_SUCCESS : r;
}

/* The newest version that can be used; NVML_FUNCTION_NOT_FOUND if there is none. */
static int read_newest(const nvml_process_list functions[NVML_LIST_VERSIONS],
	const struct question *question, struct nvml_list *list, struct gpu *gpu)
{
	int r = NVML_FUNCTION_NOT_FOUND;

	for (size_t i = 0; i < NVML_LIST_VERSIONS; i++) {
		int next;

		if (!functions[i])
			continue;
		next = read_list(functions[i], question, list, gpu);
		/* That an older one refuses does not undo that there are processes. */
		if (next == NVML_FUNCTION_NOT_FOUND ||
			(r == UNINTELLIGIBLE && next != NVML_SUCCESS))
			continue;
		r = next;
		if (r != UNINTELLIGIBLE)
			break;
	}
	return r;
}

static bool is_serious(int result)
{
	return result == -ENOMEM || nvml_result_is_global(result) || result == NVML_GPU_IS_LOST ||
	       result == NVML_RESET_REQUIRED || result == NVML_UNKNOWN;
}

/* An instance first, and its card if that cannot be asked. */
static int read_kind(const nvml_process_list functions[NVML_LIST_VERSIONS],
	const struct question questions[2], struct nvml_list *list, struct gpu *gpu)
{
	int r = read_newest(functions, &questions[0], list, gpu);

	if (r == NVML_SUCCESS || r == UNINTELLIGIBLE || is_serious(r) ||
		questions[0].instance.gpu == UINT32_MAX)
		return r;
	return read_newest(functions, &questions[1], list, gpu);
}

int nvml_read_processes(const struct nvml_lib *lib, nvml_device device, nvml_device card,
	struct nvml_instance instance, struct nvml_list *list, struct gpu *gpu)
{
	const nvml_process_list *const kinds[] = { lib->compute, lib->mps, lib->graphics };
	const struct question questions[] = {
		{ .device = device, .instance = instance },
		{ .device = card, .instance = instance, .whole = true },
	};

	for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
		int r = read_kind(kinds[i], questions, list, gpu);

		if (r == UNINTELLIGIBLE && !gpu->fault[0])
			snprintf(gpu->fault, sizeof(gpu->fault),
				"the driver lists processes in a form that is not known");
		else if (is_serious(r))
			return r;
		else if (kinds[i] == lib->compute)
			gpu->processes_unknown = r != NVML_SUCCESS;
	}
	return NVML_SUCCESS;
}
