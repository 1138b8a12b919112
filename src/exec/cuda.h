/* SPDX-License-Identifier: MIT */
/*
 * NVIDIA's utility cuda-checkpoint (driver 570 or later): its actions on several processes at once,
 * each bounded in time. https://github.com/NVIDIA/cuda-checkpoint, README.md: "--get-state" prints
 * running, locked, checkpointed or failed; "--action lock" takes "--timeout" in milliseconds; what
 * fails ends with another status than 0 and a text.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum cuda_state {
	CUDA_GONE,    /* the process has ended */
	CUDA_UNKNOWN, /* it has no such state, as far as the utility can tell */
	CUDA_RUNNING,
	CUDA_LOCKED,       /* calls of CUDA block, none is going on */
	CUDA_CHECKPOINTED, /* the same, and it has let go of its GPUs */
	CUDA_FAILED,       /* it can no longer use CUDA */
	CUDA_STATE_MAX,
	CUDA_STATE_INVALID = -22,
};

const char *cuda_state_to_string(enum cuda_state state);
enum cuda_state cuda_state_from_string(const char *s);

enum cuda_action {
	CUDA_LOCK,
	CUDA_CHECKPOINT,
	CUDA_RESTORE,
	CUDA_UNLOCK,
	CUDA_ACTION_MAX,
	CUDA_ACTION_INVALID = -22,
};

struct cuda_process {
	pid_t pid;
	enum cuda_state state;
	char text[240]; /* what the utility said, if the state is unknown; sanitized */
};

/* Asks for the states of all. Until the deadline (CLOCK_MONOTONIC, as clock_monotonic_ms()).
 * Negative errno: the utility could not be run. */
int cuda_look(const char *tool, struct cuda_process *processes, size_t n, int64_t deadline_ms,
	struct error *err);

/* Does that to all that are in the state, at the same time, until the deadline. Waits for all, also
 * after one has failed; err names the first that did. Those that ended meanwhile are no failure.
 * Afterwards the states are what they have to be; of those that failed: as before. */
int cuda_act(const char *tool, enum cuda_action action, enum cuda_state state,
	struct cuda_process *processes, size_t n, int64_t deadline_ms, struct error *err);
