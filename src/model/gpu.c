/* SPDX-License-Identifier: MIT */
#include "model/gpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/strtab.h"

static const char *const vendors[GPU_VENDOR_MAX] = {
	[GPU_NVIDIA] = "nvidia",
	[GPU_AMD] = "amd",
	[GPU_INTEL] = "intel",
};
DEFINE_STRTAB(gpu_vendor, enum gpu_vendor, vendors)

static const char *const states[GPU_STATE_MAX] = {
	[GPU_STATE_FREE] = "free",
	[GPU_STATE_LEASED] = "leased",
	[GPU_STATE_FOREIGN] = "foreign",
	[GPU_STATE_DRAINING] = "draining",
	[GPU_STATE_LOST] = "lost",
};
DEFINE_STRTAB_TO(gpu_state, enum gpu_state, states)

static const char *const links[GPU_LINK_MAX] = {
	[GPU_LINK_SYSTEM] = "system",
	[GPU_LINK_NODE] = "node",
	[GPU_LINK_HOSTBRIDGE] = "hostbridge",
	[GPU_LINK_MULTIPLE] = "multiple",
	[GPU_LINK_SINGLE] = "single",
	[GPU_LINK_INTERNAL] = "internal",
	[GPU_LINK_NVLINK] = "nvlink",
};
DEFINE_STRTAB(gpu_link, enum gpu_link, links)

static const char *const standings[STANDING_MAX] = {
	[STANDING_LEASE] = "lease",
	[STANDING_IGNORED] = "ignored",
	[STANDING_NO_LEASE] = "no_lease",
	[STANDING_WRONG_GPU] = "wrong_gpu",
	[STANDING_ANOTHERS] = "anothers",
	[STANDING_OUTSIDE] = "outside",
};
DEFINE_STRTAB_TO(standing, enum standing, standings)

void gpu_format_nodes(const struct gpu *gpu, char dst[GPU_NODES_SIZE])
{
	size_t n = 0;

	dst[0] = '\0';
	for (unsigned i = 0; i < gpu->n_nodes; i++)
		n += (size_t)snprintf(dst + n, GPU_NODES_SIZE - n, "%s%u:%u", i > 0 ? " " : "",
			gpu->nodes[i].major, gpu->nodes[i].minor);
}

int gpu_parse_nodes(const char *s, struct gpu *gpu)
{
	gpu->n_nodes = 0;
	for (char *end; *s; s = end + (*end == ' ')) {
		struct gpu_node *node = &gpu->nodes[gpu->n_nodes];

		if (gpu->n_nodes == GPU_NODES_MAX)
			return -EINVAL;
		node->major = (uint32_t)strtoul(s, &end, 10);
		if (*end != ':')
			return -EINVAL;
		node->minor = (uint32_t)strtoul(end + 1, &end, 10);
		if (*end != ' ' && *end != '\0')
			return -EINVAL;
		gpu->n_nodes++;
	}
	return 0;
}

bool gpu_has_node(const struct gpu *gpu, uint32_t major, uint32_t minor)
{
	for (unsigned i = 0; i < gpu->n_nodes; i++)
		if (gpu->nodes[i].major == major && gpu->nodes[i].minor == minor)
			return true;
	return false;
}

bool gpu_is_foreign(const struct gpu *gpu)
{
	for (size_t i = 0; i < gpu->n_processes; i++)
		if (gpu->processes[i].standing >= STANDING_NO_LEASE)
			return true;
	return false;
}

bool gpu_works(const struct gpu *gpu)
{
	return gpu->present && !gpu->fault[0];
}

bool gpu_is_healthy(const struct gpu *gpu)
{
	return gpu_works(gpu) && !gpu->drained;
}

int64_t gpu_last_use(const struct gpu *gpu, uid_t uid)
{
	for (size_t i = 0; i < gpu->n_recent; i++)
		if (gpu->recent[i].uid == uid)
			return gpu->recent[i].last_us;
	return 0;
}

void gpu_note_use(struct gpu *gpu, uid_t uid, int64_t now_us)
{
	size_t oldest = 0, i;

	for (i = 0; i < gpu->n_recent && gpu->recent[i].uid != uid; i++)
		if (gpu->recent[i].last_us < gpu->recent[oldest].last_us)
			oldest = i;
	if (i == GPU_RECENT_MAX)
		i = oldest;
	else if (i == gpu->n_recent)
		gpu->n_recent++;
	gpu->recent[i] = (struct gpu_use){ .uid = uid, .last_us = now_us };
}
