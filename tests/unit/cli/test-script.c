/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/script.h"

static struct directives d;
static struct error err;

static int directives(const char *text)
{
	directives_clear(&d);
	err.text[0] = '\0';
	return directives_read(text, "x.sh", &d, &err);
}

static void words(void)
{
	static const struct {
		const char *line, *expected; /* words behind each other, each with a '|' */
	} good[] = {
		{ "", "" },
		{ "  \t ", "" },
		{ "a  b\tc", "a|b|c|" },
		{ "a # b", "a|" },
		{ "a#b", "a#b|" },
		{ "'a b' \"c d\"", "a b|c d|" },
		{ "a'b c'd", "ab cd|" },
		{ "a\\ b \\\"", "a b|\"|" },
		{ "'a\\b' \"a\\b\\\"\\$\"", "a\\b|a\\b\"$|" },
		{ "$HOME `x` *", "$HOME|`x`|*|" },
		{ "'' \"\"", "||" },
		{ "a\r", "a|" },
		{ "''x", "x|" },
	};
	static const char *const bad[] = { "'", "\"", "a\\", "'a", "\"a\\", "\"a\\\"", "'a\\'b'" };
	char *list[SCRIPT_WORDS_MAX + 1];

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		_cleanup_(freep) char *line = strdup(good[i].line), *text = strdup("");
		int n = script_words(line, list, &err);

		for (int k = 0; k < n; k++) {
			char *longer = text_format("%s%s|", text, list[k]);

			free(text);
			text = longer;
		}
		CHECK_STR(text, good[i].expected);
		CHECK(n >= 0 && !list[n]);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_(freep) char *line = strdup(bad[i]);

		CHECK_INT(script_words(line, list, &err), -EINVAL);
	}
}

static void too_many_words(void)
{
	char line[2 * SCRIPT_WORDS_MAX + 3], *list[SCRIPT_WORDS_MAX + 1];

	for (size_t i = 0; i < sizeof(line); i++)
		line[i] = i % 2 ? ' ' : 'a';
	line[sizeof(line) - 1] = '\0';
	CHECK_INT(script_words(line, list, &err), -EINVAL);
	for (size_t i = 0; i < sizeof(line); i++)
		line[i] = i % 2 ? ' ' : 'a';
	line[2 * SCRIPT_WORDS_MAX] = '\0';
	CHECK_INT(script_words(line, list, &err), SCRIPT_WORDS_MAX);
}

static void reads_up_to_the_first_command(void)
{
	CHECK_INT(
		directives("#!/bin/sh\n# a comment\n\n#DIBS -g 2 -t 4h\n#DIBSX -g 9\n # indented\n"
			   "#DIBS --after 1\n#DIBS --after 2 -g 3 # three\n#SBATCH --time=5\n"
			   "true\n#DIBS -g 8 --nonsense\n"),
		0);
	CHECK_STR(d.dibs.values[OPT_GPUS], "3");
	CHECK_STR(d.dibs.values[OPT_TIME], "4h");
	CHECK_INT(d.dibs.n_given, 2);
	CHECK_STR(d.dibs.given[0].value, "1");
	CHECK_STR(d.slurm.values[OPT_TIME], "300s");
	CHECK_INT(d.notes.n, 0);
	CHECK_INT(directives("#DIBS -g 2\r\n#SBATCH -G3\r\n"), 0);
	CHECK_STR(d.dibs.values[OPT_GPUS], "2");
	CHECK_STR(d.slurm.values[OPT_GPUS], "3");
	CHECK_INT(directives("#DIBS"), 0);
}

static void nonsense_has_its_line(void)
{
	CHECK_INT(directives("#!/bin/sh\n#DIBS -g two\n"), -EINVAL);
	CHECK_STR(err.text, "x.sh:2: -g/--gpus takes a whole number from 1 to 256, not 'two'");
	CHECK_INT(directives("#DIBS --nonsense\n"), -EINVAL);
	CHECK_STR(err.text, "x.sh:1: there is no option '--nonsense'; see 'dibs submit --help'");
	CHECK_INT(directives("\n\n#DIBS -g 2 train.py\n"), -EINVAL);
	CHECK_STR(err.text, "x.sh:3: 'train.py' is no option");
	CHECK_INT(directives("#DIBS --name 'x\n"), -EINVAL);
	CHECK_STR(err.text, "x.sh:1: something is open at the end of the line: a quote or a '\\'");
	CHECK_INT(directives("#DIBS -t\n"), -EINVAL);
	CHECK_STR(err.text, "x.sh:1: -t needs a value: -t LIMIT");
	CHECK_INT(directives("#DIBS --env =\n"), -EINVAL);
	CHECK_INT(directives("#DIBS --mem 8G --exclusive\n"), -EINVAL);
	CHECK_INT(directives("#SBATCH --time=soon\n"), -EINVAL);
	CHECK_STR(err.text, "x.sh:1: #SBATCH --time=soon: not a time as 90, 90:00, 4:00:00, 2-0 or "
			    "2-12:00");
	CHECK_INT(directives("#SBATCH --array=9-0\n"), -EINVAL);
	CHECK_INT(directives("#SBATCH -t\n"), -EINVAL);
	CHECK_INT(directives("#SBATCH --hold=1\n"), -EINVAL);
	CHECK_INT(directives("#SBATCH x\n"), -EINVAL);
}

