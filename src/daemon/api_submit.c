/* SPDX-License-Identifier: MIT */
/*
 * Handing in a batch job. What only its supervisor will read (the command, its environment and
 * files) is checked for its form and becomes the spec; nothing of it is looked at again here.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/text.h"
#include "daemon/api_ids.h"
#include "daemon/batch.h"
#include "daemon/job.h"
#include "daemon/jobs.h"
#include "daemon/watch.h"
#include "policy/admit.h"
#include "policy/transition.h"
#include "priv/supervisor.h"

#define TEXTS_MAX   100000 /* members of a list; what is in them, the spec bounds */
#define RETRIES_MAX 1000
#define UMASK_MAX   0777

struct submit_parameters {
	int64_t count, min_memory_mib, share_mib, duration_us;
	char *gpus, *types;
	const char *note, *command, *name;
	json_t *arguments, *environment, *limits, *after;
	const char *script, *directory, *output, *error, *setup, *venv, *indices, *on_limit;
	int64_t umask, parallel, begin, retries, grace_us, signal, signal_before_us, nice;
	bool held;
};

#define AT(member) offsetof(struct submit_parameters, member)
static const struct field submit_fields[] = {
	{ "count", FIELD_INT, AT(count), .min = 1, .max = 1000000 },
	{ "gpus", FIELD_STRINGS, AT(gpus), .max = GPU_MAX },
	{ "types", FIELD_STRINGS, AT(types), .max = 64 },
	{ "min_memory_mib", FIELD_INT, AT(min_memory_mib), .min = 1, .max = INT64_C(1) << 40 },
	{ "share_mib", FIELD_INT, AT(share_mib), .min = 1, .max = INT64_C(1) << 40 },
	{ "duration_us", FIELD_INT, AT(duration_us), .min = 1, .max = DURATION_MAX_US },
	{ "note", FIELD_STRING, AT(note), .max = REQUEST_NOTE_MAX },
	{ "command", FIELD_STRING, AT(command), .max = REQUEST_COMMAND_MAX },
	{ "name", FIELD_STRING, AT(name), .min = 1, .max = JOB_NAME_MAX },
	{ "arguments", FIELD_TEXTS, AT(arguments), .required = true, .max = TEXTS_MAX },
	{ "script", FIELD_STRING, AT(script), .min = 1, .max = JOB_SPEC_MAX },
	{ "directory", FIELD_STRING, AT(directory), .required = true, .min = 1, .max = 4095 },
	{ "environment", FIELD_TEXTS, AT(environment), .required = true, .max = TEXTS_MAX },
	{ "output", FIELD_STRING, AT(output), .min = 1, .max = 4095 },
	{ "error", FIELD_STRING, AT(error), .min = 1, .max = 4095 },
	{ "setup", FIELD_STRING, AT(setup), .max = JOB_SPEC_MAX },
	{ "venv", FIELD_STRING, AT(venv), .max = 4095 },
	{ "umask", FIELD_INT, AT(umask), .max = UMASK_MAX },
	{ "limits", FIELD_TEXTS, AT(limits), .max = 64 },
	{ "after", FIELD_TEXTS, AT(after), .max = JOB_NEEDS_MAX },
	{ "indices", FIELD_STRING, AT(indices), .min = 1, .max = 16384 },
	{ "parallel", FIELD_INT, AT(parallel), .min = 1, .max = INDICES_MAX },
	{ "begin", FIELD_INT, AT(begin), .min = 1, .max = INT64_MAX / 2 },
	{ "held", FIELD_BOOL, AT(held) },
	{ "retries", FIELD_INT, AT(retries), .max = RETRIES_MAX },
	{ "on_limit", FIELD_STRING, AT(on_limit), .max = 16 },
	{ "grace_us", FIELD_INT, AT(grace_us), .max = DURATION_MAX_US },
	{ "signal", FIELD_INT, AT(signal), .min = 1, .max = NSIG - 1 },
	{ "signal_before_us", FIELD_INT, AT(signal_before_us), .min = 1, .max = DURATION_MAX_US },
	{ "nice", FIELD_INT, AT(nice), .min = -100, .max = 100 },
};
#undef AT

static const struct submit_parameters submit_defaults = { .umask = -1, .grace_us = -1 };

/* --- the spec --- */

static struct verdict bad(const char *what)
{
	return verdict_make(VERDICT_INVALID, "job.bad-spec", "%s", what);
}

