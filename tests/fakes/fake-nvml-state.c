/* SPDX-License-Identifier: MIT */
#include "fake-nvml-state.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "start-ticks.h"

static const char *path_of(const char *suffix, char dst[512])
{
	const char *path = getenv("FAKE_NVML_STATE");

	snprintf(dst, 512, "%s%s", path ? path : "/nonexistent", suffix);
	return dst;
}

static void bad_line(const char *line)
{
	fprintf(stderr, "fake-nvml: cannot understand \"%s\"\n", line);
	abort();
}

static bool add_rule(struct fake_state *state, const char *key, const char *rest)
{
	struct fake_rule rule = { .gpu = state->n_gpus - 1 };

	if (strcmp(key, "return") == 0)
		rule.verb = FAKE_RETURN;
	else if (strcmp(key, "delay") == 0)
		rule.verb = FAKE_DELAY;
	else if (strcmp(key, "hang") == 0)
		rule.verb = FAKE_HANG;
	else
		return false;
	if (sscanf(rest, "%63s %ld", rule.function, &rule.value) !=
			(rule.verb == FAKE_HANG ? 1 : 2) ||
		state->n_rules == FAKE_RULES)
		bad_line(rest);
	state->rules[state->n_rules++] = rule;
	return true;
}

static bool add_process(
	struct fake_state *state, int gpu, pid_t pid, const char *memory, const char *kind)
{
	struct fake_process *process = &state->processes[state->n_processes];

	if (state->n_processes == FAKE_PROCESSES)
		return false;
	process->gpu = gpu;
	process->pid = pid;
	process->bytes = strcmp(memory, "na") == 0 ? UINT64_MAX : strtoull(memory, NULL, 10) << 20;
	snprintf(process->kind, sizeof(process->kind), "%s", kind);
	state->n_processes++;
	return true;
}

static bool parse_number(struct fake_gpu *gpu, const char *key, const char *rest)
{
	const struct {
		const char *key;
		long *value;
	} numbers[] = {
		{ "minor", &gpu->minor },
		{ "util", &gpu->util },
		{ "temp", &gpu->temp },
		{ "power", &gpu->power },
		{ "recovery", &gpu->recovery },
		{ "ecc", &gpu->ecc },
		{ "mig", &gpu->mig },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(key, numbers[i].key) == 0)
			return sscanf(rest, "%ld", numbers[i].value) == 1;
	return false;
}

static bool parse_gpu_line(struct fake_state *state, const char *key, const char *rest)
{
	struct fake_gpu *gpu = &state->gpus[state->n_gpus - 1];
	char memory[24], kind[16];
	int pid;

	if (strcmp(key, "name") == 0)
		return snprintf(gpu->name, sizeof(gpu->name), "%s", rest) > 0;
	if (strcmp(key, "uuid") == 0)
		return sscanf(rest, "%95s", gpu->says) == 1;
	if (strcmp(key, "bus") == 0)
		return sscanf(rest, "%31s", gpu->bus) == 1;
	if (strcmp(key, "node") == 0)
		return sscanf(rest, "%127s", gpu->node) == 1;
	if (strcmp(key, "memory") == 0)
		return sscanf(rest, "%ld %ld %ld", &gpu->total, &gpu->reserved, &gpu->used) == 3;
	if (strcmp(key, "rows") == 0)
		return sscanf(rest, "%ld %ld", &gpu->rows_pending, &gpu->rows_failed) == 2;
	if (strcmp(key, "link") == 0 && gpu->n_links < FAKE_LINKS)
		return sscanf(rest, "%31s", gpu->links[gpu->n_links++]) == 1;
	if (strcmp(key, "near") == 0 && gpu->n_near < FAKE_GPUS) {
		struct fake_near *near = &gpu->near[gpu->n_near++];

		return sscanf(rest, "%95s %d", near->uuid, &near->level) == 2;
	}
	if (strcmp(key, "process") == 0)
		return sscanf(rest, "%d %23s %15s", &pid, memory, kind) == 3 &&
		       add_process(state, state->n_gpus - 1, pid, memory, kind);
	return parse_number(gpu, key, rest);
}

