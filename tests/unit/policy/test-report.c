/* SPDX-License-Identifier: MIT */
#include "policy/report.h"

#include <stdlib.h>

#include "policy/idset.h"
#include "tests/unit/policy/fixture.h"
#include "tests/unit/tap.h"

#define UNTIL (NOW + 10 * HOUR)

/* A line of the account of lease id: uid 1000 + id, held from NOW + from to NOW + to. */
static struct usage line_of(int64_t id, int64_t from_us, int64_t to_us, int64_t used_us)
{
	struct usage usage = {
		.lease = id,
		.kind = LEASE_RUN,
		.uid = 1000 + (uid_t)id,
		.gid = 100,
		.from_us = NOW + from_us,
		.to_us = NOW + to_us,
		.used_us = used_us,
		.peak_mib = GPU_UNKNOWN,
		.waited_us = -1,
	};

	text_copy(usage.gpu, sizeof(usage.gpu), "GPU-1");
	text_copy(usage.model, sizeof(usage.model), "A100");
	return usage;
}

static void add(struct report *report, struct usage usage)
{
	int r = report_add(report, &usage);

	assert(r == 0);
}

static const struct report_row *next(struct report *report)
{
	static const struct report_row none = { .key = "NONE" };
	const struct report_row *row;

	return report_next(report, &row) ? row : &none;
}

static void cut_at_the_window(void)
{
	_cleanup_(report_freep) struct report *report = report_new(REPORT_USER, NOW, UNTIL);
	const struct report_row *row;

	assert(report);
	add(report, line_of(1, -HOUR, 0, HOUR));                   /* before */
	add(report, line_of(2, 10 * HOUR, 11 * HOUR, HOUR));       /* after */
	add(report, line_of(3, -3 * HOUR, HOUR, 2 * HOUR));        /* a quarter is in it */
	add(report, line_of(4, 8 * HOUR, 12 * HOUR, HOUR));        /* half of it */
	add(report, line_of(5, -10 * HOUR, 90 * HOUR, 50 * HOUR)); /* all around */
	add(report, line_of(6, 2 * HOUR, 2 * HOUR + 1, 100));      /* more than it can be */
	row = next(report);
	CHECK_STR(row->key, "");
	CHECK_INT(row->leases, 4);
	CHECK_INT(row->held_us, HOUR + 2 * HOUR + 10 * HOUR + 1);
	CHECK_INT(row->used_us, HOUR / 2 + HOUR / 2 + 5 * HOUR + 1);
	CHECK_INT(row->waited_median_us, -1);
	CHECK_INT(row->waited_95_us, -1);
	row = next(report);
	CHECK_STR(row->key, "1005");
	CHECK_INT(row->held_us, 10 * HOUR);
	CHECK_STR(next(report)->key, "1004");
	CHECK_STR(next(report)->key, "1003");
	CHECK_STR(next(report)->key, "1006");
	CHECK_STR(next(report)->key, "NONE");
}

static void an_empty_report(void)
{
	_cleanup_(report_freep) struct report *report = report_new(REPORT_GPU, NOW, UNTIL);
	const struct report_row *row;

	assert(report);
	row = next(report);
	CHECK_INT(row->leases, 0);
	CHECK_INT(row->held_us, 0);
	CHECK_STR(next(report)->key, "NONE");
}

static void keys(void)
{
	static const char *const first[REPORT_BY_MAX] = {
		[REPORT_USER] = "4000000000",
		[REPORT_GROUP] = "100",
		[REPORT_GPU] = "GPU-2",
		[REPORT_TYPE] = "A100",
		[REPORT_KIND] = "run",
	};
	static const int64_t rows[REPORT_BY_MAX] = {
		[REPORT_USER] = 2,
		[REPORT_GROUP] = 1,
		[REPORT_GPU] = 2,
		[REPORT_TYPE] = 1,
		[REPORT_KIND] = 2,
	};

	for (enum report_by by = 0; by < REPORT_BY_MAX; by++) {
		_cleanup_(report_freep) struct report *report = report_new(by, NOW, UNTIL);
		struct usage usage = line_of(1, 0, 3 * HOUR, 0);
		const struct report_row *row;
		int64_t n = 0;

		assert(report);
		CHECK_INT(report_by_from_string(report_by_to_string(by)), by);
		usage.uid = 4000000000;
		text_copy(usage.gpu, sizeof(usage.gpu), "GPU-2");
		add(report, usage);
		usage.from_us = usage.to_us;
		usage.to_us += HOUR;
		add(report, usage); /* the same lease, in another line */
		usage = line_of(2, 0, HOUR, 0);
		usage.kind = LEASE_HOLD;
		add(report, usage);
		CHECK_INT(next(report)->leases, 2);
		row = next(report);
		CHECK_STR(row->key, first[by]);
		CHECK_INT(row->leases, rows[by] == 2 ? 1 : 2);
		for (n = 1; strcmp(next(report)->key, "NONE") != 0;)
			n++;
		CHECK_INT(n, rows[by]);
	}
}