/* Security: a NUL would begin another field. (call_parse refuses them; this is where it matters.)
 */
static bool is_text(json_t *text)
{
	return strlen(json_string_value(text)) == json_string_length(text);
}

static struct verdict put_texts(struct fields_writer *spec, const char *key, json_t *texts,
	bool (*is_valid)(const char *text), const char *complaint)
{
	json_t *text;
	size_t i;

	json_array_foreach (texts, i, text) {
		if (!is_text(text) || (is_valid && !is_valid(json_string_value(text))))
			return bad(complaint);
		fields_put(spec, key, json_string_value(text));
	}
	return verdict_ok();
}

static bool is_variable(const char *text)
{
	const char *equals = strchr(text, '=');

	return equals && equals != text;
}

/* "nofile:1024" */
static bool is_limit(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz");
	uint64_t soft;

	return n > 0 && n < 16 && text[n] == ':' &&
	       (strcmp(text + n + 1, "unlimited") == 0 ||
		       parse_uint(text + n + 1, 0, UINT64_MAX, &soft) == 0);
}

static void put_optional(struct fields_writer *spec, const char *key, const char *value)
{
	if (value)
		fields_put(spec, key, value);
}

static struct verdict put_lists(struct fields_writer *spec, const struct submit_parameters *p)
{
	struct verdict v;

	if (json_array_size(p->arguments) == 0)
		return bad("a job needs a command");
	v = put_texts(spec, "arg", p->arguments, NULL, "an argument has a NUL byte");
	if (v.kind == VERDICT_OK)
		v = put_texts(spec, "env", p->environment, is_variable,
			"the environment must be a list of NAME=value");
	if (v.kind == VERDICT_OK)
		v = put_texts(spec, "limit", p->limits, is_limit,
			"limits are written as 'nofile:1024' or 'core:unlimited'");
	return v;
}

static struct verdict make_spec(const struct submit_parameters *p, struct fields_writer *spec)
{
	struct verdict v = put_lists(spec, p);
	char mode[16];

	if (v.kind != VERDICT_OK)
		return v;
	if (p->directory[0] != '/')
		return bad("the directory must be an absolute path");
	fields_put(spec, "dir", p->directory);
	put_optional(spec, "out", p->output);
	put_optional(spec, "err", p->error);
	put_optional(spec, "setup", p->setup);
	put_optional(spec, "venv", p->venv);
	put_optional(spec, "script", p->script);
	if (p->umask >= 0) {
		snprintf(mode, sizeof(mode), "%03o", (unsigned)p->umask);
		fields_put(spec, "umask", mode);
	}
	if (spec->size > JOB_SPEC_MAX)
		return verdict_make(VERDICT_INVALID, "job.too-large",
			"the command and its environment have %zu bytes together, at most %d are "
			"kept; leave some of the environment out",
			spec->size, JOB_SPEC_MAX);
	return v;
}

/* --- the job --- */

static int copy_text(const char *s, char **ret)
{
	*ret = s ? strdup(s) : NULL;
	if (s && !*ret)
		return -ENOMEM;
	if (s)
		text_sanitize(*ret);
	return 0;
}

static int fill_request(const struct submit_parameters *p, struct request *request)
{
	request->count = (unsigned)p->count;
	request->min_memory_mib = (uint64_t)p->min_memory_mib;
	request->share_mib = (uint64_t)p->share_mib;
	request->duration_us = p->duration_us ? p->duration_us : TIME_NEVER;
	request->wait_us = TIME_NEVER;
	return copy_text(p->types, &request->types) < 0 || copy_text(p->note, &request->note) < 0 ||
			       copy_text(p->command, &request->command) < 0
		       ? -ENOMEM
		       : 0;
}

static int fill_job(const struct manager *m, const struct submit_parameters *p, struct job *job)
{
	const char *first = json_string_value(json_array_get(p->arguments, 0));
	const char *slash = first ? strrchr(first, '/') : NULL;
	char name[JOB_NAME_MAX + 1];

	text_copy(name, sizeof(name), p->name ? p->name : slash ? slash + 1 : first ? first : "");
	if (copy_text(name[0] ? name : "job", &job->name) < 0)
		return -ENOMEM;
	job->grace_us = p->grace_us;
	job->warn_signal = (int)p->signal;
	job->warn_us = p->signal_before_us;
	job->nice = (int)p->nice;
	job->retries = (unsigned)p->retries;
	job->held = p->held;
	job->parallel = (unsigned)p->parallel;
	job->begin_us = p->begin ? MAX(p->begin - clock_to_wall_offset(&m->clock), 1) : 0;
	if (job->begin_us <= clock_now(&m->clock))
		job->begin_us = 0;
	return 0;
}

