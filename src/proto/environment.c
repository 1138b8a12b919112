/* SPDX-License-Identifier: MIT */
/*
 * CUDA numbers GPUs by speed unless CUDA_DEVICE_ORDER says PCI_BUS_ID, which is the order of our
 * indices. UUIDs need no order, and survive a GPU that vanishes; some programs parse numbers only.
 * On AMD only ROCR_VISIBLE_DEVICES is set: HIP would filter a second time by CUDA_VISIBLE_DEVICES.
 * ROCr knows its GPUs as GPU-<unique id>; one without that has only its index.
 */
#include "proto/environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"

/* "" if it is not there: a reply may come from another version of us. */
static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* The name of a GPU in a list for its driver. */
static void put_gpu(FILE *out, json_t *gpu, bool by_index)
{
	const char *uuid = text_of(gpu, "uuid");
	bool amd = strcmp(text_of(gpu, "vendor"), "amd") == 0;

	if (ftell(out) > 0)
		fputc(',', out);
	if (by_index || (amd && strncmp(uuid, "GPU-", 4) != 0))
		fprintf(out, "%lld", (long long)json_integer_value(json_object_get(gpu, "index")));
	else
		fputs(uuid, out);
}

/* The GPUs of one vendor (NULL: of all), in the order of the reply; the caller frees. */
static char *gpu_list(json_t *gpus, const char *vendor, bool by_index)
{
	_cleanup_(freep) char *text = NULL;
	FILE *out;
	size_t size, i;
	json_t *gpu;

	out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	json_array_foreach (gpus, i, gpu)
		if (!vendor || strcmp(text_of(gpu, "vendor"), vendor) == 0)
			put_gpu(out, gpu, by_index);
	if (fclose(out) != 0)
		return NULL;
	return TAKE_PTR(text);
}

/* Takes value, which may be NULL for lack of memory. */
static int add(struct environment *e, const char *name, char *value)
{
	if (!value)
		return -ENOMEM;
	e->variables[e->n++] = (struct variable){ name, value };
	return 0;
}

static int add_nvidia(struct environment *e, const char *list)
{
	if (!*list)
		return 0;
	if (add(e, "CUDA_DEVICE_ORDER", strdup("PCI_BUS_ID")) < 0 ||
		add(e, "CUDA_VISIBLE_DEVICES", strdup(list)) < 0)
		return -ENOMEM;
	return add(e, "NVIDIA_VISIBLE_DEVICES", strdup(list));
}

static int build(struct environment *e, json_t *lease, json_t *gpus, bool by_index)
{
	_cleanup_(freep) char *nvidia = gpu_list(gpus, "nvidia", by_index);
	_cleanup_(freep) char *amd = gpu_list(gpus, "amd", by_index);
	int r;

	if (!nvidia || !amd)
		return -ENOMEM;
	r = add(e, "DIBS_LEASE",
		text_format("%lld", (long long)json_integer_value(json_object_get(lease, "id"))));
	if (r < 0)
		return r;
	r = add(e, "DIBS_GPUS", gpu_list(gpus, NULL, true));
	if (r < 0)
		return r;
	r = add_nvidia(e, nvidia);
	if (r < 0 || !*amd)
		return r;
	return add(e, "ROCR_VISIBLE_DEVICES", TAKE_PTR(amd));
}

int environment_build(json_t *reply, const char *visible, struct environment *ret)
{
	struct environment e = { 0 };
	int r;

	if (!visible)
		visible = text_of(reply, "visible");
	r = build(&e, json_object_get(reply, "lease"), json_object_get(reply, "gpus"),
		strcmp(visible, "index") == 0);
	if (r < 0)
		environment_clear(&e);
	else
		*ret = e;
	return r;
}

void environment_clear(struct environment *environment)
{
	while (environment->n > 0)
		free(environment->variables[--environment->n].value);
}
