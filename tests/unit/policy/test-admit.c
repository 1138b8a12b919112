/* SPDX-License-Identifier: MIT */
#include "policy/admit.h"

#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

static const struct admit_limits limits = {
	.max_hold_us = 48 * HOUR,
	.requests_per_user = 3,
	.requests = 5,
};

/* 4 A100 of 80 GiB (0-3), 2 V100 of 32 GiB (4-5), 1 of unknown memory (6). */
static struct pool *mixed_pool(void)
{
	struct pool *pool = pool_of(4);

	add_gpus(pool, 2, "V100", 32768);
	add_gpus(pool, 1, "GB10", GPU_UNKNOWN);
	return pool;
}

/* Admits a run, and shows the sentence or "ok". */
static const char *check(struct pool *pool, struct request request, struct gpu_set *ret)
{
	static struct verdict v;
	struct gpu_set eligible = { 0 };

	request.duration_us = request.duration_us ? request.duration_us : TIME_NEVER;
	v = admit_check(pool, &limits, LEASE_RUN, 1000, &request, &eligible);
	if (v.kind == VERDICT_OK) {
		if (ret)
			*ret = eligible;
		return "ok";
	}
	CHECK_INT(v.kind, VERDICT_INVALID);
	CHECK(v.id != NULL);
	return v.text;
}

static const char *resolve(const struct pool *pool, const char *typed)
{
	static char text[400];
	_cleanup_(freep) char *uuids = NULL;
	struct verdict v = admit_resolve(pool, typed, &uuids);

	CHECK(v.kind == VERDICT_OK ? uuids != NULL : uuids == NULL);
	CHECK(v.kind == VERDICT_OK || v.kind == VERDICT_INVALID);
	text_copy(text, sizeof(text), v.kind == VERDICT_OK ? uuids : v.text);
	return text;
}

static void resolves_what_people_type(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	CHECK_STR(resolve(pool, "0"), "GPU-0000a1b2");
	CHECK_STR(resolve(pool, "3,0"), "GPU-0303a1b2,GPU-0000a1b2");
	CHECK_STR(resolve(pool, "gpu-0101A1B2,GPU-02,3"), "GPU-0101a1b2,GPU-0202a1b2,GPU-0303a1b2");
}

static void resolves_an_exact_uuid_that_begins_another(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	text_copy(pool->gpus[1].uuid, GPU_UUID_SIZE, "GPU-0000a1b2c3");
	CHECK_STR(resolve(pool, "GPU-0000a1b2"), "GPU-0000a1b2");
}

static void refuses_names_of_no_gpu(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(8), *one = pool_of(1), *none = pool_of(0);

	CHECK_STR(resolve(pool, "99"), "GPU 99 does not exist; this machine has 0-7");
	CHECK_STR(resolve(pool, "99999999999999999999999"),
		"GPU 99999999999999999999999 does not exist; this machine has 0-7");
	CHECK_STR(resolve(pool, "-1"), "GPU -1 does not exist; this machine has 0-7");
	CHECK_STR(resolve(pool, "GPU-ff"), "GPU GPU-ff does not exist; this machine has 0-7");
	CHECK_STR(resolve(pool, "\x1b[1m%n"), "GPU ?[1m%n does not exist; this machine has 0-7");
	CHECK_STR(resolve(one, "1"), "GPU 1 does not exist; this machine has 0");
	CHECK_STR(resolve(none, "0"), "GPU 0 does not exist; this machine has no GPUs");
	pool->gpus[7].index = 9;
	CHECK_STR(resolve(pool, "7"), "GPU 7 does not exist; this machine has 0,1,2,3,4,5,6,9");
}

static void refuses_bad_lists(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);

	CHECK_STR(resolve(pool, ""), "the list of GPUs has an empty place; write it like 0,3");
	CHECK_STR(resolve(pool, "0,,1"), "the list of GPUs has an empty place; write it like 0,3");
	CHECK_STR(resolve(pool, "0,"), "the list of GPUs has an empty place; write it like 0,3");
	CHECK_STR(resolve(pool, "1,1"), "GPU 1 is listed twice");
	CHECK_STR(resolve(pool, "1,gpu-0101"), "GPU 1 is listed twice");
	CHECK_STR(resolve(pool, "GPU-"), "'GPU-' is the beginning of 4 GPUs; type more of it");
}