static struct verdict check_indices(const struct submit_parameters *p, struct job *job)
{
	int r;

	if (!p->indices)
		return p->parallel ? bad("how many run at a time can be said of an array only")
				   : verdict_ok();
	job->is_array = true;
	r = indices_parse(p->indices, &job->pending);
	if (r == -EEXIST)
		return bad("an index of the array is listed twice");
	if (r == -ERANGE)
		return verdict_make(VERDICT_INVALID, "job.large-array",
			"an array has at most %d elements in %d ranges, with indices up to "
			"%" PRId64,
			INDICES_MAX, INDICES_RANGES_MAX, INDICES_INDEX_MAX);
	if (r < 0)
		return bad("the indices of an array are written as 0-9,12 or 0-100:10");
	return verdict_ok();
}

static struct verdict check_times(
	const struct manager *m, const struct submit_parameters *p, struct lease *lease)
{
	char most[DURATION_TEXT_SIZE];

	if (p->on_limit) {
		lease->job->on_limit = job_limit_from_string(p->on_limit);
		if (lease->job->on_limit < 0)
			return bad("on_limit must be kill, requeue or suspend");
	}
	format_duration(most, m->config->jobs_max_grace_us);
	if (p->grace_us > m->config->jobs_max_grace_us)
		return verdict_make(VERDICT_REFUSED, "limit.grace",
			"the time between TERM and KILL may be at most %s here", most);
	if ((p->signal != 0) != (p->signal_before_us != 0))
		return bad("a signal before the limit needs both, signal and signal_before_us");
	if (p->signal && lease->request.duration_us == TIME_NEVER)
		return bad("a signal before the limit needs a time limit; give one with -t");
	return verdict_ok();
}

/* --- what it starts after --- */

/* "41", "41:ok" */
static int parse_need(const char *text, struct job_need *ret)
{
	char copy[48], *on = copy;
	uint64_t id;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	text_copy(copy, sizeof(copy), text);
	if (parse_uint(strsep(&on, ":"), 1, INT64_MAX, &id) < 0)
		return -EINVAL;
	*ret = (struct job_need){ (int64_t)id, on ? job_need_on_from_string(on) : JOB_NEED_OK };
	return (int)ret->on < 0 ? -EINVAL : 0;
}

/* One that has ended already counts at once. */
static struct verdict meet_ended(
	struct manager *m, struct lease *lease, int64_t id, int *ret_r, struct error *err)
{
	const struct job_address address = { id, -1 };
	_cleanup_(lease_freep) struct lease *ended = NULL;

	if (api_find_lease(m, id) || api_find_ending(m, &address))
		return verdict_ok();
	*ret_r = api_find_ended(m, &address, &ended, err);
	if (*ret_r < 0)
		return verdict_ok();
	if (!ended)
		return verdict_make(VERDICT_INVALID, "job.unknown-need",
			"there never was a job #%" PRId64 " to start after", id);
	if (transition_need(lease, ended) == NEED_BROKEN)
		return verdict_make(VERDICT_REFUSED, "job.broken-need",
			"job #%" PRId64 " has %s already, so this one could never start", id,
			transition_ended_well(ended) ? "ended well" : "not ended well");
	return verdict_ok();
}

static struct verdict check_needs(struct manager *m, const struct submit_parameters *p,
	struct lease *lease, int *ret_r, struct error *err)
{
	struct job *job = lease->job;
	struct verdict v = verdict_ok();
	json_t *text;
	size_t i;

	if (json_array_size(p->after) == 0)
		return v;
	job->needs = calloc(json_array_size(p->after), sizeof(*job->needs));
	if (!job->needs) {
		*ret_r = -ENOMEM;
		return v;
	}
	json_array_foreach (p->after, i, text) {
		struct job_need *need = &job->needs[job->n_needs];

		if (parse_need(json_string_value(text), need) < 0)
			return bad("what it starts after is written as 41, 41:ok, 41:fail or "
				   "41:any");
		job->n_needs++;
		v = meet_ended(m, lease, need->id, ret_r, err);
		if (v.kind != VERDICT_OK || *ret_r < 0)
			return v;
	}
	return v;
}

