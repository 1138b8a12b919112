/* SPDX-License-Identifier: MIT */
#include "../tap.h"
#include "base/macro.h"
#include "import/plan.h"

#define SEC INT64_C(1000000)
#define NOW (1751300078 * SEC)

/* root is a user of every machine, and nobody is another. */
static const struct chg_record hold = {
	.user = "root",
	.kind = LEASE_HOLD,
	.gpu = -1,
	.start_us = NOW - 60 * SEC,
	.end_us = NOW + 60 * SEC,
	.note = "a note",
};
static const struct chg_record run = {
	.user = "root",
	.kind = LEASE_RUN,
	.gpu = -1,
	.start_us = NOW - 3600 * SEC,
	.heartbeat_us = NOW - 30 * SEC,
};
static const struct chg_record over = {
	.user = "root",
	.kind = LEASE_RUN,
	.gpu = 1,
	.start_us = NOW - 7200 * SEC,
	.end_us = NOW - 3700 * SEC,
};

static void gpus_of_a_reservation_are_one_hold(void)
{
	_cleanup_(plan_clear) struct plan plan = { .now_us = NOW };
	struct chg_record other = hold, another = hold;
	char text[INDICES_SIZE];

	memcpy(other.note, "else", 5);
	another.end_us += SEC;
	CHECK_INT(plan_gpu(&plan, 0, &hold), 0);
	CHECK_INT(plan_gpu(&plan, 1, &other), 0);
	CHECK_INT(plan_gpu(&plan, 2, &hold), 0);
	CHECK_INT(plan_gpu(&plan, 3, &another), 0);
	CHECK_INT(plan.holds.n, 3);
	plan_indices(text, sizeof(text), &plan.holds.items[0].gpus);
	CHECK_STR(text, "0,2");
	CHECK_STR(plan.holds.items[0].note, "a note");
	CHECK_STR(plan.holds.items[1].note, "else");
	CHECK_INT(plan.holds.items[2].until_us, NOW + 61 * SEC);
	CHECK_INT(plan.history.n + plan.runs.n + plan.skipped.total, 0);
}

static void what_is_over_is_history(void)
{
	_cleanup_(plan_clear) struct plan plan = { .now_us = NOW };
	struct chg_record expired = hold, silent = run;

	expired.end_us = NOW;
	silent.heartbeat_us = NOW - 301 * SEC;
	CHECK_INT(plan_gpu(&plan, 0, &expired), 0);
	CHECK_INT(plan_gpu(&plan, 1, &silent), 0);
	CHECK_INT(plan_gpu(&plan, 2, &run), 0);
	CHECK_INT(plan.holds.n, 0);
	CHECK_INT(plan.history.n, 2);
	CHECK_INT(plan.history.items[0].until_us, NOW);
	CHECK_INT(plan.history.items[0].kind, LEASE_HOLD);
	CHECK_INT(plan.history.items[1].until_us, silent.heartbeat_us);
	CHECK_INT(plan.runs.n, 1);
}

static void what_cannot_be_is_said(void)
{
	_cleanup_(plan_clear) struct plan plan = { .now_us = NOW };
	struct chg_record r = hold;

	r.end_us = 0;
	plan_gpu(&plan, 0, &r);
	CHECK_STR(plan.skipped.items[0].text, "GPU 0 is reserved by root without an end");
	r.end_us = r.start_us - 1;
	plan_gpu(&plan, 1, &r);
	r.start_us = NOW + 3600 * SEC;
	plan_gpu(&plan, 2, &r);
	CHECK_INT(plan.skipped.n, 3);
	r = over;
	r.end_us = NOW + 3600 * SEC;
	CHECK_INT(plan_usage(&plan, &r), 0);
	CHECK_INT(plan.skipped.n, 4);
	r = hold;
	r.partial = true;
	plan_gpu(&plan, 3, &r);
	CHECK_INT(plan.waiting.n, 1);
	CHECK_INT(plan.holds.n + plan.history.n, 0);
}

static void strangers_are_named_once(void)
{
	_cleanup_(plan_clear) struct plan plan = { .now_us = NOW };
	struct chg_record r = over;

	snprintf(r.user, sizeof(r.user), "no such user");
	CHECK_INT(plan_usage(&plan, &r), 0);
	CHECK_INT(plan_usage(&plan, &r), 0);
	snprintf(r.user, sizeof(r.user), "0"); /* is not root */
	CHECK_INT(plan_usage(&plan, &r), 0);
	CHECK_INT(plan.skipped.n, 2);
	CHECK_STR(plan.skipped.items[0].text, "there is no user 'no such user' on this machine");
	CHECK_INT(plan.skipped.items[0].n, 2);
	CHECK_INT(plan.skipped.total, 3);
	CHECK_INT(plan.history.n, 0);
	/* Many of them cost no more memory than that. */
	for (int i = 0; i < 1000; i++) {
		snprintf(r.user, sizeof(r.user), "no-such-user-%d", i);
		plan_usage(&plan, &r);
	}
	CHECK_INT(plan.skipped.n, REASONS_MAX);
	CHECK_INT(plan.skipped.total, 1003);
	CHECK_INT(plan.skipped.more, 1002 - REASONS_MAX);
}

static void what_is_there_twice_counts_once(void)
{
	_cleanup_(plan_clear) struct plan plan = { .now_us = NOW };
	struct chg_record later = over, beside = over;

	later.start_us += SEC;
	beside.gpu = 2;
	plan_usage(&plan, &later);
	plan_usage(&plan, &over);
	plan_usage(&plan, &beside);
	plan_usage(&plan, &over);
	plan_sort(&plan);
	CHECK_INT(plan.history.n, 3);
	CHECK_INT(plan.history.items[2].since_us, later.start_us);
	plan.history.n = 0;
	plan_sort(&plan);
	CHECK_INT(plan.history.n, 0);
}

static void origins_tell_records_apart(void)
{
	struct plan_record record = { .user = "alice", .since_us = NOW };
	char origin[ORIGIN_SIZE];

	gpu_set_add(&record.gpus, 3);
	plan_origin(origin, &record);
	CHECK_STR(origin, "canhazgpu gpu 3 from 1751300078000000 of alice");
	for (unsigned i = 0; i < GPU_MAX; i++)
		gpu_set_add(&record.gpus, i);
	memset(record.user, 'x', sizeof(record.user) - 1);
	plan_origin(origin, &record);
	CHECK(strncmp(origin, "canhazgpu gpu 0+255 from 1751300078000000 of xxx", 48) == 0);
	CHECK(strlen(origin) < ORIGIN_SIZE - 1);
}

int main(void)
{
	TEST(gpus_of_a_reservation_are_one_hold);
	TEST(what_is_over_is_history);
	TEST(what_cannot_be_is_said);
	TEST(strangers_are_named_once);
	TEST(what_is_there_twice_counts_once);
	TEST(origins_tell_records_apart);
	return tap_done();
}
