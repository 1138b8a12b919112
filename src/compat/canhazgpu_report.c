/* SPDX-License-Identifier: MIT */
/*
 * report: GPU hours and reservations of each user, in the days that were asked for and no others.
 *
 * The hours are those of dibs, which count what still runs. What was reserved as somebody by --user
 * has a row of its own, which is taken off the account's. Reservations are counted one by one,
 * however many GPUs they have.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"

#define DAY_US   (INT64_C(86400) * USEC_PER_SEC)
#define DAYS_MAX 36500
#define PAGE     1000 /* leases asked for at once */
#define HOUR_US  3600e6

struct row {
	char *name; /* owned */
	int64_t uid;
	bool is_other;   /* somebody by --user */
	int64_t held_us; /* GPU time */
	int64_t runs, manuals;
};

struct report {
	int64_t since_us, until_us, days;
	struct people *people; /* borrowed */
	struct row *rows;      /* owned */
	size_t n, allocated;
	bool failed; /* out of memory */
};

static void clear(struct report *report)
{
	for (size_t i = 0; i < report->n; i++)
		free(report->rows[i].name);
	free(report->rows);
}

/* The one of this name, made if there is none. NULL without memory. */
static struct row *find_row(struct report *report, const char *name, int64_t uid)
{
	struct row *row;

	for (size_t i = 0; i < report->n; i++)
		if (report->rows[i].uid == uid && strcmp(report->rows[i].name, name) == 0)
			return &report->rows[i];
	if (array_make_room(report->rows, report->n, report->allocated) < 0)
		return NULL;
	row = &report->rows[report->n];
	*row = (struct row){ .name = strdup(name), .uid = uid };
	report->n += row->name != NULL;
	return row->name ? row : NULL;
}

/* How long its GPUs were held within the window. */
static int64_t held_us(const struct report *report, json_t *lease)
{
	int64_t since = wire_int(lease, "since", report->until_us);
	int64_t ended = wire_int(lease, "ended", report->until_us);

	since = MAX(since, report->since_us);
	ended = MIN(ended, report->until_us);
	return MAX(ended - since, 0) * (int64_t)json_array_size(json_object_get(lease, "gpus"));
}

static void count_lease(struct report *report, json_t *lease)
{
	int64_t uid = wire_int(lease, "uid", -1);
	_cleanup_(freep) char *name = chg_user(lease, report->people);
	bool other;
	struct row *row;

	/* What never started, or had no GPU for good, is no reservation. */
	if (!json_is_integer(json_object_get(lease, "since")) ||
		json_array_size(json_object_get(lease, "gpus")) == 0)
		return;
	other = name && strcmp(name, people_name(report->people, uid)) != 0;
	row = name ? find_row(report, name, uid) : NULL;
	report->failed |= !row;
	if (!row)
		return;
	row->is_other = other;
	if (other)
		row->held_us += held_us(report, lease);
	if (chg_is_run(lease))
		row->runs++;
	else
		row->manuals++;
}

/* What has ended, page by page. 0, or the exit status. */
static int count_ended(struct chg *chg, struct report *report)
{
	int64_t before = 0;

	for (bool more = true; more;) {
		_cleanup_(json_decrefp) json_t *reply = NULL,
					       *parameters = json_pack("{sI si}", "since",
						       (json_int_t)report->since_us, "limit", PAGE);
		json_t *lease;
		size_t i;

		if (before)
			json_object_set_new(parameters, "before", json_integer(before));
		reply = chg_call(chg, "org.dibs.History", parameters);
		if (!reply)
			return 1;
		before = 0;
		json_array_foreach (json_object_get(reply, "leases"), i, lease) {
			count_lease(report, lease);
			before = wire_int(lease, "id", 0);
		}
		more = json_is_true(json_object_get(reply, "more")) && before > 0;
	}
	return 0;
}

static int count_active(struct chg *chg, struct report *report)
{
	_cleanup_(json_decrefp) json_t *reply = chg_call(chg, "org.dibs.GetStatus", NULL);
	json_t *lease;
	size_t i;

	json_array_foreach (json_object_get(reply, "leases"), i, lease)
		count_lease(report, lease);
	return reply ? 0 : 1;
}

/* The hours of an account, less those of its others. */
static void put_hours(struct report *report, int64_t uid, int64_t us)
{
	struct row *row = find_row(report, people_name(report->people, uid), uid);

	report->failed |= !row;
	if (!row)
		return;
	for (size_t i = 0; i < report->n; i++)
		if (report->rows[i].uid == uid && report->rows[i].is_other)
			us -= report->rows[i].held_us;
	row->held_us = MAX(us, 0);
}