static bool begin_gpu(struct fake_state *state, const char *uuid)
{
	struct fake_gpu *gpu = &state->gpus[state->n_gpus];

	if (state->n_gpus == FAKE_GPUS)
		return false;
	memset(gpu, 0, sizeof(*gpu));
	gpu->minor = gpu->util = gpu->temp = gpu->power = gpu->recovery = gpu->total = FAKE_NONE;
	gpu->ecc = gpu->mig = gpu->rows_pending = gpu->rows_failed = gpu->card = FAKE_NONE;
	gpu->gpu_instance = gpu->compute_instance = UINT32_MAX;
	snprintf(gpu->name, sizeof(gpu->name), "NVIDIA Fake");
	snprintf(gpu->bus, sizeof(gpu->bus), "00000000:%02X:00.0", state->n_gpus + 1);
	state->n_gpus++;
	return sscanf(uuid, "%95s", gpu->uuid) == 1 && sscanf(uuid, "%95s", gpu->says) == 1;
}

static bool begin_instance(struct fake_state *state, const char *rest)
{
	int card = state->n_gpus - 1, number;
	char uuid[FAKE_TEXT];
	unsigned gpu_instance, compute_instance;
	struct fake_gpu *gpu = &state->gpus[state->n_gpus];

	if (card >= 0 && state->gpus[card].card != FAKE_NONE)
		card = state->gpus[card].card;
	if (card < 0 ||
		sscanf(rest, "%d %95s %u %u", &number, uuid, &gpu_instance, &compute_instance) !=
			4 ||
		!begin_gpu(state, uuid))
		return false;
	gpu->card = card;
	gpu->number = number;
	gpu->gpu_instance = gpu_instance;
	gpu->compute_instance = compute_instance;
	return true;
}

static bool parse_line(struct fake_state *state, const char *key, const char *rest)
{
	if (strcmp(key, "gpu") == 0)
		return begin_gpu(state, rest);
	if (strcmp(key, "instance") == 0)
		return begin_instance(state, rest);
	if (add_rule(state, key, rest))
		return true;
	if (state->n_gpus > 0)
		return parse_gpu_line(state, key, rest);
	if (strcmp(key, "stride") == 0)
		return sscanf(rest, "%d", &state->stride) == 1;
	state->skip = strcmp(rest, "yes") == 0;
	return strcmp(key, "skip") == 0;
}

int fake_state_find(const struct fake_state *state, const char *uuid)
{
	for (int i = 0; i < state->n_gpus; i++)
		if (strcmp(state->gpus[i].uuid, uuid) == 0)
			return i;
	return FAKE_NONE;
}

/* A process that registered itself and still lives. */
static void load_process(struct fake_state *state, const char *name)
{
	char uuid[FAKE_TEXT], memory[24], kind[16], path[512], suffix[300];
	unsigned long long start;
	int pid;
	FILE *file;

	snprintf(suffix, sizeof(suffix), ".processes/%s", name);
	file = name[0] == '.' ? NULL : fopen(path_of(suffix, path), "re");
	if (!file)
		return;
	if (fscanf(file, "%95s %d %llu %23s %15s", uuid, &pid, &start, memory, kind) == 5 &&
		fake_state_find(state, uuid) != FAKE_NONE && start_ticks(pid) == start)
		add_process(state, fake_state_find(state, uuid), pid, memory, kind);
	fclose(file);
}

static void load_processes(struct fake_state *state)
{
	char path[512];
	DIR *dir = opendir(path_of(".processes", path));
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		load_process(state, entry->d_name);
	closedir(dir);
}

bool fake_state_load(struct fake_state *state)
{
	char path[512], line[512], key[32];
	FILE *file = fopen(path_of("", path), "re");

	if (!file)
		return false;
	state->stride = 24;
	state->skip = false;
	state->n_gpus = state->n_rules = state->n_processes = 0;
	while (fgets(line, sizeof(line), file)) {
		int rest = 0;

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#' || sscanf(line, "%31s %n", key, &rest) != 1)
			continue;
		if (!parse_line(state, key, line + rest))
			bad_line(line);
	}
	fclose(file);
	load_processes(state);
	return true;
}

bool fake_take_xid(char uuid[FAKE_TEXT], uint64_t *ret_xid)
{
	char path[512];
	unsigned long long xid;
	FILE *file = fopen(path_of(".xid", path), "re");
	bool taken;

	if (!file)
		return false;
	taken = fscanf(file, "%95s %llu", uuid, &xid) == 2;
	fclose(file);
	if (taken)
		*ret_xid = xid;
	return unlink(path) == 0 && taken;
}
