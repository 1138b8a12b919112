/* SPDX-License-Identifier: MIT */
/*
 * Times as canhazgpu keeps them, in two forms that may both stand in one record: seconds since 1970
 * where a script of Redis or its first version wrote (1751300078, 1751300078.25, "1751300078"), RFC
 * 3339 where its program did ("2025-06-30T16:34:38.372177993Z").
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* CLOCK_REALTIME in microseconds; 0 of what is missing, null or the zero of Go. -EINVAL: anything
 * else, or out of the years 2000 to 2199. */
int chg_time(json_t *value, int64_t *ret_us);
