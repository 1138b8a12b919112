/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "base/parse.h"
#include "cli/moment.h"
#include "cli/submit.h"

#define ID "usage.value"

int submit_parse_begin(const char *text, int64_t now_us, int64_t *ret_us, struct error *err)
{
	int64_t us;

	if (moment_parse(text, now_us, MOMENT_AHEAD, &us) < 0)
		return error_set(err, -EINVAL, ID,
			"--begin takes a time as 20:00, 'tomorrow 08:00', 2026-12-01T08:00 or +2h, "
			"not '%s'",
			text);
	if (us < now_us)
		return error_set(err, -EINVAL, ID, "--begin: '%s' is over", text);
	if (us - now_us > DURATION_MAX_US)
		return error_set(err, -EINVAL, ID,
			"--begin: '%s' is too far away; ten years are the limit", text);
	*ret_us = us;
	return 0;
}
