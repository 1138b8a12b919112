/* SPDX-License-Identifier: MIT */
#include "mgpu/demand.h"

#include <errno.h>
#include <stdlib.h>

#include "../tap.h"

static json_t *json;
static struct demand demand;
static struct error err;

static int read_most(const char *text, int64_t most_sec)
{
	json_decref(json);
	demand_clear(&demand);
	json = json_loads(text, 0, NULL);
	err = (struct error){ 0 };
	return demand_read(json, most_sec, &demand, &err);
}

#define READ(text) read_most(text, 0)

static void a_whole_one(void)
{
	CHECK_INT(READ("{\"cmd\": \"submit\", \"user\": \"root\", \"gpus\": 2, \"mem\": 8000, "
		       "\"time_limit\": 600, \"priority\": 3, \"gpu_ids\": [\"1\", 0], "
		       "\"env_setup_cmd\": \"x\", \"interactive\": true, \"cmdline\": \"a 'b'\"}"),
		0);
	CHECK_INT(demand.kind, DEMAND_SUBMIT);
	CHECK(demand.interactive && demand.job.remote);
	CHECK_STR(demand.job.gpus, "2");
	CHECK_STR(demand.job.gpu_ids, "1,0");
	CHECK_INT(demand.job.mem_mib, 8000);
	CHECK_INT(demand.job.limit_sec, 600);
	CHECK_INT(demand.job.priority, 3);
	CHECK_STR(demand.job.setup, "x");
	CHECK_INT(demand.job.n_words, 1);
	CHECK_STR(demand.job.words[0], "a 'b'");
	CHECK(!demand.job.words[1]);
}

static void null_is_not_said(void)
{
	CHECK_INT(READ("{\"cmd\": \"submit\", \"gpus\": 1, \"mem\": null, \"time_limit\": null, "
		       "\"gpu_ids\": null, \"env_setup_cmd\": null, \"cmdline\": \"x\"}"),
		0);
	CHECK(!demand.job.mem_mib && !demand.job.limit_sec && !demand.job.gpu_ids &&
		!demand.job.setup && !demand.interactive);
}

static void the_longest_time(void)
{
	static const char *const with = "{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", "
					"\"time_limit\": 600}";

	CHECK_INT(read_most(with, 60), 0);
	CHECK_INT(demand.job.limit_sec, 60);
	CHECK_INT(read_most(with, 6000), 0);
	CHECK_INT(demand.job.limit_sec, 600);
	CHECK_INT(read_most("{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\"}", 60), 0);
	CHECK_INT(demand.job.limit_sec, 60);
}

static void the_others(void)
{
	CHECK_INT(READ("{\"cmd\": \"queue\"}"), 0);
	CHECK_INT(demand.kind, DEMAND_QUEUE);
	CHECK_INT(READ("{\"cmd\": \"cancel\", \"job_id\": \"00000042\"}"), 0);
	CHECK_INT(demand.kind, DEMAND_CANCEL);
	CHECK_INT(demand.lease, 42);
	CHECK_INT(READ("{\"cmd\": \"stop\"}"), -EINVAL);
	CHECK_STR(err.text, "unknown command");
	CHECK_INT(READ("{\"cmd\": \"cancel\", \"job_id\": \"X\"}"), -EINVAL);
}

static void refusals(void)
{
	static const char *const bad[] = {
		"{}",
		"{\"cmd\": 5}",
		"{\"cmd\": \"submit\", \"cmdline\": \"x\"}",
		"{\"cmd\": \"submit\", \"gpus\": 0, \"cmdline\": \"x\"}",
		"{\"cmd\": \"submit\", \"gpus\": 1.0, \"cmdline\": \"x\"}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"\"}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": 5}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", \"gpu_ids\": []}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", \"gpu_ids\": [\"\"]}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", \"gpu_ids\": [null]}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", \"mem\": -1}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", \"time_limit\": \"5\"}",
		"{\"cmd\": \"submit\", \"gpus\": 1, \"cmdline\": \"x\", \"priority\": 99999999999}",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CHECK_INT(READ(bad[i]), -EINVAL);
		CHECK(*err.text);
	}
}

int main(void)
{
	TEST(a_whole_one);
	TEST(null_is_not_said);
	TEST(the_longest_time);
	TEST(the_others);
	TEST(refusals);
	json_decref(json);
	demand_clear(&demand);
	return tap_done();
}
