/* SPDX-License-Identifier: MIT */
/*
 * What a sensor saw at one moment, and the one line of JSON by which it tells the daemon:
 *
 *   {"gpus":[{"uuid":"GPU-...","model":"...","pci":"00000000:3b:00.0","vendor":"nvidia","index":0,"minor":1,
 *     "memory_mib":81920,"memory_used_mib":3,"utilization":0,"temperature_c":31,"power_w":60,
 *     "fault":"...","defect":"...","nodes":["195:0","236:12"],"links":["internal","nvlink",...],
 *     "processes":[{"pid":4711,"memory_mib":512,"command":"python train.py"}]}]}
 *   {"error":"libnvidia-ml.so.1: cannot open shared object file"}
 *
 * Unknown metrics are null, and so are the processes of hardware that does not list them. What a
 * GPU need not have: "fault" (it cannot be used now), "defect" (it needs repair, even if it works
 * now), "nodes" (the character devices, MAJOR:MINOR, whose opening gives access to it; instances of
 * one card share some); a process of which nothing more is known has no command. All else is always
 * there. links[i] is the way to the i-th GPU of the same line. A sensor is not trusted: decoding
 * checks every value.
 */
#pragma once

#include "base/error.h"
#include "model/gpu.h"

#define SAMPLE_LINE_MAX      (4 * 1024 * 1024) /* bytes */
#define SAMPLE_PROCESSES_MAX 4096              /* a GPU; NVIDIA's drivers list at most 950 */

/* What decoding accepts; a backend that reads more takes it for unknown. */
#define SAMPLE_MEMORY_MAX      (1 << 30)       /* MiB */
#define SAMPLE_TEMPERATURE_MAX 250             /* degrees Celsius */
#define SAMPLE_POWER_MAX       10000           /* watts, of one GPU */
#define SAMPLE_MAJOR_MAX       ((1 << 12) - 1) /* linux/kdev_t.h */
#define SAMPLE_MINOR_MAX       ((1 << 20) - 1) /* MINORMASK of the same */
#define SAMPLE_INDEX_MAX       9999

struct sample {
	char error[GPU_REASON_SIZE]; /* no GPUs could be read at all, and why; empty = fine */
	unsigned n_gpus;
	struct gpu gpus[GPU_MAX]; /* identity and metrics only; link[i] is about gpus[i] */
};

struct sample *sample_new(void);
struct sample *sample_free(struct sample *sample);
DEFINE_CLEANUP(struct sample *, sample_free)

/* Ready for the next reading: no GPUs, no error, nothing leaked. */
void sample_clear(struct sample *sample);

/* Appends a GPU with all metrics unknown and present; NULL when there are GPU_MAX. */
struct gpu *sample_add(struct sample *sample);

/* Adds a process to a GPU of a sample. -ENOMEM, -ENOSPC. */
int sample_add_process(struct gpu *gpu, pid_t pid, int64_t memory_mib);

/* Adds a node to a GPU of a sample; one that it has already is fine. -EINVAL: no such device can
 * be, -ENOSPC. */
int sample_add_node(struct gpu *gpu, uint64_t major, uint64_t minor);

/* The same from "MAJOR:MINOR", as the files "dev" of sysfs have it. */
int sample_add_node_text(struct gpu *gpu, const char *text);

/* May this be the UUID of a GPU? They end up in environments, paths and tables: letters, digits and
 * "._:/-" only. */
bool sample_uuid_valid(const char *uuid);

/* The line, without newline; the caller frees. NULL without memory. Texts must be UTF-8. */
char *sample_encode(const struct sample *sample);

/* Reads a line (size bytes, no newline) into *ret, which it clears first. Refused as a whole
 * (-EINVAL), leaving *ret empty: unknown, missing, doubled or ill-typed keys, values out of range,
 * texts that are too long, two GPUs with one UUID or index, a GPU with one node twice, pids below
 * 1. Texts are sanitized. */
int sample_decode(const char *line, size_t size, struct sample *ret, struct error *err);
