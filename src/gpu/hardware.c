/* SPDX-License-Identifier: MIT */
/*
 * All GPUs of a machine, of whatever make.
 *
 * Each maker's part is opened and read by itself, so that a broken driver of one takes no other's
 * GPUs away; a part that fails is tried again after a while. No GPU can be in two parts, since a
 * card has one kernel driver: nvidia, amdgpu, or one of drm.c's. NVIDIA's GPUs keep their indices,
 * which people know from nvidia-smi; the others follow in PCI order.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"
#include "gpu/backend.h"

/* Readings before a part that failed is tried again. */
#define RETRY_READINGS 60

enum { NVIDIA, AMD, DRM, PARTS };

struct part {
	const struct backend *backend;
	void *context;  /* owned; NULL = not open */
	unsigned pause; /* readings without an attempt that are left */
};

struct hardware {
	const struct backend_options *options; /* borrowed */
	struct part parts[PARTS];
	struct sample *sample; /* owned; of the part that is read */
};

static int open_nvidia(struct hardware *hardware, struct error *err)
{
	struct part *part = &hardware->parts[NVIDIA];
	int r;

	part->backend = &backend_nvml;
	r = part->backend->open(hardware->options, &part->context, err);
	if (r >= 0 || !err->id || strcmp(err->id, "nvml.no-library") != 0)
		return r;
	if (backend_nvidia_smi.open(hardware->options, &part->context, NULL) < 0)
		return r;
	part->backend = &backend_nvidia_smi;
	return 0;
}

static int open_part(struct hardware *hardware, int which, struct error *err)
{
	struct part *part = &hardware->parts[which];
	int r = which == NVIDIA ? open_nvidia(hardware, err)
				: part->backend->open(hardware->options, &part->context, err);

	part->pause = r < 0 ? RETRY_READINGS : 0;
	return r;
}

static void close_part(struct part *part)
{
	part->backend->close(part->context);
	part->context = NULL;
	part->pause = RETRY_READINGS;
}

/* Moves the GPUs of one sample behind those of another, as many as it has room for. */
static void append(struct sample *to, struct sample *from)
{
	unsigned base = to->n_gpus;

	for (unsigned i = 0; i < from->n_gpus; i++) {
		struct gpu *gpu = sample_add(to);

		if (!gpu)
			return;
		*gpu = from->gpus[i];
		from->gpus[i].processes = NULL;
		from->gpus[i].n_processes = 0;
		memset(gpu->link, 0, sizeof(gpu->link));
		memcpy(gpu->link + base, from->gpus[i].link, from->n_gpus);
	}
}

/* Reads a part behind the others. */
static int read_part(struct hardware *hardware, int which, struct sample *ret, struct error *err)
{
	struct part *part = &hardware->parts[which];
	int r = 0;

	if (!part->context && part->pause > 0) {
		part->pause--;
		return -EAGAIN;
	}
	if (!part->context)
		r = open_part(hardware, which, err);
	if (r < 0)
		return r;
	sample_clear(hardware->sample);
	r = part->backend->read(part->context, hardware->sample, err);
	if (r < 0)
		close_part(part);
	else
		append(ret, hardware->sample);
	return r;
}

/* Domains have four digits or eight; the rest has a fixed width. */
static int compare_address(const char *a, const char *b)
{
	unsigned long x = strtoul(a, NULL, 16), y = strtoul(b, NULL, 16);
	const char *m = strchr(a, ':'), *n = strchr(b, ':');

	return x != y ? (x > y) - (x < y) : strcmp(m ? m : "", n ? n : "");
}

/* Numbers the GPUs from first on, in PCI order, with indices above all before them. */
static void number(struct sample *sample, unsigned first)
{
	int next = 0;

	for (unsigned i = 0; i < first; i++)
		next = MAX(next, sample->gpus[i].index + 1);
	for (unsigned i = first; i < sample->n_gpus; i++) {
		int before = 0;

		for (unsigned j = first; j < sample->n_gpus; j++)
			before += compare_address(sample->gpus[j].pci, sample->gpus[i].pci) < 0;
		sample->gpus[i].index = next + before;
	}
}

/* What NVIDIA's library has to say helps most, unless it is only that there is none. */
static void no_gpus(struct error *err, const struct error *nvidia)
{
	if (nvidia->id && strcmp(nvidia->id, "nvml.no-library") != 0) {
		*err = *nvidia;
		return;
	}
	error_set(err, -ENODEV, "hardware.no-gpus", "no GPU found: none of AMD or Intel, and %s",
		nvidia->id ? nvidia->text : "none of NVIDIA");
}

static int hardware_read(void *context, struct sample *ret, struct error *err)
{
	struct hardware *hardware = context;
	struct error nvidia = { 0 };
	int r = read_part(hardware, NVIDIA, ret, &nvidia);
	unsigned first = ret->n_gpus;

	read_part(hardware, AMD, ret, NULL);
	read_part(hardware, DRM, ret, NULL);
	if (ret->n_gpus > 0) {
		number(ret, first);
		return 0;
	}
	no_gpus(err, &nvidia);
	return r == BACKEND_STALE ? r : -ENODEV;
}

static void hardware_wait(void *context, int timeout_ms)
{
	const struct part *part = &((struct hardware *)context)->parts[NVIDIA];

	if (part->context && part->backend->wait)
		part->backend->wait(part->context, timeout_ms);
	else
		poll(NULL, 0, timeout_ms);
}

static void hardware_close(void *context)
{
	struct hardware *hardware = context;

	if (!hardware)
		return;
	for (int i = 0; i < PARTS; i++)
		close_part(&hardware->parts[i]);
	sample_free(hardware->sample);
	free(hardware);
}

static int hardware_open(
	const struct backend_options *options, void **ret_context, struct error *err)
{
	struct hardware *hardware = calloc(1, sizeof(*hardware));

	if (!hardware)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	hardware->options = options;
	hardware->parts[NVIDIA].backend = &backend_nvml;
	hardware->parts[AMD].backend = &backend_amd;
	hardware->parts[DRM].backend = &backend_drm;
	hardware->sample = sample_new();
	if (!hardware->sample) {
		hardware_close(hardware);
		return error_set(err, -ENOMEM, "memory", "out of memory");
	}
	*ret_context = hardware;
	return 0;
}

const struct backend backend_hardware = {
	.name = "hardware",
	.open = hardware_open,
	.read = hardware_read,
	.wait = hardware_wait,
	.close = hardware_close,
};
