/* SPDX-License-Identifier: MIT */
/* A line of a sensor that lies. What is accepted can be written again, and reads the same. */
#include <errno.h>
#include <string.h>

#include "base/macro.h"
#include "base/text.h"
#include "fuzz.h"
#include "gpu/sample.h"

static void check(const struct sample *sample)
{
	REQUIRE(sample->n_gpus <= GPU_MAX);
	REQUIRE(text_is_utf8(sample->error) && !strpbrk(sample->error, "\n\x1b\x7f"));
	for (unsigned i = 0; i < sample->n_gpus; i++)
		for (unsigned j = 0; j < i; j++)
			REQUIRE(strcmp(sample->gpus[i].uuid, sample->gpus[j].uuid) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(sample_freep) struct sample *first = sample_new(), *second = sample_new();
	_cleanup_(freep) char *written = NULL, *again = NULL;
	struct error err = {};
	int r;

	REQUIRE(first && second);
	r = sample_decode((const char *)data, size, first, &err);
	if (r < 0) {
		REQUIRE(r == -EINVAL && err.id && *err.text);
		return 0;
	}
	check(first);
	written = sample_encode(first);
	REQUIRE(written);
	REQUIRE(sample_decode(written, strlen(written), second, &err) == 0);
	again = sample_encode(second);
	REQUIRE(again && strcmp(written, again) == 0);
	return 0;
}
