/* SPDX-License-Identifier: MIT */
/*
 * For tests of the NVML backend against the stand-in for NVIDIA's library
 * (tests/fakes/fake-nvml-state.h), in the variant that the argument names: "current", "no-v3" or
 * "old". What the backend reads of /proc and /sys is what a test puts below its directory.
 */
#pragma once

#include <stdarg.h>

#include "tree.h"

#define WAIT_MS 20000 /* longer than anything here takes */

#define FIRST  "gpu GPU-1\nminor 5\nbus 00000000:3B:00.0\nmemory 81920 512 3\n"
#define SECOND "gpu GPU-2\nminor 4\nbus 00000000:5E:00.0\nmemory 24576 256 7\n"

static char directory[] = "/tmp/dibs-nvml-XXXXXX";
static bool has_v3, old;

/* Puts text into the file "state" + suffix, at one moment. */
static inline void put(const char *suffix, const char *fmt, ...) _printf_(2, 3);
static inline void put(const char *suffix, const char *fmt, ...)
{
	char path[64], draft[64];
	va_list ap;
	FILE *file;

	snprintf(path, sizeof(path), "%s/state%s", directory, suffix);
	snprintf(draft, sizeof(draft), "%s/draft", directory);
	file = fopen(draft, "we");
	va_start(ap, fmt);
	vfprintf(file, fmt, ap);
	va_end(ap);
	fclose(file);
	CHECK_INT(rename(draft, path), 0);
}

static inline bool exists(const char *suffix)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/state%s", directory, suffix);
	return access(path, F_OK) == 0;
}

struct fixture {
	void *context;
	struct sample *sample;
	struct error err;
};

static inline void tear_down(struct fixture *f)
{
	backend_nvml.close(f->context);
	sample_free(f->sample);
}

static inline int set_up(struct fixture *f)
{
	f->sample = sample_new();
	return backend_nvml.open(
		&(struct backend_options){ .sysroot = directory }, &f->context, &f->err);
}

static inline int read_again(struct fixture *f)
{
	sample_clear(f->sample);
	f->err = (struct error){ 0 };
	return backend_nvml.read(f->context, f->sample, &f->err);
}

/* Opens, and reads once. */
static inline int set_up_and_read(struct fixture *f)
{
	int r = set_up(f);

	return r < 0 ? r : read_again(f);
}

#define FIXTURE(f) _cleanup_(tear_down) struct fixture f = { 0 }

static inline void put_tree(const char *path, const char *text)
{
	tree_put(directory, path, text);
}

/* The links of GPU a to those in the sample, as letters. */
static inline void check_links(const struct fixture *f, unsigned a, const char *expected)
{
	static const char letters[GPU_LINK_MAX + 1] = "snhmb.L"; /* in the order of enum gpu_link */
	char links[GPU_MAX + 1] = "";

	for (unsigned b = 0; b < f->sample->n_gpus; b++)
		links[b] = letters[f->sample->gpus[a].link[b]];
	CHECK_STR(links, expected);
}

static inline void check_nodes(const struct gpu *gpu, const char *expected)
{
	char text[256] = "";
	size_t n = 0;

	for (unsigned i = 0; i < gpu->n_nodes; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u:%u", i ? " " : "",
			gpu->nodes[i].major, gpu->nodes[i].minor);
	CHECK_STR(text, expected);
}

static inline void remove_directory(void)
{
	nftw(directory, tree_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

static inline bool begin(int argc, char **argv)
{
	const char *variant = argc > 1 ? argv[1] : "current";
	char path[64];

	has_v3 = strcmp(variant, "current") == 0;
	old = strcmp(variant, "old") == 0;
	if (!mkdtemp(directory))
		return false;
	snprintf(path, sizeof(path), "%s/state", directory);
	return setenv("FAKE_NVML_STATE", path, 1) == 0;
}

static inline int end(void)
{
	remove_directory();
	return tap_done();
}
