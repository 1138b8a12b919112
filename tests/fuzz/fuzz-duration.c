/* SPDX-License-Identifier: MIT */
/* Numbers, durations and sizes as people type them, and durations as they are shown. */
#include <errno.h>
#include <string.h>

#include "base/macro.h"
#include "base/parse.h"
#include "fuzz.h"

/* What is shown is rounded down to two units, so reading it gives at most what was read first, and
 * showing that gives the same text. */
static void show(int64_t us)
{
	char text[DURATION_TEXT_SIZE], again[DURATION_TEXT_SIZE];
	int64_t shown;

	REQUIRE(us >= 0 && us <= DURATION_MAX_US);
	format_duration(text, us);
	REQUIRE(strlen(text) < sizeof(text));
	if (us < USEC_PER_SEC)
		return;
	REQUIRE(parse_duration(text, &shown) == 0);
	REQUIRE(shown <= us && shown > 0);
	format_duration(again, shown);
	REQUIRE(strcmp(text, again) == 0);
}

static void is_refusal(int r)
{
	REQUIRE(r == -EINVAL || r == -ERANGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *s = malloc(size + 1);
	uint64_t number = 77, mib = 77;
	int64_t us = 77;
	int r;

	memcpy(s, data, size);
	s[size] = '\0';
	r = parse_duration(s, &us);
	if (r == 0) {
		show(us);
	} else {
		is_refusal(r);
		REQUIRE(us == 77);
	}
	r = parse_size(s, &mib);
	if (r == 0) {
		REQUIRE(mib >= 1);
	} else {
		is_refusal(r);
		REQUIRE(mib == 77);
	}
	r = parse_uint(s, 5, 5000, &number);
	if (r == 0)
		REQUIRE(number >= 5 && number <= 5000);
	else
		is_refusal(r);
	return 0;
}
