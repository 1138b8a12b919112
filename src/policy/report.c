/* SPDX-License-Identifier: MIT */
/*
 * Whoever waits for other answers must not wait for a report, so there is no long step at its end:
 * waiting times are sorted in runs of RUN while they come in, and what stands at a rank of all of
 * them is found by halving the range of values, counting in each run how many are not larger.
 */
#include "policy/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/strtab.h"
#include "base/text.h"
#include "policy/idset.h"

#define RUN        4096
#define ID_BITS    44 /* of a lease; the rest is for the number of the row */
#define HEADS_BITS 12

static const char *const bys[REPORT_BY_MAX] = {
	[REPORT_USER] = "user",
	[REPORT_GROUP] = "group",
	[REPORT_GPU] = "gpu",
	[REPORT_TYPE] = "type",
	[REPORT_KIND] = "kind",
};
DEFINE_STRTAB(report_by, enum report_by, bys)

struct line {
	struct report_row row;
	int64_t number; /* what key says in digits */
	int64_t *waits; /* owned; sorted in runs */
	size_t n_waits, allocated;
	size_t next; /* with the same hash, 0 = none */
};

struct report {
	enum report_by by;
	int64_t since_us, until_us;
	struct line *lines; /* owned; the first is the total */
	size_t n_lines, allocated;
	size_t heads[1 << HEADS_BITS]; /* by hash; 0 = none */
	struct idset leases;           /* of each line */
	bool sorted;
	size_t told; /* so many lines */
};

struct report *report_new(enum report_by by, int64_t since_us, int64_t until_us)
{
	struct report *report = calloc(1, sizeof(*report));

	if (!report)
		return NULL;
	report->lines = calloc(1, sizeof(*report->lines));
	if (!report->lines)
		return report_free(report);
	report->n_lines = report->allocated = 1;
	report->by = by;
	report->since_us = since_us;
	report->until_us = until_us;
	return report;
}

struct report *report_free(struct report *report)
{
	if (!report)
		return NULL;
	for (size_t i = 0; i < report->n_lines; i++)
		free(report->lines[i].waits);
	free(report->lines);
	idset_clear(&report->leases);
	free(report);
	return NULL;
}

/* What a line of the account is added to: a number or, if that is -1, a text. */
static int64_t number_of(enum report_by by, const struct usage *usage)
{
	if (by == REPORT_USER)
		return usage->uid;
	return by == REPORT_GROUP ? (int64_t)usage->gid : -1;
}

static const char *text_of(enum report_by by, const struct usage *usage)
{
	return by == REPORT_GPU    ? usage->gpu
	       : by == REPORT_TYPE ? usage->model
	       : by == REPORT_KIND ? lease_kind_to_string(usage->kind)
				   : "";
}

/* FNV-1a. */
static size_t hash(int64_t number, const char *text)
{
	uint32_t h = UINT32_C(2166136261) ^ (uint32_t)number;

	for (h *= UINT32_C(16777619); *text; text++)
		h = (h ^ (uint8_t)*text) * UINT32_C(16777619);
	return h >> (32 - HEADS_BITS);
}

