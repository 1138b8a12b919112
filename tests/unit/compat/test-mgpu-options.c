/* SPDX-License-Identifier: MIT */
#include "compat/mgpu_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"

static struct mgpu_options given;
static struct mgpu_job job;
static struct strings notes;
static struct error err;

#define READ(...)                                                                \
	({                                                                       \
		static const char *argv_[] = { "mgpu_srun", __VA_ARGS__, NULL }; \
		read_all((char **)argv_);                                        \
	})

static int read_all(char **argv)
{
	int r;

	strings_clear(&notes);
	notes = (struct strings){ 0 };
	err = (struct error){ 0 };
	job = (struct mgpu_job){ 0 };
	r = mgpu_options_parse(argv, &given, &err);
	return r < 0 ? r : mgpu_options_read(&given, "dev1.example.org", &job, &notes, &err);
}

static void all_of_one_machine(void)
{
	CHECK_INT(READ("--gpus", "2", "--mem", "8000", "--time-limit=600", "--priority", "-5",
			  "--env-setup-cmd", "x y", "--interactive", "--background", "--", "a",
			  "--gpus", "9"),
		0);
	CHECK_STR(job.gpus, "2");
	CHECK(!job.gpu_ids);
	CHECK_INT(job.mem_mib, 8000);
	CHECK_INT(job.limit_sec, 600);
	CHECK_INT(job.priority, -5);
	CHECK_STR(job.setup, "x y");
	CHECK(given.values[MGPU_INTERACTIVE] && given.values[MGPU_BACKGROUND]);
	CHECK_INT(job.n_words, 3);
	CHECK_STR(job.words[2], "9");
	CHECK(!job.remote && !job.distributed);
	CHECK_INT(notes.n, 0);
}

static void dashes_may_be_left_out(void)
{
	CHECK_INT(READ("--gpu-ids", "0,1", "python", "--", "-c"), 0);
	CHECK_STR(job.gpu_ids, "0,1");
	CHECK_INT(job.n_words, 3);
	CHECK_STR(job.words[1], "--");
}

static void how_many_of_several_machines(void)
{
	CHECK_INT(READ("--nodes", "1", "x"), 0);
	CHECK_STR(job.gpus, "1");
	CHECK_INT(READ("--nodes", "1", "--gpus-per-node", "4", "--distributed", "x"), 0);
	CHECK_STR(job.gpus, "4");
	CHECK(job.distributed);
	CHECK_INT(READ("--nodelist", "localhost", "x"), 0);
	CHECK_INT(READ("--nodelist", "dev1", "x"), 0);
	CHECK_INT(READ("--nodelist", "dev1.example.org", "--exclude", "dev,dev2,", "x"), 0);
	CHECK_INT(notes.n, 0);
	CHECK_INT(READ("--node-gpu-ids", "node001:2,3", "--gpus", "2", "x"), 0);
	CHECK_STR(job.gpu_ids, "2,3");
	CHECK_STR(job.gpus, "2");
	CHECK_INT(notes.n, 1);
	CHECK_STR(notes.items[0], "'node001' is taken for this machine, dev1.example.org");
}

static void what_has_no_effect_is_named(void)
{
	CHECK_INT(READ("--gpus", "1", "--mpi", "--host", "x", "--max-wait-time", "5", "--verbose",
			  "x"),
		0);
	CHECK_INT(notes.n, 3);
	CHECK_STR(notes.items[1], "--host has no effect here");
}

static void refusals(void)
{
	static const struct {
		const char *words[6], *sentence;
	} bad[] = {
		{ { NULL }, "there is no command" },
		{ { "--gpus", "1", "--" }, "there is no command" },
		{ { "x" }, "say how many GPUs" },
		{ { "--mem" }, "--mem needs a value" },
		{ { "--mpi=yes" }, "--mpi takes no value" },
		{ { "-g", "1", "x" }, "there is no option '-g'" },
		{ { "--g", "1", "x" }, "there is no option '--g'" },
		{ { "--gpus", "1", "--mem", "8G", "x" }, "--mem takes a whole number" },
		{ { "--gpus", "1", "--priority", "-", "x" }, "--priority takes" },
		{ { "--gpus", "1", "--time-limit", "99999999999", "x" }, "--time-limit takes" },
		{ { "--nodes", "2", "x" }, "this machine alone" },
		{ { "--nodes", "0", "x" }, "--nodes takes" },
		{ { "--nodelist", "a,b", "x" }, "this machine alone" },
		{ { "--gpus", "1", "--exclude", "b,dev1", "x" }, "there is no other" },
		{ { "--node-gpu-ids", "0,1", "x" }, "--node-gpu-ids takes" },
		{ { "--node-gpu-ids", "a:", "x" }, "--node-gpu-ids takes" },
		{ { "--node-gpu-ids", "a:0;b:1", "x" }, "this machine alone" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *argv[8] = { (char *)"mgpu_srun" };

		memcpy(argv + 1, bad[i].words, sizeof(bad[i].words));
		CHECK_INT(read_all(argv), -EINVAL);
		CHECK(strstr(err.text, bad[i].sentence));
	}
}

static void ids(void)
{
	char text[MGPU_ID_SIZE];
	int64_t id;

	mgpu_id(text, 42);
	CHECK_STR(text, "00000042");
	CHECK_INT(mgpu_parse_id(text, &id, NULL), 0);
	CHECK_INT(id, 42);
	mgpu_id(text, INT64_MAX);
	CHECK_INT(mgpu_parse_id(text, &id, NULL), 0);
	CHECK(id == INT64_MAX);
	CHECK_INT(mgpu_parse_id("#7", &id, NULL), 0);
	CHECK_INT(mgpu_parse_id("", &id, NULL), -EINVAL);
	CHECK_INT(mgpu_parse_id("00000000", &id, NULL), -EINVAL);
	CHECK_INT(mgpu_parse_id("AB12CD34", &id, NULL), -EINVAL);
}

int main(void)
{
	TEST(all_of_one_machine);
	TEST(dashes_may_be_left_out);
	TEST(how_many_of_several_machines);
	TEST(what_has_no_effect_is_named);
	TEST(refusals);
	TEST(ids);
	strings_clear(&notes);
	return tap_done();
}
