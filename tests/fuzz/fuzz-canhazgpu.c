/* SPDX-License-Identifier: MIT */
/* What stands in the Redis of canhazgpu. */
#include <string.h>

#include "base/text.h"
#include "fuzz.h"
#include "import/plan.h"

#define NOW INT64_C(1774731600000000)

static void check(const struct chg_record *record)
{
	REQUIRE(text_is_utf8(record->user) && text_is_utf8(record->note));
	REQUIRE(record->kind == LEASE_RUN || record->kind == LEASE_HOLD);
	REQUIRE(record->start_us >= 0 && record->end_us >= 0 && record->heartbeat_us >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(plan_clear) struct plan plan = { .now_us = NOW };
	const char *text = (const char *)data;
	struct chg_record record;
	struct chg_waiter waiter;

	if (chg_parse_gpu(text, size, &record, NULL) == 0) {
		check(&record);
		REQUIRE(plan_gpu(&plan, 7, &record) == 0);
	}
	if (chg_parse_usage(text, size, &record, NULL) == 0) {
		check(&record);
		REQUIRE(record.gpu >= 0 && record.gpu < GPU_MAX &&
			record.end_us >= record.start_us);
		REQUIRE(plan_usage(&plan, &record) == 0);
	}
	if (chg_parse_waiter(text, size, &waiter, NULL) == 0)
		REQUIRE(text_is_utf8(waiter.user) && waiter.n_gpus <= GPU_MAX);
	plan_sort(&plan);
	for (size_t i = 0; i < plan.history.n; i++)
		REQUIRE(plan.history.items[i].until_us >= plan.history.items[i].since_us);
	return 0;
}
