/* SPDX-License-Identifier: MIT */
/* Options in the comments of a script, of dibs and of Slurm; and a time to begin. */
#include <errno.h>
#include <string.h>

#include "base/macro.h"
#include "cli/script.h"
#include "cli/submit.h"
#include "fuzz.h"

#define NOW_US INT64_C(1774731600000000)

static void begin(const char *text)
{
	int64_t us = 77;

	if (submit_parse_begin(text, NOW_US, &us, NULL) == 0)
		REQUIRE(us >= NOW_US);
	else
		REQUIRE(us == 77);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = malloc(size + 1);
	_cleanup_(directives_clear) struct directives d;
	struct error err = { 0 };

	memcpy(text, data, size);
	text[size] = '\0';
	begin(text);
	if (directives_read(text, "x", &d, &err) < 0) {
		REQUIRE(strncmp(err.text, "x:", 2) == 0);
		return 0;
	}
	/* What was read line by line is right as a whole, too. */
	REQUIRE(submit_merge(&d.dibs, &d.slurm, MERGE_BELOW, &err) < 0 ||
		submit_check(&d.dibs, &err) == 0 || strstr(err.text, "--after"));
	return 0;
}
