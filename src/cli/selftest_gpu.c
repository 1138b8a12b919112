/* SPDX-License-Identifier: MIT */
/*
 * The same at a real GPU, with the dibsd that guards it: for some seconds a test user has a lease
 * of a GPU that is free. What would disturb others, and what needs programs that are not here, is
 * left to people: they are told what to run.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/text.h"
#include "cli/gpu.h"
#include "cli/public.h"
#include "cli/selftest.h"
#include "cli/selftest_try.h"
#include "model/gpu.h"
#include "proto/client.h"

#define NVIDIA_SMI "/usr/bin/nvidia-smi"

static const struct {
	enum claim claim;
	const char *how;
} by_hand[] = {
	{ CLAIM_CUDA,
		"CUDA: 'dibs run -- python3 -c \"import torch;"
		" print(torch.cuda.device_count())\"' must print 1, and 0 without 'dibs run --'"
		" for who has no lease" },
	{ CLAIM_SUSPEND, "suspend: 'cuda-checkpoint --toggle --pid PID', twice, of a program of"
			 " 'dibs run' as root; it must leave nvidia-smi, come back and go on" },
	{ CLAIM_MPS, "MPS: 'CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=1G' before a program under"
		     " nvidia-cuda-mps-control, which must not get more memory than that" },
	{ CLAIM_RESET, "reset: 'dibs admin sensor pause; nvidia-smi --gpu-reset -i N; dibs admin"
		       " sensor resume' of an idle GPU, after which this must say the same" },
};

/* The device of a node, as it is called where its driver is. */
static bool find_node(json_t *gpu, char *ret, size_t size)
{
	json_t *first = json_array_get(json_object_get(gpu, "nodes"), 0);
	unsigned major, minor;
	struct stat st;

	if (!gpu_parse_node(first, &major, &minor))
		return false;
	if (major == NVIDIA_MAJOR)
		snprintf(ret, size, "/dev/nvidia%u", minor);
	else if (major == DRM_MAJOR)
		snprintf(ret, size, "/dev/dri/renderD%u", minor);
	else
		return false;
	return stat(ret, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major, minor);
}

/* A GPU that is there and free; NULL, and why there is none. */
static json_t *choose(json_t *status, char *node, size_t size, struct report *report)
{
	json_t *gpu;
	size_t i;
	bool any = false;

	json_array_foreach (json_object_get(status, "gpus"), i, gpu) {
		if (!find_node(gpu, node, size))
			continue;
		any = true;
		if (gpu_has_state(gpu, "free"))
			return gpu;
	}
	gate_untried(report, GATE_GPU, "%s",
		any ? "no GPU is free now" : "no GPU here: dibsd knows of none with a device node");
	return NULL;
}

static bool is_guarded(const struct selftest *test, json_t *status)
{
	const char *problem = wire_text(status, "guard_problem");

	if (strcmp(wire_text(status, "guard"), "deny") != 0)
		gate_untried(test->report, GATE_GPU,
			"the guard of dibsd is '%s'; 'dibs admin guard deny' turns it on",
			wire_text(status, "guard"));
	else if (*problem)
		gate_untried(test->report, GATE_GPU, "%s", problem);
	else if (!*test->own_sessions && strcmp(wire_text(status, "guard_method"), "acl") != 0)
		gate_untried(test->report, GATE_GPU,
			"there is no cgroup user.slice; say which one of session-cgroups is "
			"guarded:"
			" dibs selftest CGROUP");
	else
		return true;
	return false;
}

/* How many it lists to who may open none is for people to judge: drivers differ. */
static void try_list(const struct scene *scene)
{
	int without, with;
	int64_t lease;

	if (access(NVIDIA_SMI, X_OK) < 0) {
		result_set(scene->report, GATE_GPU, CLAIM_LISTED, OUTCOME_UNTRIED,
			"there is no " NVIDIA_SMI);
		return;
	}
	without = user_count_gpus(scene->holder);
	lease = try_reserve(scene);
	if (lease == 0)
		return;
	scene->report->lease = lease;
	with = user_count_gpus(scene->holder);
	if (try_release(scene, lease))
		scene->report->lease = 0;
	if (without < 0 || with < 0)
		result_set(scene->report, GATE_GPU, CLAIM_LISTED, OUTCOME_FAILED,
			"nvidia-smi cannot be run: %s", strerrordesc_np(-MIN(without, with)));
	else
		result_set(scene->report, GATE_GPU, CLAIM_LISTED,
			with > 0 ? OUTCOME_OK : OUTCOME_FAILED,
			"nvidia-smi -L lists %d GPUs without a lease, %d with a lease of one",
			without, with);
}

static void try_gpu(const struct selftest *test, json_t *gpu, const char *node)
{
	_cleanup_(user_end) struct user holder = USER_NONE, other = USER_NONE;
	struct scene scene = { .report = test->report,
		.gate = GATE_GPU,
		.socket = test->socket,
		.gpu = wire_text(gpu, "uuid"),
		.node = node,
		.holder = &holder,
		.other = &other };
	struct error err = { 0 };

	if (user_start(&holder, test->uids[0], test->own_sessions, &err) < 0 ||
		user_start(&other, test->uids[1], test->own_sessions, &err) < 0) {
		gate_failed(test->report, GATE_GPU, "%s", err.text);
		return;
	}
	try_claims(&scene);
	if (strcmp(wire_text(gpu, "vendor"), "nvidia") != 0)
		return;
	try_list(&scene);
	for (size_t i = 0; i < ELEMENTSOF(by_hand); i++)
		result_set(test->report, GATE_GPU, by_hand[i].claim, OUTCOME_UNTRIED, "%s",
			by_hand[i].how);
}

void selftest_gpu(const struct selftest *test)
{
	_cleanup_(json_decrefp) json_t *status = NULL;
	struct error err = { 0 };
	char node[64];
	json_t *gpu;

	if (client_call(test->socket, "org.dibs.GetStatus", NULL, &status, &err) != EXIT_OK) {
		gate_untried(test->report, GATE_GPU, "no GPU here to try: %s", err.text);
		return;
	}
	gpu = choose(status, node, sizeof(node), test->report);
	if (gpu && is_guarded(test, status))
		try_gpu(test, gpu, node);
}
