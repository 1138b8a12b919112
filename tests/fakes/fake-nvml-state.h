/* SPDX-License-Identifier: MIT */
/*
 * What the fake libnvidia-ml.so.1 answers from: a text file named by the environment variable
 * FAKE_NVML_STATE, read again at each call. Replace it by rename. Without the file, the driver is
 * not loaded. Lines are a key and its values; "#" begins a line of comment.
 *
 *   stride 24              size of an entry of the _v3 process lists (16, 24, 32, or a wrong one)
 *   skip yes               GPUs whose node cannot be opened are not even counted
 *   gpu GPU-8a...          begins a GPU; its NVML index is its place among them
 *
 * What follows is about that GPU; a number without a line is not supported:
 *
 *   minor 3
 *   uuid GPU-9c...         what it says of itself, if that changed meanwhile
 *   name NVIDIA A100-SXM4-80GB
 *   bus 00000000:3B:00.0
 *   memory 81920 512 3     MiB: total, reserved, used
 *   util 7                 percent
 *   temp 31                degrees
 *   power 60500            milliwatts
 *   recovery 1             recovery action
 *   ecc 2                  uncorrectable errors since the driver was loaded
 *   rows 1 0               remapping of rows: pending, failed
 *   mig 7                  MIG mode is on (0: off), with so many instances at most
 *   node /dev/nvidia3      opened to get its handle: EACCES and EPERM are no permission
 *   link 00000000:5E:00.0  an active NVLink that ends at this address; one line a link
 *   near GPU-77... 10      topology level to that GPU, otherwise 50
 *   process 4711 512 mps   in a list, dead or alive: MiB or "na"; compute, mps or graphics
 *
 *   instance 2 MIG-6b... 9 0   begins an instance of that card: number among those of the card
 *                          (others are holes), UUID, GPU instance, compute instance. What follows
 *                          is about it; it has no health, and its processes are in the lists of
 *                          its card as well.
 *
 * Before the first GPU these are about all calls, after it about those to that GPU ("*" = all):
 *
 *   return nvmlDeviceGetName 15     fails so
 *   delay nvmlDeviceGetName 500000  microseconds before it answers
 *   hang nvmlDeviceGetName          never answers
 *
 * $FAKE_NVML_STATE.processes/ has a file for each process on a GPU, "UUID PID START MIB KIND", that
 * counts while the process lives (START: field 22 of its /proc stat); gpujob writes them.
 * $FAKE_NVML_STATE.xid, "UUID XID", is an event; it is removed when it was delivered.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAKE_GPUS      64
#define FAKE_LINKS     36
#define FAKE_RULES     64
#define FAKE_PROCESSES 1024
#define FAKE_TEXT      96
#define FAKE_NONE      (-1)

enum fake_verb { FAKE_RETURN, FAKE_DELAY, FAKE_HANG };

struct fake_rule {
	enum fake_verb verb;
	char function[64];
	long value;
	int gpu; /* FAKE_NONE: all */
};

struct fake_process {
	int gpu;
	pid_t pid;
	uint64_t bytes;
	char kind[16];
};

struct fake_near {
	char uuid[FAKE_TEXT];
	int level;
};

struct fake_gpu {
	char uuid[FAKE_TEXT], says[FAKE_TEXT], name[FAKE_TEXT], bus[32], node[128];
	long minor, util, temp, power, recovery, ecc, mig;
	long rows_pending, rows_failed;
	int card;   /* of an instance; FAKE_NONE: a card */
	int number; /* of an instance */
	unsigned gpu_instance, compute_instance;
	long total, reserved, used; /* MiB; total FAKE_NONE: not supported */
	char links[FAKE_LINKS][32];
	int n_links;
	struct fake_near near[FAKE_GPUS];
	int n_near;
};

struct fake_state {
	int stride;
	bool skip;
	struct fake_gpu gpus[FAKE_GPUS];
	int n_gpus;
	struct fake_rule rules[FAKE_RULES];
	int n_rules;
	struct fake_process processes[FAKE_PROCESSES];
	int n_processes;
};

/* Reads everything anew; false if there is no file. A line that is not understood ends the process:
 * a test that is wrong must not pass. */
bool fake_state_load(struct fake_state *state);

/* Index of a GPU, FAKE_NONE. */
int fake_state_find(const struct fake_state *state, const char *uuid);

/* Takes the pending event, if there is one. */
bool fake_take_xid(char uuid[FAKE_TEXT], uint64_t *ret_xid);
