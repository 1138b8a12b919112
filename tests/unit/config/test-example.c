/* SPDX-License-Identifier: MIT */
/* The example configuration (its path is the argument) against the table of settings. */
#include "config/config.h"

#include "../tap.h"
#include "config/ini.h"

#define LINE_SIZE 256

DEFINE_CLEANUP(FILE *, fclose)

static const char *example_path;

/* A line "#key = value" is a setting at its default; "# text" is a comment. */
static FILE *uncommented(void)
{
	_cleanup_(fclosep) FILE *example = fopen(example_path, "re");
	FILE *result = tmpfile();
	char line[LINE_SIZE];

	while (example && result && fgets(line, sizeof(line), example)) {
		bool setting = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';

		fputs(setting ? line + 1 : line, result);
	}
	if (result)
		rewind(result);
	return result;
}

static int expect_next(
	const char *section, const char *key, const char *value, void *userdata, struct error *err)
{
	size_t *i = userdata;
	const struct setting *s = config_setting((*i)++);

	CHECK(s);
	if (s) {
		CHECK_STR(section, s->section);
		CHECK_STR(key, s->key);
		CHECK_STR(value, s->fallback);
	}
	return 0;
}

static void shows_every_setting_at_its_default(void)
{
	_cleanup_(fclosep) FILE *file = uncommented();
	size_t count = 0;
	struct error err = { 0 };

	CHECK(file);
	if (!file)
		return;
	CHECK_INT(ini_read(file, "example", expect_next, &count, &err), 0);
	CHECK(!config_setting(count));
}

static void is_accepted_uncommented(void)
{
	_cleanup_(fclosep) FILE *file = uncommented();
	char path[] = "/tmp/dibs-example-XXXXXX", line[LINE_SIZE];
	int fd = mkstemp(path);
	_cleanup_(fclosep) FILE *copy = fd < 0 ? NULL : fdopen(fd, "w");
	_cleanup_(config_freep) struct config *config = NULL;
	struct error err = { 0 };

	CHECK(file && copy);
	if (!file || !copy)
		return;
	while (fgets(line, sizeof(line), file))
		fputs(line, copy);
	fflush(copy);
	CHECK_INT(config_load(path, &config, &err), 0);
	CHECK_STR(err.text, "");
	unlink(path);
}

int main(int argc, char *argv[])
{
	if (argc != 2)
		return 99;
	example_path = argv[1];
	TEST(shows_every_setting_at_its_default);
	TEST(is_accepted_uncommented);
	return tap_done();
}