/* --- all of it --- */

static struct verdict check_power(const struct manager *m, const struct lease *lease)
{
	if (m->root || lease->uid == geteuid())
		return jobs_can_start(m);
	return verdict_make(VERDICT_REFUSED, "job.no-power",
		"this dibsd does not run as root, so it can run jobs of its own user alone");
}

/* Security: as with nice(1), everybody may stand back, and few push to the front. */
static struct verdict check_nice(const struct connection *c, const struct job *job)
{
	const struct actor actor = connection_actor(c);

	if (job->nice >= 0 || actor.admin)
		return verdict_ok();
	return verdict_make(VERDICT_REFUSED, "limit.nice",
		"only administrators can put a job before those of others; give a niceness of 0 or "
		"more");
}

static struct verdict check(struct manager *m, const struct submit_parameters *p,
	struct lease *lease, int *ret_r, struct error *err)
{
	const struct admit_limits limits = {
		.max_hold_us = m->config->max_hold_us,
		.max_job_us =
			m->config->jobs_max_time_us ? m->config->jobs_max_time_us : TIME_NEVER,
		.share = m->config->share_enabled,
		.requests_per_user = m->config->requests_per_user,
		.requests = m->config->requests,
	};
	struct verdict v = check_power(m, lease);

	if (v.kind == VERDICT_OK && p->gpus)
		v = admit_resolve(m->pool, p->gpus, &lease->request.gpus);
	if (v.kind == VERDICT_OK && p->gpus && !lease->request.gpus)
		*ret_r = -ENOMEM;
	if (p->count == 0 && !p->gpus)
		lease->request.count = 1;
	if (v.kind == VERDICT_OK && *ret_r >= 0)
		v = admit_check(
			m->pool, &limits, LEASE_JOB, lease->uid, &lease->request, &lease->eligible);
	if (v.kind == VERDICT_OK)
		v = check_times(m, p, lease);
	if (v.kind == VERDICT_OK)
		v = check_indices(p, lease->job);
	if (v.kind == VERDICT_OK && *ret_r >= 0)
		v = check_needs(m, p, lease, ret_r, err);
	return v;
}

static int enqueue(struct manager *m, struct lease *lease)
{
	int r = lease->job->is_array ? 0 : job_place(m, lease);

	lease->state = LEASE_WAITING;
	lease->submitted_us = clock_now(&m->clock);
	lease->attached = true;
	if (r >= 0)
		r = watch_new(m, lease);
	if (r < 0)
		return r;
	r = pool_add(m->pool, lease);
	if (r < 0) {
		watch_free(lease);
		return r;
	}
	m->next_id++;
	batch_touch(m, lease);
	batch_want_pass(m);
	return 0;
}

static struct lease *make(const struct manager *m, const struct connection *c)
{
	_cleanup_(lease_freep) struct lease *lease = lease_new();

	if (!lease || !(lease->job = job_new()))
		return NULL;
	lease->id = lease->turn = m->next_id;
	lease->kind = LEASE_JOB;
	lease->uid = c->uid;
	lease->gid = c->gid;
	return TAKE_PTR(lease);
}

static int submit(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct submit_parameters *p = parameters;
	_cleanup_(fields_writer_clear) struct fields_writer spec = { 0 };
	_cleanup_(lease_freep) struct lease *lease = make(m, c);
	struct verdict v = make_spec(p, &spec);
	int r = 0;

	if (!lease || spec.failed || fill_request(p, &lease->request) < 0 ||
		fill_job(m, p, lease->job) < 0)
		return -ENOMEM;
	if (v.kind == VERDICT_OK)
		v = check_nice(c, lease->job);
	if (v.kind == VERDICT_OK)
		v = check(m, p, lease, &r, err);
	if (r < 0)
		return r;
	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	lease->job->spec = TAKE_PTR(spec.text);
	lease->job->spec_size = spec.size;
	r = enqueue(m, lease);
	if (r < 0)
		return r;
	connection_reply(c, json_pack("{s:o}", "lease", api_view_lease(m, lease)));
	TAKE_PTR(lease);
	return 0;
}

const struct method api_submit_methods[] = {
	{ "org.dibs.Submit", false, true, submit_fields, ELEMENTSOF(submit_fields),
		sizeof(struct submit_parameters), &submit_defaults, submit },
	{ 0 },
};
