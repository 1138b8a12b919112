/* SPDX-License-Identifier: MIT */
/*
 * GPUs that do not exist, for trying dibs out and for tests.
 *
 * They are built once from the SPEC and copied into every sample. What is easily confused on real
 * machines is different on purpose: minors run against the indices. The nodes are 120:MINOR, which
 * no driver has. UUIDs are a function of model
 * and index, so that a daemon that is started again, or with more GPUs, finds its old ones.
 */
#include "gpu/backend.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"

#define NVLINK_GROUP 4
#define LOCAL_MAJOR  120 /* "local/experimental use" of Documentation/admin-guide/devices.txt */

/* One "4xH100-80G" of a SPEC. */
struct part {
	unsigned count;
	char model[GPU_MODEL_SIZE];
	uint64_t memory_mib;
};

static int bad_part(struct error *err, const char *part)
{
	char shown[64];

	text_copy(shown, sizeof(shown), part);
	text_sanitize(shown);
	return error_set(err, -EINVAL, "sim.bad-spec",
		"simulated GPUs are written as 8xA100-80G, several kinds with commas, %d GPUs at "
		"most; \"%s\" is not",
		GPU_MAX, shown);
}

static int parse_part(const char *text, struct part *ret)
{
	const char *model, *size = strrchr(text, '-');
	char count[8];
	uint64_t n;
	size_t digits = strspn(text, "0123456789");

	if (!size || text[digits] != 'x' || digits >= sizeof(count))
		return -EINVAL;
	memcpy(count, text, digits);
	count[digits] = '\0';
	if (parse_uint(count, 1, GPU_MAX, &n) < 0)
		return -EINVAL;
	model = text + digits + 1;
	if (size <= model || !sample_uuid_valid(model) ||
		parse_size(size + 1, &ret->memory_mib) < 0 || ret->memory_mib > SAMPLE_MEMORY_MAX)
		return -EINVAL;
	ret->count = (unsigned)n;
	text_copy(ret->model, sizeof(ret->model), model);
	return 0;
}

/* Any mixing will do as long as it stays the same: this is splitmix64. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static void make_uuid(char dst[GPU_UUID_SIZE], const char *model, unsigned index)
{
	uint64_t high = index, low;

	for (; *model; model++)
		high = mix(high ^ (uint64_t)(unsigned char)*model << 32);
	low = mix(high);
	snprintf(dst, GPU_UUID_SIZE,
		"GPU-%08" PRIx64 "-%04" PRIx64 "-4%03" PRIx64 "-8%03" PRIx64 "-%012" PRIx64,
		high >> 32, high >> 16 & 0xffff, high & 0xfff, low >> 48 & 0xfff,
		low & 0xffffffffffff);
}

static int add_part(struct sample *sample, const struct part *part)
{
	unsigned first = sample->n_gpus;

	for (unsigned i = 0; i < part->count; i++) {
		struct gpu *gpu = sample_add(sample);

		if (!gpu)
			return -EINVAL;
		gpu->index = (int)(first + i);
		make_uuid(gpu->uuid, part->model, first + i);
		text_copy(gpu->model, sizeof(gpu->model), part->model);
		snprintf(gpu->pci, sizeof(gpu->pci), "%08x:%02x:00.0", (first + i) / 128,
			(first + i) % 128 + 1);
		gpu->vendor = GPU_NVIDIA;
		gpu->memory_mib = (int64_t)part->memory_mib;
		gpu->memory_used_mib = 0;
		gpu->utilization = 0;
		gpu->temperature_c = 30;
		gpu->power_w = 60;
		for (unsigned j = 0; j < i; j++)
			if (j / NVLINK_GROUP == i / NVLINK_GROUP)
				gpu->link[first + j] = GPU_LINK_NVLINK;
	}
	return 0;
}

/* What depends on how many there are. add_part set the links to earlier GPUs; links have no
 * direction. */
static void finish(struct sample *sample)
{
	unsigned n = sample->n_gpus;

	for (unsigned i = 0; i < n; i++) {
		sample->gpus[i].minor = (int)(n - 1 - i);
		sample_add_node(&sample->gpus[i], LOCAL_MAJOR, n - 1 - i);
		for (unsigned j = 0; j < i; j++) {
			uint8_t *link = &sample->gpus[i].link[j];

			if (*link != GPU_LINK_NVLINK)
				*link = i * 2 / n == j * 2 / n ? GPU_LINK_NODE : GPU_LINK_SYSTEM;
			sample->gpus[j].link[i] = *link;
		}
	}
}

static int sim_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	_cleanup_(freep) char *copy = strdup(options->argument);
	char *cursor = copy, *text;

	if (!sample || !copy)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	while ((text = text_next(&cursor))) {
		struct part part;

		if (parse_part(text, &part) < 0 || add_part(sample, &part) < 0)
			return bad_part(err, text);
	}
	finish(sample);
	*ret_context = TAKE_PTR(sample);
	return 0;
}

static int sim_read(void *context, struct sample *ret, struct error *err)
{
	const struct sample *sample = context;

	/* No GPU here has processes: nothing is owned. */
	memcpy(ret->gpus, sample->gpus, sample->n_gpus * sizeof(*ret->gpus));
	ret->n_gpus = sample->n_gpus;
	return 0;
}

static void sim_close(void *context)
{
	sample_free(context);
}

const struct backend backend_sim = {
	.name = "sim",
	.open = sim_open,
	.read = sim_read,
	.close = sim_close,
};