static void check_option(enum opt opt, const char *value)
{
	CHECK_STR(d.slurm.values[opt] ? d.slurm.values[opt] : "(none)", value);
}

/* What one line of Slurm becomes. */
static void slurm_maps(void)
{
	static const struct {
		const char *line;
		enum opt opt;
		const char *value;
		size_t notes;
	} maps[] = {
		{ "-t 90", OPT_TIME, "5400s", 0 },
		{ "-t90:30", OPT_TIME, "5430s", 0 },
		{ "--time 4:00:00", OPT_TIME, "14400s", 0 },
		{ "--time=2-0", OPT_TIME, "172800s", 0 },
		{ "--time=1-2:3", OPT_TIME, "93780s", 0 },
		{ "--time=1-2:3:4", OPT_TIME, "93784s", 0 },
		{ "--time=UNLIMITED", OPT_TIME, "(none)", 0 },
		{ "--time=0", OPT_TIME, "(none)", 0 },
		{ "-o a/%x-%j-%A_%a.%u.%N%%", OPT_OUTPUT, "a/%x-%j-%A_%a.%u.%h%%", 0 },
		{ "-e %J", OPT_ERROR, "%j", 0 },
		{ "-e %3a", OPT_ERROR, "%3a", 0 },
		{ "-e %010j%5N", OPT_ERROR, "%010j%5h", 0 },
		{ "-e x%b", OPT_ERROR, "(none)", 1 },
		{ "-e x%", OPT_ERROR, "(none)", 1 },
		{ "-a 0-15:4%2", OPT_ARRAY, "0-15:4%2", 0 },
		{ "-J 'my job'", OPT_NAME, "my job", 0 },
		{ "--job-name=x", OPT_NAME, "x", 0 },
		{ "--comment why", OPT_NOTE, "why", 0 },
		{ "-H", OPT_HELD, "", 0 },
		{ "--wait", OPT_WAIT_FOR, "", 0 },
		{ "-G 2", OPT_GPUS, "2", 0 },
		{ "--gpus=a100:2", OPT_GPUS, "2", 0 },
		{ "--gpus=a100:2", OPT_TYPE, "a100", 0 },
		{ "--gpus=a100", OPT_GPUS, "1", 0 },
		{ "--gpus-per-node=3", OPT_GPUS, "3", 0 },
		{ "--gres=gpu", OPT_GPUS, "1", 0 },
		{ "--gres=gpu:2", OPT_GPUS, "2", 0 },
		{ "--gres=gpu:h100:4", OPT_GPUS, "4", 0 },
		{ "--gres=gpu:h100:4", OPT_TYPE, "h100", 0 },
		{ "--gres=gpu:h100", OPT_TYPE, "h100", 0 },
		{ "--gres=gpu:1,shard:2", OPT_GPUS, "1", 1 },
		{ "--gres=gpu:a:1,gpu:b:2", OPT_TYPE, "a", 1 },
		{ "--gres=gpus:2", OPT_GPUS, "(none)", 1 },
		{ "--gres=none", OPT_GPUS, "(none)", 1 },
		{ "--gres=gpu:0", OPT_GPUS, "(none)", 1 },
		{ "--tres-per-node=gres/gpu:2", OPT_GPUS, "2", 0 },
		{ "--begin=now+2hours", OPT_BEGIN, "+7200s", 0 },
		{ "--begin=now+30minute", OPT_BEGIN, "+1800s", 0 },
		{ "--begin=now+60", OPT_BEGIN, "+60s", 0 },
		{ "--begin=now", OPT_BEGIN, "(none)", 0 },
		{ "-b 20:00", OPT_BEGIN, "20:00", 0 },
		{ "-b noon", OPT_BEGIN, "12:00", 0 },
		{ "--signal=USR1@300", OPT_WARN_SIGNAL, "USR1@300s", 1 },
		{ "--signal=B:10", OPT_WARN_SIGNAL, "10@60s", 1 },
		{ "--nice", OPT_NICE, "100", 0 },
		{ "--nice=-5", OPT_NICE, "-5", 0 },
		{ "--nice=10000", OPT_NICE, "100", 0 },
		{ "--export=NONE", OPT_NO_ENV, "", 0 },
		{ "--export=ALL", OPT_NO_ENV, "(none)", 0 },
		{ "--export=ALL,A=1", OPT_NO_ENV, "(none)", 0 },
		{ "--export=ALL,A=1", OPT_ENV, "A=1", 0 },
		{ "--export=A=1,B", OPT_NO_ENV, "", 0 },
		{ "--export=A=1,B", OPT_ENV, "B", 0 },
		{ "--exclusive", OPT_EXCLUSIVE, "", 1 },
		{ "--exclusive=user", OPT_EXCLUSIVE, "", 1 },
		{ "--dependency=afterok:41", OPT_AFTER, "41:ok", 0 },
		{ "-d afternotok:41,afterany:42", OPT_AFTER, "42:any", 0 },
		{ "-d singleton", OPT_AFTER, "(none)", 1 },
		{ "-d 'afterok:1?afterok:2'", OPT_AFTER, "(none)", 1 },
		{ "-N 1 -n1 --ntasks=1 --no-requeue", OPT_RETRIES, "(none)", 0 },
		{ "-N 2", OPT_GPUS, "(none)", 1 },
		{ "--requeue", OPT_RETRIES, "(none)", 1 },
		{ "--mem=64G", OPT_MEM, "(none)", 1 },
		{ "--partition gpu -G 2", OPT_GPUS, "2", 1 },
		{ "-p gpu --qos=high", OPT_GPUS, "(none)", 2 },
		{ "--frobnicate yes -G 2", OPT_GPUS, "2", 1 },
		{ "--frobnicate -G 2", OPT_GPUS, "2", 1 },
		{ "-Z -G 2 # -G 3", OPT_GPUS, "2", 1 },
	};

	for (size_t i = 0; i < ELEMENTSOF(maps); i++) {
		_cleanup_(freep) char *text = text_format("#SBATCH %s\n", maps[i].line);

		CHECK_INT(directives(text), 0);
		if (*err.text)
			printf("# %s\n", err.text);
		check_option(maps[i].opt, maps[i].value);
		CHECK_INT(d.notes.n, maps[i].notes);
		if (tap_failed_now) {
			printf("# in: %s", text);
			return;
		}
	}
}

