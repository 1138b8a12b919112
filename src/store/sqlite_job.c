/* SPDX-License-Identifier: MIT */
/*
 * What a lease has as a job to a row of table job and back, and its spec to a row of table spec.
 * A job that is stored again as it was costs nothing: SQLite writes no page that did not change.
 */
#include "store/sqlite_row.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"

/* A need is ID:WORD; they lie between commas. */
#define NEEDS_SIZE (JOB_NEEDS_MAX * sizeof("9223372036854775807:fail,"))

static void format_needs(const struct job *job, char dst[NEEDS_SIZE])
{
	size_t n = 0;

	assert(job->n_needs <= JOB_NEEDS_MAX);
	dst[0] = '\0';
	for (size_t i = 0; i < job->n_needs; i++)
		n += (size_t)snprintf(dst + n, NEEDS_SIZE - n, "%s%" PRId64 ":%s", i > 0 ? "," : "",
			job->needs[i].id, job_need_on_to_string(job->needs[i].on));
}

/* One piece, which is changed. */
static int parse_need(char *piece, struct job_need *need)
{
	char *id = strsep(&piece, ":");
	uint64_t number = 0;
	int r = parse_uint(id, 1, INT64_MAX, &number);

	need->id = (int64_t)number;
	need->on = piece ? job_need_on_from_string(piece) : JOB_NEED_ON_INVALID;
	return r < 0 ? r : MIN((int)need->on, 0);
}

static int parse_needs(const char *s, struct job *job)
{
	_cleanup_(freep) char *copy = strdup(s);
	char *cursor = copy;

	if (!copy)
		return -ENOMEM;
	if (!*copy)
		return 0;
	job->needs = calloc(JOB_NEEDS_MAX, sizeof(*job->needs));
	if (!job->needs)
		return -ENOMEM;
	for (char *piece; (piece = text_next(&cursor));) {
		int r = job->n_needs == JOB_NEEDS_MAX
				? -E2BIG
				: parse_need(piece, &job->needs[job->n_needs]);

		if (r < 0)
			return r;
		job->n_needs++;
	}
	return 0;
}

static void bind_job(
	struct row *row, const struct lease *lease, const char *needs, const char *pending)
{
	const struct job *job = lease->job;

	row_put_int(row, lease->id);
	row_put_text(row, job->name);
	row_put_text(row, job_limit_to_string(job->on_limit));
	row_put_int(row, job->grace_us);
	row_put_int(row, job->warn_signal);
	row_put_int(row, job->warn_us);
	row_put_int(row, job->nice);
	row_put_int(row, job->retries);
	row_put_text(row, needs);
	row_put_int(row, job->begin_us);
	row_put_int(row, job->held);
	row_put_int(row, job->is_array);
	row_put_text(row, pending);
	row_put_int(row, job->parallel);
	row_put_int(row, job->n_active);
	row_put_int(row, job->n_ok);
	row_put_int(row, job->n_failed);
	row_put_int(row, job->array);
	row_put_int(row, job->index);
	row_put_int(row, job->restarts);
	row_put_int(row, job->pinned);
	row_put_int(row, job->suspended);
	row_put_text(row, job_then_to_string(job->then));
	row_put_int(row, job->warned);
	row_put_int(row, job->exit_status);
	row_put_int(row, job->exit_signal);
	row_put_text(row, job->reason);
	row_put_text(row, job->log);
	row_put_int(row, job->log_offset);
}