static void takes_what_can_be(void)
{
	_cleanup_(pool_freep) struct pool *pool = mixed_pool();
	char list[] = "GPU-0404a1b2,GPU-0000a1b2", types[] = "h200,v100", upper[] = "sxm4";
	struct gpu_set got;

	CHECK_STR(check(pool, (struct request){ .count = 7 }, &got), "ok");
	CHECK_INT(got.words[0], 0x7f);
	CHECK_STR(check(pool, (struct request){ .count = 2, .types = types }, &got), "ok");
	CHECK_INT(got.words[0], 0x30);
	CHECK_STR(check(pool, (struct request){ .count = 1, .types = upper }, &got), "ok");
	CHECK_INT(got.words[0], 0x0f);
	CHECK_STR(check(pool, (struct request){ .count = 1, .min_memory_mib = 32768 }, &got), "ok");
	CHECK_INT(got.words[0], 0x3f);
	CHECK_STR(check(pool, (struct request){ .count = 2, .gpus = list }, &got), "ok");
	CHECK_INT(got.words[0], 0x11);
}

/* What is drained or lost today exists, and may come back. */
static void takes_what_is_away_at_the_moment(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);

	pool->gpus[0].drained = true;
	pool->gpus[1].present = false;
	CHECK_STR(check(pool, (struct request){ .count = 2 }, NULL), "ok");
}

static void a_list_says_how_many(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4);
	char list[] = "GPU-0000a1b2,GPU-0101a1b2";
	struct request request = { .gpus = list, .duration_us = TIME_NEVER };
	struct gpu_set eligible;

	CHECK_INT(
		admit_check(pool, &limits, LEASE_RUN, 1000, &request, &eligible).kind, VERDICT_OK);
	CHECK_INT(request.count, 2);
	CHECK_INT(eligible.words[0], 3);
	CHECK_STR(check(pool, (struct request){ .count = 3, .gpus = list }, NULL),
		"3 GPUs asked for, but 2 are listed");
}

/* A list that did not come through admit_resolve is not believed. */
static void checks_resolved_lists_again(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(2);
	char twice[] = "GPU-0000a1b2,GPU-0000a1b2", unknown[] = "GPU-77", empty[] = "";

	CHECK_STR(check(pool, (struct request){ .count = 2, .gpus = twice }, NULL),
		"GPU 0 is listed twice");
	CHECK_STR(check(pool, (struct request){ .count = 1, .gpus = unknown }, NULL),
		"GPU GPU-77 does not exist; this machine has 0-1");
	CHECK(strcmp(check(pool, (struct request){ .gpus = empty }, NULL), "ok") != 0);
}

static void refuses_impossible_counts(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(8), *none = pool_of(0);

	CHECK_STR(check(pool, (struct request){ .count = 9 }, NULL),
		"9 GPUs asked for, but this machine has 8");
	CHECK_STR(check(pool, (struct request){ .count = UINT32_MAX }, NULL),
		"4294967295 GPUs asked for, but this machine has 8");
	CHECK_STR(check(pool, (struct request){ .count = 0 }, NULL),
		"0 GPUs asked for; ask for at least 1");
	CHECK_STR(check(none, (struct request){ .count = 1 }, NULL),
		"1 GPU asked for, but this machine has 0");
}

static void refuses_types_that_are_not_here(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(4), *mixed = mixed_pool();
	char h200[] = "H200", v100[] = "v100", empty[] = "", list[] = "GPU-0000a1b2";

	CHECK_STR(check(pool, (struct request){ .count = 1, .types = h200 }, NULL),
		"no GPU of type 'H200' here; there are A100-SXM4-80GB");
	add_gpus(pool, 2, "V100", 32768);
	CHECK_STR(check(pool, (struct request){ .count = 1, .types = h200 }, NULL),
		"no GPU of type 'H200' here; there are A100-SXM4-80GB and V100");
	CHECK_STR(check(mixed, (struct request){ .count = 1, .types = h200 }, NULL),
		"no GPU of type 'H200' here; there are A100-SXM4-80GB, V100 and GB10");
	CHECK_STR(check(pool, (struct request){ .count = 1, .types = empty }, NULL),
		"no GPU of type '' here; there are A100-SXM4-80GB and V100");
	CHECK_STR(check(pool, (struct request){ .count = 3, .types = v100 }, NULL),
		"3 GPUs of type 'v100' asked for, but this machine has 2");
	CHECK_STR(check(pool, (struct request){ .count = 1, .types = v100, .gpus = list }, NULL),
		"GPU 0 is listed, but is of type A100-SXM4-80GB, not 'v100'");
}