static void slurm_needs(void)
{
	CHECK_INT(directives("#SBATCH -d afterok:41:42,afterany:43\n"), 0);
	CHECK_INT(d.slurm.n_given, 3);
	CHECK_STR(d.slurm.given[0].value, "41:ok");
	CHECK_STR(d.slurm.given[1].value, "42:ok");
	CHECK_STR(d.slurm.given[2].value, "43:any");
}

static void slurm_is_named(void)
{
	CHECK_INT(directives("#!/bin/sh\n#SBATCH -p gpu\n#SBATCH --mem=64G\n"), 0);
	CHECK_INT(d.notes.n, 2);
	CHECK_STR(d.notes.items[0], "x.sh:2: #SBATCH -p: there are no partitions; see --type");
	CHECK_STR(d.notes.items[1], "x.sh:3: #SBATCH --mem=64G: memory of the host is not shared "
				    "out; --mem of dibs means that of a GPU");
}

static char path[] = "/tmp/dibs-script-XXXXXX";

static int file(const char *bytes, size_t size)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(fclosep) FILE *out = fopen(path, "w");

	fwrite(bytes, 1, size, out);
	fflush(out);
	err.text[0] = '\0';
	return script_read(path, 20, &text, &err);
}

static void files(void)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closep) int fd = mkstemp(path);

	CHECK(fd >= 0);
	CHECK_INT(file("#!/bin/sh\n", 10), 0);
	CHECK_INT(file("true", 4), 0);
	CHECK_INT(file("", 0), -EINVAL);
	CHECK(strstr(err.text, "is empty"));
	CHECK_INT(file("a\0b", 3), -EINVAL);
	CHECK(strstr(err.text, "is binary"));
	CHECK_INT(file("a\nb\xff\n", 5), -EINVAL);
	CHECK(strstr(err.text, ":2: not UTF-8"));
	CHECK_INT(file("#!/bin/sh\r\n", 11), -EINVAL);
	CHECK(strstr(err.text, "DOS"));
	CHECK_INT(file("12345678901234567890", 20), 0);
	CHECK_INT(file("123456789012345678901", 21), -EINVAL);
	CHECK(strstr(err.text, "has 21 bytes; a script may have 20"));
	CHECK_INT(script_read("/", 20, &text, &err), -EINVAL);
	CHECK(strstr(err.text, "is a directory"));
	CHECK_INT(script_read("/dev/null", 20, &text, &err), -EINVAL);
	CHECK(strstr(err.text, "is not a regular file"));
	unlink(path);
	CHECK_INT(script_read(path, 20, &text, &err), -EINVAL);
	CHECK(strstr(err.text, "there is no script"));
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(script_read(path, 20, &text, &err), -EINVAL);
	unlink(path);
}

int main(void)
{
	TEST(words);
	TEST(too_many_words);
	TEST(reads_up_to_the_first_command);
	TEST(nonsense_has_its_line);
	TEST(slurm_maps);
	TEST(slurm_needs);
	TEST(slurm_is_named);
	TEST(files);
	directives_clear(&d);
	return tap_done();
}
