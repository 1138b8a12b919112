/* SPDX-License-Identifier: MIT */
#include "mgpu/demand.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "model/gpuset.h"

#define ID        "mgpu.demand"
#define LIMIT_MAX (DURATION_MAX_US / USEC_PER_SEC)

/* NULL and null are the same. */
static json_t *value_of(json_t *json, const char *name)
{
	json_t *value = json_object_get(json, name);

	return json_is_null(value) ? NULL : value;
}

static int read_int(
	json_t *json, const char *name, int64_t min, int64_t max, int64_t *ret, struct error *err)
{
	json_t *value = value_of(json, name);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < min ||
		json_integer_value(value) > max)
		return error_set(err, -EINVAL, ID,
			"'%s' has to be a whole number from %" PRId64 " to %" PRId64, name, min,
			max);
	*ret = json_integer_value(value);
	return 0;
}

static int read_text(json_t *json, const char *name, const char **ret, struct error *err)
{
	json_t *value = value_of(json, name);

	if (value && !json_is_string(value))
		return error_set(err, -EINVAL, ID, "'%s' has to be a text", name);
	*ret = json_string_value(value);
	return 0;
}

static int read_gpus(json_t *json, struct demand *d, struct error *err)
{
	int64_t n = 0;

	if (read_int(json, "gpus", 1, GPU_MAX, &n, err) < 0)
		return -EINVAL;
	snprintf(d->gpus, sizeof(d->gpus), "%" PRId64, n);
	d->job.gpus = n ? d->gpus : NULL;
	return 0;
}

/* One more; in a list of the command line it would be several if it had a comma. */
static int add_gpu_id(FILE *out, json_t *id, struct error *err)
{
	const char *text = json_string_value(id);

	if (json_is_integer(id))
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
	else if (text && *text && !strchr(text, ','))
		fputs(text, out);
	else
		return error_set(err, -EINVAL, ID, "'gpu_ids' has to be a list as [\"0\", \"1\"]");
	return 0;
}

static int read_gpu_ids(json_t *json, struct demand *d, struct error *err)
{
	json_t *list = value_of(json, "gpu_ids"), *id;
	size_t size, i;
	FILE *out;
	int r = 0;

	if (!list)
		return 0;
	if (json_array_size(list) == 0)
		return error_set(err, -EINVAL, ID, "'gpu_ids' has to be a list as [\"0\", \"1\"]");
	out = open_memstream(&d->gpu_ids, &size);
	if (!out)
		return cli_no_memory(err);
	json_array_foreach (list, i, id) {
		if (i > 0)
			fputc(',', out);
		if (r == 0)
			r = add_gpu_id(out, id, err);
	}
	if (fclose(out) != 0)
		return cli_no_memory(err);
	d->job.gpu_ids = d->gpu_ids;
	return r;
}

static int read_command(json_t *json, struct demand *d, struct error *err)
{
	const char *line = NULL;

	if (read_text(json, "cmdline", &line, err) < 0)
		return -EINVAL;
	if (!line || line[strspn(line, " \t\n")] == '\0')
		return error_set(err, -EINVAL, ID, "'cmdline' is missing: there is no command");
	d->line = strdup(line);
	if (!d->line)
		return cli_no_memory(err);
	d->words[0] = d->line;
	d->job.words = d->words;
	d->job.n_words = 1;
	return 0;
}

static int read_submit(json_t *json, int64_t most_sec, struct demand *d, struct error *err)
{
	struct mgpu_job *job = &d->job;
	int r = read_gpus(json, d, err);

	job->remote = true;
	if (r == 0)
		r = read_gpu_ids(json, d, err);
	if (r == 0 && !job->gpus && !job->gpu_ids)
		r = error_set(err, -EINVAL, ID, "'gpus' is missing: how many?");
	if (r == 0)
		r = read_int(json, "mem", 1, INT32_MAX, &job->mem_mib, err);
	if (r == 0)
		r = read_int(json, "time_limit", 1, LIMIT_MAX, &job->limit_sec, err);
	if (r == 0)
		r = read_int(json, "priority", INT32_MIN, INT32_MAX, &job->priority, err);
	if (r == 0)
		r = read_text(json, "env_setup_cmd", &job->setup, err);
	if (r == 0)
		r = read_command(json, d, err);
	if (most_sec && (job->limit_sec == 0 || job->limit_sec > most_sec))
		job->limit_sec = most_sec;
	d->interactive = json_is_true(json_object_get(json, "interactive"));
	return r;
}

static int read_cancel(json_t *json, struct demand *d, struct error *err)
{
	const char *id = NULL;

	if (read_text(json, "job_id", &id, err) < 0)
		return -EINVAL;
	return mgpu_parse_id(id ? id : "", &d->lease, err);
}

int demand_read(json_t *json, int64_t most_sec, struct demand *ret, struct error *err)
{
	const char *cmd = json_string_value(json_object_get(json, "cmd"));

	*ret = (struct demand){ .kind = DEMAND_QUEUE };
	if (cmd && strcmp(cmd, "submit") == 0) {
		ret->kind = DEMAND_SUBMIT;
		return read_submit(json, most_sec, ret, err);
	}
	if (cmd && strcmp(cmd, "cancel") == 0) {
		ret->kind = DEMAND_CANCEL;
		return read_cancel(json, ret, err);
	}
	if (!cmd || strcmp(cmd, "queue") != 0)
		return error_set(err, -EINVAL, ID, "unknown command");
	return 0;
}

void demand_clear(struct demand *demand)
{
	free(demand->gpu_ids);
	free(demand->line);
	*demand = (struct demand){ 0 };
}