static void refuses_more_memory_than_there_is(void)
{
	_cleanup_(pool_freep) struct pool *pool = mixed_pool();
	char v100[] = "v100", list[] = "GPU-0606a1b2";

	CHECK_STR(check(pool, (struct request){ .count = 5, .min_memory_mib = 81920 }, NULL),
		"5 GPUs with at least 81920 MiB of memory asked for, but this machine has 4");
	CHECK_STR(
		check(pool, (struct request){ .count = 1, .types = v100, .min_memory_mib = 32769 },
			NULL),
		"1 GPU of type 'v100' with at least 32769 MiB of memory asked for, "
		"but this machine has 0");
	CHECK_STR(check(pool, (struct request){ .count = 1, .gpus = list, .min_memory_mib = 1 },
			  NULL),
		"GPU 6 is listed, but is not known to have the 1 MiB asked for");
}

static void refuses_odd_times(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct request request = { .count = 1, .duration_us = 48 * HOUR };
	struct gpu_set eligible;
	struct verdict v;

	CHECK_STR(check(pool, (struct request){ .count = 1, .duration_us = -1 }, NULL),
		"the time asked for must be longer than 0s");
	v = admit_check(pool, &limits, LEASE_HOLD, 1000, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_OK);
	request.duration_us += HOUR;
	v = admit_check(pool, &limits, LEASE_RUN, 1000, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_OK);
	v = admit_check(pool, &limits, LEASE_HOLD, 1000, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.text,
		"a hold of 2d1h asked for, at most 2d is allowed here; it can be extended later");
	request.duration_us = TIME_NEVER;
	v = admit_check(pool, &limits, LEASE_HOLD, 1000, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK(strstr(v.text, "unlimited"));
	request.duration_us = 0;
	v = admit_check(pool, &limits, LEASE_HOLD, 1000, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_INVALID);
	CHECK_STR(v.id, "request.no-time");
}

static void force_is_for_holds(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(1);
	struct request request = { .count = 1, .duration_us = HOUR, .force = true };
	struct gpu_set eligible;

	CHECK_INT(
		admit_check(pool, &limits, LEASE_HOLD, 1000, &request, &eligible).kind, VERDICT_OK);
	CHECK_STR(check(pool, request, NULL),
		"--force is for 'dibs reserve' only: a run never starts on a GPU in use");
}

static void limits_of_number(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_of(8);
	struct request request = { .count = 1, .duration_us = HOUR };
	struct gpu_set eligible = { 0 };
	struct verdict v;

	add_waiting(pool, 1, 1, HOUR)->uid = 1000;
	add_active(pool, LEASE_HOLD, 2, NOW + HOUR)->uid = 1000;
	add_waiting(pool, 1, 1, HOUR)->uid = 1000;
	v = admit_check(pool, &limits, LEASE_RUN, 1000, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.id, "limit.requests-per-user");
	CHECK(gpu_set_empty(&eligible));
	CHECK_INT(
		admit_check(pool, &limits, LEASE_RUN, 1001, &request, &eligible).kind, VERDICT_OK);
	v = admit_receiver(pool, &limits, 1000);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.text, "uid 1000 has 3 requests here already, at most 3 are allowed per user");
	CHECK_INT(admit_receiver(pool, &limits, 1001).kind, VERDICT_OK);
	pool->leases[0]->state = LEASE_ENDED;
	CHECK_INT(admit_receiver(pool, &limits, 1000).kind, VERDICT_OK);
	pool->leases[0]->state = LEASE_WAITING;
	add_waiting(pool, 1, 1, HOUR);
	add_waiting(pool, 1, 1, HOUR);
	v = admit_check(pool, &limits, LEASE_RUN, 1001, &request, &eligible);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.id, "limit.requests");
	pool->leases[4]->state = LEASE_ENDED;
	CHECK_INT(
		admit_check(pool, &limits, LEASE_RUN, 1001, &request, &eligible).kind, VERDICT_OK);
	/* What can never be is said first. */
	request.count = 9;
	CHECK_INT(admit_check(pool, &limits, LEASE_RUN, 1000, &request, &eligible).kind,
		VERDICT_INVALID);
}

/* Admits a job where jobs last for a day at most; "ok" or the id of the refusal. */
static const char *check_job(
	struct pool *pool, struct request request, bool share, struct gpu_set *ret)
{
	struct admit_limits with = limits;
	struct verdict v;

	with.max_job_us = 24 * HOUR;
	with.share = share;
	v = admit_check(pool, &with, LEASE_JOB, 1000, &request, ret);
	return v.kind == VERDICT_OK ? "ok" : v.id;
}