static void many_keys(void)
{
	_cleanup_(report_freep) struct report *report = report_new(REPORT_USER, NOW, UNTIL);
	const struct report_row *row;
	size_t n = 0;

	assert(report);
	for (int round = 0; round < 2; round++)
		for (int64_t id = 1; id <= 10000; id++)
			add(report, line_of(id, round * HOUR, round * HOUR + id, 0));
	CHECK_INT(next(report)->leases, 10000);
	for (; report_next(report, &row); n++)
		if (row->leases != 1 || row->held_us != 2 * (10000 - (int64_t)n) ||
			strtoll(row->key, NULL, 10) != 11000 - (int64_t)n)
			break;
	CHECK_INT(n, 10000);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Against sorting them all. */
static void waits(void)
{
	static const size_t sizes[] = { 1, 2, 3, 4, 19, 20, 21, 4095, 4096, 4097, 8192, 20000 };
	static int64_t all[20000];
	uint64_t random = 1;

	for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
		_cleanup_(report_freep) struct report *report = report_new(REPORT_USER, NOW, UNTIL);
		size_t n = sizes[i];
		int64_t median;

		assert(report);
		for (size_t k = 0; k < n; k++) {
			struct usage usage = line_of((int64_t)k + 1, 0, HOUR, 0);

			random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
			usage.uid = 7;
			usage.waited_us = all[k] = (int64_t)(random >> (20 + random % 30));
			add(report, usage);
		}
		qsort(all, n, sizeof(*all), by_size);
		median = n % 2 ? all[n / 2] : all[n / 2 - 1] + (all[n / 2] - all[n / 2 - 1]) / 2;
		for (int k = 0; k < 2; k++) { /* the total and the one row */
			const struct report_row *row = next(report);

			CHECK_INT(row->waited_median_us, median);
			CHECK_INT(row->waited_95_us, all[(n * 95 + 99) / 100 - 1]);
		}
	}
}

/* They belong to where a lease began. */
static void waits_of_other_windows(void)
{
	_cleanup_(report_freep) struct report *report = report_new(REPORT_USER, NOW, UNTIL);
	struct usage usage = line_of(1, -1, HOUR, 0);
	const struct report_row *row;

	assert(report);
	usage.waited_us = 5;
	add(report, usage);
	usage = line_of(2, 0, 0, 0); /* it held nothing for long, but it waited */
	usage.waited_us = 7;
	add(report, usage);
	text_copy(usage.gpu, sizeof(usage.gpu), "GPU-2");
	add(report, usage); /* on another GPU: the same wait */
	usage = line_of(3, 10 * HOUR, 10 * HOUR, 0);
	usage.waited_us = 9;
	add(report, usage);
	row = next(report);
	CHECK_INT(row->leases, 2);
	CHECK_INT(row->waited_median_us, 7);
	CHECK_INT(row->waited_95_us, 7);
}

static void sets(void)
{
	static struct idset set;
	int64_t wrong = 0;

	for (uint64_t i = 1; i <= 100000; i++)
		wrong += idset_add(&set, i * 16) != 1;
	for (uint64_t i = 1; i <= 1600000; i++)
		wrong += idset_add(&set, i) != (i % 16 != 0);
	CHECK_INT(wrong, 0);
	idset_clear(&set);
	CHECK_INT(idset_add(&set, 16), 1);
	idset_clear(&set);
}

int main(void)
{
	TEST(cut_at_the_window);
	TEST(an_empty_report);
	TEST(keys);
	TEST(many_keys);
	TEST(waits);
	TEST(waits_of_other_windows);
	TEST(sets);
	return tap_done();
}
