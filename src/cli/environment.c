/* SPDX-License-Identifier: MIT */
/*
 * CUDA numbers GPUs by speed unless CUDA_DEVICE_ORDER says PCI_BUS_ID, which is the order of our
 * indices. UUIDs need no order, and survive a GPU that vanishes; some programs parse numbers only.
 * On AMD only ROCR_VISIBLE_DEVICES is set: HIP would filter a second time by CUDA_VISIBLE_DEVICES.
 * ROCr knows its GPUs as GPU-<unique id>; one without that has only its index.
 */
#include "cli/environment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"
#include "cli/public.h"
#include "cli/quote.h"

/* The name of a GPU in a list for its driver. */
static void put_gpu(FILE *out, json_t *gpu, bool by_index)
{
	const char *uuid = wire_text(gpu, "uuid");
	bool amd = strcmp(wire_text(gpu, "vendor"), "amd") == 0;

	if (ftell(out) > 0)
		fputc(',', out);
	if (by_index || (amd && strncmp(uuid, "GPU-", 4) != 0))
		fprintf(out, "%lld", (long long)wire_int(gpu, "index", 0));
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
		if (!vendor || strcmp(wire_text(gpu, "vendor"), vendor) == 0)
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
	r = add(e, "DIBS_LEASE", text_format("%lld", (long long)wire_int(lease, "id", 0)));
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
		visible = wire_text(reply, "visible");
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

int environment_set(const struct environment *environment)
{
	for (unsigned i = 0; i < environment->n; i++)
		if (setenv(environment->variables[i].name, environment->variables[i].value, 1) < 0)
			return -errno;
	return 0;
}

int environment_print(const struct environment *environment, FILE *out)
{
	if (environment->n <= ENVIRONMENT_DIBS)
		return 0;
	fputs("export", out);
	for (unsigned i = ENVIRONMENT_DIBS; i < environment->n; i++) {
		_cleanup_(freep) char *value = quote_word(environment->variables[i].value);

		if (!value)
			return -ENOMEM;
		fprintf(out, " %s=%s", environment->variables[i].name, value);
	}
	fputc('\n', out);
	return 0;
}