static int add_hours(struct chg *chg, struct report *report)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack("{sI sI ss}", "since",
		(json_int_t)report->since_us, "until", (json_int_t)report->until_us, "by", "user");
	_cleanup_(json_decrefp) json_t *reply = chg_call(chg, "org.dibs.Report", parameters);
	json_t *row;
	uint64_t uid;
	size_t i;

	json_array_foreach (json_object_get(reply, "rows"), i, row)
		if (parse_uint(wire_text(row, "key"), 0, UINT32_MAX, &uid) == 0)
			put_hours(report, (int64_t)uid, wire_int(row, "held_us", 0));
	return reply ? 0 : 1;
}

static bool is_empty(const struct row *row)
{
	return row->held_us == 0 && row->runs == 0 && row->manuals == 0;
}

static int by_held(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->held_us != y->held_us)
		return x->held_us < y->held_us ? 1 : -1;
	return strcmp(x->name, y->name);
}

static void drop_empty(struct report *report)
{
	size_t n = 0;

	for (size_t i = 0; i < report->n; i++)
		if (is_empty(&report->rows[i]))
			free(report->rows[i].name);
		else
			report->rows[n++] = report->rows[i];
	report->n = n;
	if (n)
		qsort(report->rows, n, sizeof(*report->rows), by_held);
}

static struct row sum_of(const struct report *report)
{
	struct row sum = { 0 };

	for (size_t i = 0; i < report->n; i++) {
		sum.held_us += report->rows[i].held_us;
		sum.runs += report->rows[i].runs;
		sum.manuals += report->rows[i].manuals;
	}
	return sum;
}

static double percentage(const struct row *row, const struct row *sum)
{
	return sum->held_us ? 100.0 * (double)row->held_us / (double)sum->held_us : 0;
}

static double hours(const struct row *row)
{
	return (double)row->held_us / HOUR_US;
}

static void format_day(char dst[16], int64_t us)
{
	time_t t = (time_t)(us / USEC_PER_SEC);
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(dst, 16, "%Y-%m-%d", &tm);
}

static int print_json(const struct report *report)
{
	struct row sum = sum_of(report);
	_cleanup_(json_decrefp) json_t *users = json_array(), *object = NULL;
	char since[16], until[16];

	for (size_t i = 0; i < report->n; i++) {
		const struct row *row = &report->rows[i];

		json_array_append_new(users,
			json_pack("{ss sf sf sI sI}", "name", row->name, "gpu_hours", hours(row),
				"percentage", percentage(row, &sum), "run_count",
				(json_int_t)row->runs, "manual_count", (json_int_t)row->manuals));
	}
	format_day(since, report->since_us);
	format_day(until, report->until_us);
	object = json_pack("{sO sf sI sI ss ss sI}", "users", users, "total_gpu_hours", hours(&sum),
		"total_reservations", (json_int_t)(sum.runs + sum.manuals), "unique_users",
		(json_int_t)report->n, "start_date", since, "end_date", until, "days",
		(json_int_t)report->days);
	return cli_print_json(object) == EXIT_OK ? 0 : 1;
}

static void print_line(void)
{
	for (int i = 0; i < 75; i++)
		putchar('-');
	putchar('\n');
}

static void print_table(const struct report *report)
{
	struct row sum = sum_of(report);
	char since[16], until[16];

	format_day(since, report->since_us);
	format_day(until, report->until_us);
	printf("\n=== GPU Reservation Report ===\nPeriod: %s to %s (%" PRId64 " days)\n\n", since,
		until, report->days);
	printf("%-20s %15s %15s %10s %10s\n", "User", "GPU Hours", "Percentage", "Run", "Manual");
	print_line();
	for (size_t i = 0; i < report->n; i++) {
		const struct row *row = &report->rows[i];

		printf("%-20s %15.2f %14.1f%% %10" PRId64 " %10" PRId64 "\n", row->name, hours(row),
			percentage(row, &sum), row->runs, row->manuals);
	}
	print_line();
	printf("%-20s %15.2f %14s %10" PRId64 " %10" PRId64 "\n", "TOTAL", hours(&sum), "100.0%",
		sum.runs, sum.manuals);
	printf("\nTotal reservations: %" PRId64 "\nUnique users: %zu\n\n", sum.runs + sum.manuals,
		report->n);
}

int chg_report(struct chg *chg)
{
	_cleanup_(clear) struct report report = {
		.until_us = clock_wall(), .days = chg_int(chg, CHG_DAYS), .people = &chg->cli.people
	};

	if (report.days < 1 || report.days > DAYS_MAX)
		return chg_fail(
			"--days takes a number from 1 to %d, not %" PRId64, DAYS_MAX, report.days);
	report.since_us = MAX(report.until_us - report.days * DAY_US, 0);
	if (count_ended(chg, &report) != 0 || count_active(chg, &report) != 0 ||
		add_hours(chg, &report) != 0)
		return 1;
	if (report.failed)
		return chg_fail("out of memory");
	drop_empty(&report);
	if (chg_is(chg, CHG_JSON))
		return print_json(&report);
	print_table(&report);
	return 0;
}