static void jobs_have_a_longest_time(void)
{
	_cleanup_(pool_freep) struct pool *pool = mixed_pool();
	struct request request = { .count = 1, .duration_us = TIME_NEVER };
	struct admit_limits with = limits;
	struct gpu_set set;
	struct verdict v;

	with.max_job_us = 24 * HOUR;
	CHECK_INT(admit_check(pool, &with, LEASE_JOB, 1000, &request, &set).kind, VERDICT_OK);
	CHECK_INT(request.duration_us, 24 * HOUR);
	request.duration_us++;
	v = admit_check(pool, &with, LEASE_JOB, 1000, &request, &set);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.id, "limit.job-too-long");
	CHECK_STR(v.text, "a job of 1d asked for, at most 1d is allowed here");
	CHECK_INT(admit_check(pool, &with, LEASE_RUN, 1000, &request, &set).kind, VERDICT_OK);
	with.max_job_us = request.duration_us = TIME_NEVER;
	CHECK_INT(admit_check(pool, &with, LEASE_JOB, 1000, &request, &set).kind, VERDICT_OK);
	CHECK_INT(request.duration_us, TIME_NEVER);
}

static void shares_where_they_fit(void)
{
	_cleanup_(pool_freep) struct pool *pool = mixed_pool();
	struct request share = { .count = 1, .share_mib = 30000, .duration_us = HOUR };
	struct gpu_set set;

	CHECK_STR(check_job(pool, share, false, &set), "limit.no-share");
	CHECK_STR(check_job(pool, share, true, &set), "ok");
	CHECK_INT(set.words[0], 0x3f); /* not of the card whose memory is not known */
	share.share_mib = 32769;
	CHECK_STR(check_job(pool, share, true, &set), "ok");
	CHECK_INT(set.words[0], 0xf);
	share.share_mib = 10000;
	share.min_memory_mib = 40000;
	CHECK_STR(check_job(pool, share, true, &set), "ok");
	CHECK_INT(set.words[0], 0xf);
	share.share_mib = 81921;
	CHECK_STR(check_job(pool, share, true, &set), "request.too-little-memory");
	share.share_mib = UINT64_MAX;
	CHECK_STR(check_job(pool, share, true, &set), "request.too-little-memory");
	share.share_mib = 1000;
	share.count = 5;
	CHECK_STR(check_job(pool, share, true, &set), "request.too-little-memory");
	share.force = true;
	CHECK_STR(check_job(pool, share, true, &set), "request.force-without-hold");
	share.force = false;
	share.count = 1;
	CHECK_STR(check(pool, share, NULL),
		"only a batch job can have a share of a GPU: a run has it alone");
}

static void an_array_is_one_request(void)
{
	_cleanup_(pool_freep) struct pool *pool = mixed_pool();
	struct request request = { .count = 1, .duration_us = HOUR };
	struct lease *array = add_job(pool, 1, 1);
	struct gpu_set set;

	array->uid = 1000;
	array->job->is_array = true;
	CHECK_INT(indices_parse("0-9999", &array->job->pending), 0);
	CHECK_STR(check_job(pool, request, false, &set), "ok");
	for (int i = 0; i < 2; i++) { /* and each element that has started is one */
		CHECK_STR(check_job(pool, request, false, &set), "ok");
		add_job(pool, 1, 1)->uid = 1000;
	}
	CHECK_STR(check_job(pool, request, false, &set), "limit.requests-per-user");
	for (int i = 0; i < 5; i++) { /* of its owner, who keeps nobody out by them */
		struct lease *element = add_job(pool, 1, 1);

		element->uid = 1001;
		element->job->array = array->id;
	}
	array->uid = 1001;
	CHECK_STR(check_job(pool, request, false, &set), "ok");
}

int main(void)
{
	TEST(resolves_what_people_type);
	TEST(resolves_an_exact_uuid_that_begins_another);
	TEST(refuses_names_of_no_gpu);
	TEST(refuses_bad_lists);
	TEST(takes_what_can_be);
	TEST(takes_what_is_away_at_the_moment);
	TEST(a_list_says_how_many);
	TEST(checks_resolved_lists_again);
	TEST(refuses_impossible_counts);
	TEST(refuses_types_that_are_not_here);
	TEST(refuses_more_memory_than_there_is);
	TEST(refuses_odd_times);
	TEST(force_is_for_holds);
	TEST(limits_of_number);
	TEST(jobs_have_a_longest_time);
	TEST(shares_where_they_fit);
	TEST(an_array_is_one_request);
	return tap_done();
}
