/* SPDX-License-Identifier: MIT */
/*
 * Report and History: what was. Everybody may ask, as everybody sees at any time who holds what.
 *
 * When the last line of the account was read, what is open is added in the same step: a line that
 * is filed in between is neither missed nor counted twice.
 */
#include "daemon/api_report.h"

#include <errno.h>
#include <sys/queue.h>

#include "base/parse.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/step.h"
#include "daemon/usage.h"
#include "policy/report.h"
#include "proto/view.h"

#define STEP_US     (2 * USEC_PER_MSEC) /* between two rounds of the loop */
#define LINES       256                 /* read at once */
#define CALLS_MAX   2                   /* of one user; they come in turn */
#define HISTORY_MAX 1000
#define TIME_MAX    (INT64_MAX / 4) /* neither clock nor sums of times overflow */

/* A call that is not answered yet. */
struct call_report {
	STAILQ_ENTRY(call_report) link;
	struct connection *connection; /* borrowed; see reports_forget */
	enum report_by by;
	int64_t since_us, until_us; /* ledger time */
	struct report *report;      /* owned; NULL = not begun */
	int64_t cursor;
	bool read;
	json_t *rows, *total; /* owned */
};

struct reports {
	STAILQ_HEAD(, call_report) calls;
	sd_event_source *step;
};

static void call_free(struct call_report *call)
{
	report_free(call->report);
	json_decref(call->rows);
	json_decref(call->total);
	free(call);
}

static json_t *known(int64_t us)
{
	return us < 0 ? json_null() : json_integer(us);
}

static json_t *view_row(const struct report_row *row)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "key", row->key, "leases",
		(json_int_t)row->leases, "held_us", (json_int_t)row->held_us, "used_us",
		(json_int_t)row->used_us, "idle_us",
		(json_int_t)(row->held_us - row->used_us - row->unknown_us), "waited_median_us",
		known(row->waited_median_us), "waited_95_us", known(row->waited_95_us));
}

static int add(const struct usage *usage, void *userdata)
{
	return report_add(userdata, usage);
}

/* Reads some more lines; after the last, what is open. */
static int read_on(struct manager *m, struct call_report *call, struct error *err)
{
	int r = m->store->ops->usage_between(m->store, call->since_us, call->until_us,
		&call->cursor, LINES, add, call->report, err);

	if (r != 0)
		return r;
	call->read = true;
	return usage_open(m, add, call->report);
}

/* Returns 1 while there is more to do. */
static int go_on(struct manager *m, struct call_report *call, struct error *err)
{
	const struct report_row *row;
	json_t *view;
	int r;

	if (!call->report) {
		call->report = report_new(call->by, call->since_us, call->until_us);
		call->rows = json_array();
	}
	if (!call->report || !call->rows)
		return -ENOMEM;
	if (!call->read) {
		r = read_on(m, call, err);
		return r < 0 ? r : 1;
	}
	if (!report_next(call->report, &row))
		return 0;
	view = view_row(row);
	if (!call->total) /* the first */
		return (call->total = view) ? 1 : -ENOMEM;
	return json_array_append_new(call->rows, view) < 0 ? -ENOMEM : 1;
}

static void answer(struct manager *m, struct call_report *call, int r, struct error *err)
{
	if (r == 0) {
		connection_reply(
			call->connection, json_pack("{s:O, s:O, s:i}", "rows", call->rows, "total",
						  call->total, "gpus", (int)m->pool->n_gpus));
		return;
	}
	if (!err->id)
		error_errno(err, r, "report.failed", "the report failed");
	connection_fault(call->connection, err);
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct call_report *call = STAILQ_FIRST(&m->reports->calls);
	int64_t until_us = clock_now(&m->clock) + STEP_US;
	struct error err = { 0 };
	int r = 1;

	if (!call)
		return 0;
	while (r > 0 && clock_now(&m->clock) < until_us)
		r = go_on(m, call, &err);
	if (r <= 0) {
		answer(m, call, r, &err);
		STAILQ_REMOVE_HEAD(&m->reports->calls, link);
		call_free(call);
	}
	return step_again(m, source);
}

void reports_forget(struct manager *m, const struct connection *connection)
{
	struct call_report *call;

	STAILQ_FOREACH(call, &m->reports->calls, link)
	if (call->connection == connection)
		break;
	if (!call)
		return;
	STAILQ_REMOVE(&m->reports->calls, call, call_report, link);
	call_free(call);
}

int reports_new(struct manager *m, struct reports **ret)
{
	struct reports *reports = calloc(1, sizeof(*reports));
	int r;

	if (!reports)
		return -ENOMEM;
	*ret = reports;
	STAILQ_INIT(&reports->calls);
	r = step_new(m, &reports->step, on_step);
	/* After what clients ask for: connections have the priority of their rank. */
	return r < 0 ? r : sd_event_source_set_priority(reports->step, SD_EVENT_PRIORITY_IDLE - 1);
}

