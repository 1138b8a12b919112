/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "../tap.h"
#include "gpu/backend.h"

/* The sample of a SPEC; the caller frees. NULL if it is refused. */
static struct sample *read_spec(const char *spec)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	struct error err = { 0 };
	void *context;

	if (backend_sim.open(&(struct backend_options){ .argument = spec }, &context, &err) < 0) {
		CHECK_STR(err.id, "sim.bad-spec");
		return NULL;
	}
	CHECK_INT(backend_sim.read(context, sample, &err), 0);
	backend_sim.close(context);
	return TAKE_PTR(sample);
}

static void makes_what_is_asked_for(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_spec("4xH100-80G,2xRTX-6000-49140M");

	CHECK_INT(sample->n_gpus, 6);
	CHECK_STR(sample->gpus[0].model, "H100-80G");
	CHECK_INT(sample->gpus[0].memory_mib, 81920);
	CHECK_STR(sample->gpus[5].model, "RTX-6000-49140M");
	CHECK_INT(sample->gpus[5].memory_mib, 49140);
	for (int i = 0; i < 6; i++) {
		CHECK_INT(sample->gpus[i].index, i);
		CHECK_INT(sample->gpus[i].minor, 5 - i);
		CHECK_INT(sample->gpus[i].n_nodes, 1);
		CHECK_INT(sample->gpus[i].nodes[0].major, 120);
		CHECK_INT(sample->gpus[i].nodes[0].minor, 5 - i);
		CHECK_INT(sample->gpus[i].memory_used_mib, 0);
		CHECK(sample->gpus[i].present && !sample->gpus[i].fault[0]);
		CHECK_INT(strlen(sample->gpus[i].uuid),
			strlen("GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"));
	}
}

static void connects_them(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_spec("12xA100-80G");
	const struct gpu *gpus = sample->gpus;

	CHECK_INT(gpus[0].link[3], GPU_LINK_NVLINK);
	CHECK_INT(gpus[3].link[0], GPU_LINK_NVLINK);
	CHECK_INT(gpus[0].link[4], GPU_LINK_NODE);
	CHECK_INT(gpus[5].link[6], GPU_LINK_NVLINK);
	CHECK_INT(gpus[0].link[11], GPU_LINK_SYSTEM);
	CHECK_INT(gpus[11].link[0], GPU_LINK_SYSTEM);
	CHECK_INT(gpus[7].link[7], GPU_LINK_INTERNAL);
}

/* NVLink never joins different models. */
static void groups_end_with_their_kind(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_spec("2xH100-80G,6xV100-32G");

	CHECK_INT(sample->gpus[1].link[2], GPU_LINK_NODE);
	CHECK_INT(sample->gpus[2].link[5], GPU_LINK_NVLINK);
}

static void uuids_stay(void)
{
	_cleanup_(sample_freep) struct sample *small = read_spec("2xA100-80G"),
					      *large = read_spec("256xA100-80G"),
					      *other = read_spec("2xH100-80G");

	CHECK_STR(small->gpus[0].uuid, "GPU-ca09e32f-e6fd-4fae-824f-4ae0670432c4");
	CHECK_STR(large->gpus[0].uuid, small->gpus[0].uuid);
	CHECK_STR(large->gpus[1].uuid, small->gpus[1].uuid);
	CHECK(strcmp(other->gpus[0].uuid, small->gpus[0].uuid) != 0);
}

/* The daemon refuses a sample with two equal GPUs, so this is also a test of the UUIDs. */
static void the_largest_survives_the_line(void)
{
	_cleanup_(sample_freep) struct sample *sample = read_spec("128xA100-80G,128xB200-192G");
	_cleanup_(freep) char *line = sample_encode(sample);

	CHECK_INT(sample_decode(line, strlen(line), sample, NULL), 0);
	CHECK_INT(sample->n_gpus, GPU_MAX);
}

static void refuses_bad_specs(void)
{
	static const char *const bad[] = {
		"",
		",",
		"8",
		"8x",
		"8xA100",
		"8xA100-",
		"8xA100-80",
		"8xA100-80X",
		"8xA100-0G",
		"8xA100--80G-",
		"8x-80G",
		"xA100-80G",
		"0xA100-80G",
		"-1xA100-80G",
		"+1xA100-80G",
		" 8xA100-80G",
		"8 xA100-80G",
		"1e2xA100-80G",
		"8XA100-80G",
		"257xA100-80G",
		"9999xA-1G",
		"18446744073709551617xA-1G",
		"1xA-99999999999999999999G",
		"1xA-17592186044416T",
		"1xA-1025T",
		"1xA-1048576G1",
		"200xA100-80G,57xA100-80G",
		"8xA100-80G,",
		",8xA100-80G",
		"8xA100-80G;4xV100-32G",
		"8xA\n100-80G",
		"8xA\x1b[31m-80G",
		"8x%n%n-80G",
	};
	static char endless[4096];

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_(sample_freep) struct sample *sample = read_spec(bad[i]);

		CHECK(!sample);
		if (tap_failed_now)
			printf("# %s\n", bad[i]);
	}
	memset(endless, 'A', sizeof(endless) - 1);
	memcpy(endless, "1x", 2);
	memcpy(endless + sizeof(endless) - 5, "-80G", 4);
	CHECK(!read_spec(endless));
}

int main(void)
{
	TEST(makes_what_is_asked_for);
	TEST(connects_them);
	TEST(groups_end_with_their_kind);
	TEST(uuids_stay);
	TEST(the_largest_survives_the_line);
	TEST(refuses_bad_specs);
	return tap_done();
}