/* The line for it, made if there is none; 0 without memory. */
static size_t line_for(struct report *report, const struct usage *usage)
{
	int64_t number = number_of(report->by, usage);
	const char *text = text_of(report->by, usage);
	size_t *head = &report->heads[hash(number, text)], i;
	struct line *line;

	for (i = *head; i; i = report->lines[i].next)
		if (report->lines[i].number == number &&
			(number >= 0 || strcmp(report->lines[i].row.key, text) == 0))
			return i;
	if (array_make_room(report->lines, report->n_lines, report->allocated) < 0)
		return 0;
	line = &report->lines[report->n_lines];
	*line = (struct line){ .number = number, .next = *head };
	if (number >= 0)
		snprintf(line->row.key, sizeof(line->row.key), "%" PRId64, number);
	else
		text_copy(line->row.key, sizeof(line->row.key), text);
	return *head = report->n_lines++;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int add_wait(struct line *line, int64_t us)
{
	if (array_make_room(line->waits, line->n_waits, line->allocated) < 0)
		return -ENOMEM;
	line->waits[line->n_waits++] = us;
	if (line->n_waits % RUN == 0)
		qsort(line->waits + line->n_waits - RUN, RUN, sizeof(*line->waits), by_size);
	return 0;
}

static int add_to(
	struct report *report, size_t i, const struct usage *usage, int64_t held_us, bool starts)
{
	int is_new = idset_add(&report->leases, (uint64_t)i << ID_BITS | (uint64_t)usage->lease);
	struct line *line = &report->lines[i];
	int64_t whole_us = usage->to_us - usage->from_us;

	if (is_new < 0 || (starts && is_new > 0 && add_wait(line, usage->waited_us) < 0))
		return -ENOMEM;
	line->row.leases += is_new;
	line->row.held_us += held_us;
	if (usage->used_us == USAGE_UNKNOWN)
		line->row.unknown_us += held_us;
	else if (whole_us > 0)
		line->row.used_us +=
			(int64_t)((__int128)MIN(usage->used_us, whole_us) * held_us / whole_us);
	return 0;
}

int report_add(struct report *report, const struct usage *usage)
{
	int64_t from_us = MAX(usage->from_us, report->since_us);
	int64_t to_us = MIN(usage->to_us, report->until_us);
	bool starts = usage->waited_us >= 0 && usage->from_us >= report->since_us &&
		      usage->from_us < report->until_us;
	size_t i;

	if (to_us <= from_us && !starts)
		return 0;
	i = line_for(report, usage);
	if (i == 0 || add_to(report, 0, usage, MAX(to_us - from_us, 0), starts) < 0)
		return -ENOMEM;
	return add_to(report, i, usage, MAX(to_us - from_us, 0), starts);
}

/* How many of a sorted run are not larger. */
static size_t count_run(const int64_t *run, size_t n, int64_t value)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (run[middle] <= value)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

static size_t count(const struct line *line, int64_t value)
{
	size_t n = 0;

	for (size_t i = 0; i < line->n_waits; i += RUN)
		n += count_run(line->waits + i, MIN(line->n_waits - i, (size_t)RUN), value);
	return n;
}

/* The wait at a rank, 1 = the shortest. */
static int64_t at_rank(const struct line *line, size_t rank)
{
	int64_t low = 0, high = 0;

	for (size_t i = 0; i < line->n_waits; i += RUN)
		high = MAX(high, line->waits[MIN(i + RUN, line->n_waits) - 1]);
	while (low < high) {
		int64_t middle = low + (high - low) / 2;

		if (count(line, middle) >= rank)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Of an even number the median is between the two in the middle. */
static void finish(struct line *line)
{
	size_t n = line->n_waits, last = n % RUN;

	line->row.waited_median_us = line->row.waited_95_us = -1;
	if (n == 0)
		return;
	qsort(line->waits + n - last, last, sizeof(*line->waits), by_size);
	line->row.waited_median_us = at_rank(line, (n + 1) / 2);
	if (n % 2 == 0)
		line->row.waited_median_us +=
			(at_rank(line, n / 2 + 1) - line->row.waited_median_us) / 2;
	line->row.waited_95_us = at_rank(line, (n * 95 + 99) / 100);
}

static int by_held(const void *a, const void *b)
{
	const struct report_row *x = &((const struct line *)a)->row;
	const struct report_row *y = &((const struct line *)b)->row;

	return x->held_us != y->held_us ? (x->held_us < y->held_us) - (x->held_us > y->held_us)
					: strcmp(x->key, y->key);
}

bool report_next(struct report *report, const struct report_row **ret)
{
	struct line *line;

	if (!report->sorted)
		qsort(report->lines + 1, report->n_lines - 1, sizeof(*report->lines), by_held);
	report->sorted = true;
	if (report->told == report->n_lines)
		return false;
	line = &report->lines[report->told++];
	finish(line);
	*ret = &line->row;
	return true;
}