struct reports *reports_free(struct reports *reports)
{
	if (!reports)
		return NULL;
	while (!STAILQ_EMPTY(&reports->calls)) {
		struct call_report *call = STAILQ_FIRST(&reports->calls);

		STAILQ_REMOVE_HEAD(&reports->calls, link);
		call_free(call);
	}
	sd_event_source_disable_unref(reports->step);
	free(reports);
	return NULL;
}

struct report_parameters {
	int64_t since_us, until_us;
	const char *by;
};

#define AT(member) offsetof(struct report_parameters, member)
static const struct field report_fields[] = {
	{ "since", FIELD_INT, AT(since_us), .required = true, .max = TIME_MAX },
	{ "until", FIELD_INT, AT(until_us), .required = true, .max = TIME_MAX },
	{ "by", FIELD_STRING, AT(by), .required = true, .max = 16 },
};
#undef AT

static struct verdict check_report(
	const struct manager *m, const struct connection *c, const struct report_parameters *p)
{
	const struct call_report *call;
	unsigned n = 0;

	if (p->since_us >= p->until_us)
		return verdict_make(
			VERDICT_INVALID, "report.window", "a report must end after it begins");
	STAILQ_FOREACH(call, &m->reports->calls, link)
	n += call->connection->account == c->account;
	/* Security: one user must not keep all others from theirs. */
	if (n >= CALLS_MAX)
		return verdict_make(VERDICT_NOT_FREE, "limit.reports",
			"%d reports of yours are being made already; try again when they are done",
			CALLS_MAX);
	return verdict_ok();
}

static int report(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct report_parameters *p = parameters;
	int64_t offset_us = clock_to_wall_offset(&m->clock);
	enum report_by by = report_by_from_string(p->by);
	struct verdict v = check_report(m, c, p);
	struct call_report *call;

	if (by == REPORT_BY_INVALID) {
		connection_error(c, "org.varlink.service.InvalidParameter",
			json_pack("{s:s, s:s}", "parameter", "by", "message",
				"by must be user, group, gpu, type or kind"));
		return 0;
	}
	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->connection = c;
	call->by = by;
	call->since_us = p->since_us - offset_us;
	call->until_us = p->until_us - offset_us;
	STAILQ_INSERT_TAIL(&m->reports->calls, call, link);
	return step_start(m->reports->step);
}

struct history_parameters {
	int64_t before, uid, since_us, limit;
};

#define AT(member) offsetof(struct history_parameters, member)
static const struct field history_fields[] = {
	{ "before", FIELD_INT, AT(before), .min = 1, .max = INT64_MAX },
	{ "uid", FIELD_INT, AT(uid), .max = UINT32_MAX - INT64_C(1) },
	{ "since", FIELD_INT, AT(since_us), .max = TIME_MAX },
	{ "limit", FIELD_INT, AT(limit), .required = true, .min = 1, .max = HISTORY_MAX },
};
#undef AT

static const struct history_parameters history_defaults = { .uid = (uid_t)-1, .since_us = -1 };

/* The leases of one page, and whether there is another. */
struct page {
	const struct manager *m; /* borrowed */
	json_t *leases;          /* borrowed */
	size_t limit;
	bool more;
};

static int add_lease(const struct lease *lease, void *userdata)
{
	struct page *page = userdata;

	page->more = json_array_size(page->leases) == page->limit;
	if (page->more)
		return 0;
	return json_array_append_new(page->leases,
		       view_lease(page->m->pool, lease, 0, clock_to_wall_offset(&page->m->clock))) <
			       0
		       ? -ENOMEM
		       : 0;
}

static int history(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct history_parameters *p = parameters;
	_cleanup_(json_decrefp) json_t *leases = json_array();
	struct page page = { .m = m, .leases = leases, .limit = (size_t)p->limit };
	int64_t since_us = p->since_us < 0 ? 0 : p->since_us - clock_to_wall_offset(&m->clock);
	int r = m->store->ops->history(m->store, m->pool, p->before, (uid_t)p->uid, since_us,
		(unsigned)p->limit + 1, add_lease, &page, err);

	if (r < 0)
		return r;
	connection_reply(c, json_pack("{s:O, s:b}", "leases", leases, "more", page.more));
	return 0;
}

const struct method api_report_methods[] = {
	{ "org.dibs.Report", false, false, report_fields, ELEMENTSOF(report_fields),
		sizeof(struct report_parameters), NULL, report },
	{ "org.dibs.History", false, false, history_fields, ELEMENTSOF(history_fields),
		sizeof(struct history_parameters), &history_defaults, history },
	{ 0 },
};