static void read_job(struct row *row, struct job *job)
{
	const char *pending;

	job->name = row_get_string(row);
	row_check(row, job->name ? 0 : -EINVAL);
	job->on_limit = row_get_enum(row, job_limit_from_string(row_get_text(row)));
	job->grace_us = row_get_int(row);
	job->warn_signal = (int)row_get_int(row);
	job->warn_us = row_get_int(row);
	job->nice = (int)row_get_int(row);
	job->retries = (unsigned)row_get_int(row);
	row_check(row, parse_needs(row_get_text(row), job));
	job->begin_us = row_get_int(row);
	job->held = row_get_int(row) != 0;
	job->is_array = row_get_int(row) != 0;
	pending = row_get_text(row);
	row_check(row, *pending ? indices_parse(pending, &job->pending) : 0);
	job->parallel = (unsigned)row_get_int(row);
	job->n_active = (unsigned)row_get_int(row);
	job->n_ok = (unsigned)row_get_int(row);
	job->n_failed = (unsigned)row_get_int(row);
	job->array = row_get_int(row);
	job->index = row_get_int(row);
	job->restarts = (unsigned)row_get_int(row);
	job->pinned = row_get_int(row) != 0;
	job->suspended = row_get_int(row) != 0;
	job->then = row_get_enum(row, job_then_from_string(row_get_text(row)));
	job->warned = row_get_int(row) != 0;
	job->exit_status = (int)row_get_int(row);
	job->exit_signal = (int)row_get_int(row);
	text_copy(job->reason, sizeof(job->reason), row_get_text(row));
	job->log = row_get_string(row);
	job->log_offset = row_get_int(row);
}

void sqlite_read_job(struct row *row, struct lease *lease)
{
	if (lease->kind != LEASE_JOB)
		return;
	if (row_get_int(row) != lease->id) {
		row_check(row, -EUCLEAN);
		return;
	}
	lease->job = job_new();
	if (lease->job)
		read_job(row, lease->job);
	else
		row_check(row, -ENOMEM);
}

static int put_spec(struct sqlite *s, const struct lease *lease, struct error *err)
{
	struct row row = row_of(s, STATEMENT_PUT_SPEC);

	row_put_int(&row, lease->id);
	row_put_bytes(&row, lease->job->spec, lease->job->spec_size);
	return sqlite_write(s, STATEMENT_PUT_SPEC, err);
}

int sqlite_put_job(struct sqlite *s, const struct lease *lease, struct error *err)
{
	_cleanup_(freep) char *pending = indices_format(&lease->job->pending);
	struct row row = row_of(s, STATEMENT_PUT_JOB);
	char needs[NEEDS_SIZE];
	int r;

	if (!pending) {
		s->failed = true;
		return error_set(
			err, -ENOMEM, "store.memory", "no memory left to write %s", s->path);
	}
	format_needs(lease->job, needs);
	bind_job(&row, lease, needs, pending);
	r = sqlite_write(s, STATEMENT_PUT_JOB, err);
	return r == 0 && lease->job->spec ? put_spec(s, lease, err) : r;
}

int sqlite_get_spec(
	struct store *store, int64_t id, char **ret, size_t *ret_size, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_SPEC];
	struct row bound = { .query = query }, row = { .query = query };
	char *spec = NULL;
	size_t size = 0;
	int r;

	row_put_int(&bound, id);
	r = sqlite_next(s, query, err);
	if (r > 0) {
		spec = row_get_bytes(&row, &size);
		r = row_result(s, &row, "spec", err);
	}
	if (r < 0)
		return r;
	*ret = spec;
	*ret_size = size;
	return 0;
}

int sqlite_forget_spec(struct store *store, int64_t id, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	struct row row = row_of(s, STATEMENT_DROP_SPEC);

	row_put_int(&row, id);
	return sqlite_write(s, STATEMENT_DROP_SPEC, err);
}

int sqlite_find_element(
	struct store *store, int64_t array, int64_t index, int64_t *ret_id, struct error *err)
{
	struct sqlite *s = (struct sqlite *)store;
	_cleanup_(sqlite_resetp) sqlite3_stmt *query = s->statements[STATEMENT_GET_ELEMENT];
	struct row bound = { .query = query }, row = { .query = query };
	int r;

	row_put_int(&bound, array);
	row_put_int(&bound, index);
	r = sqlite_next(s, query, err);
	if (r < 0)
		return r;
	*ret_id = r > 0 ? row_get_int(&row) : 0;
	return 0;
}
