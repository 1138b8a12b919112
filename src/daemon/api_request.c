/* SPDX-License-Identifier: MIT */
/*
 * Asking for GPUs. The handler only puts a waiting lease into the pool; whether it starts at once
 * is decided with everything else of the same batch, and its client is told after the commit
 * (api_request_tell).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "daemon/adopt.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/watch.h"
#include "policy/admit.h"
#include "policy/queue.h"
#include "proto/view.h"

#define BLOCKERS_MAX 8    /* leases named as being in the way */
#define TYPES_MAX    1000 /* bytes of all type names */
#define NESTED_MAX   8    /* runs within runs */
#define POSITION_MAX 16   /* further back, changes of the place in the queue are not pushed */

struct request_parameters {
	const char *kind;
	int64_t count, min_memory_mib, duration_us, wait_us;
	char *gpus, *types;
	bool force, with_process;
	json_t *adopt;
	const char *note, *command;
};

#define AT(member) offsetof(struct request_parameters, member)
static const struct field request_fields[] = {
	{ "kind", FIELD_STRING, AT(kind), .required = true, .max = 16 },
	{ "count", FIELD_INT, AT(count), .min = 1, .max = 1000000 },
	{ "gpus", FIELD_STRINGS, AT(gpus), .max = GPU_MAX },
	{ "types", FIELD_STRINGS, AT(types), .max = 64 },
	{ "min_memory_mib", FIELD_INT, AT(min_memory_mib), .min = 1, .max = INT64_C(1) << 40 },
	{ "duration_us", FIELD_INT, AT(duration_us), .min = 1, .max = DURATION_MAX_US },
	{ "wait_us", FIELD_INT, AT(wait_us), .max = DURATION_MAX_US },
	{ "force", FIELD_BOOL, AT(force) },
	{ "with_process", FIELD_BOOL, AT(with_process) },
	{ "adopt", FIELD_INTS, AT(adopt), .min = 1, .max = INT32_MAX },
	{ "note", FIELD_STRING, AT(note), .max = REQUEST_NOTE_MAX },
	{ "command", FIELD_STRING, AT(command), .max = REQUEST_COMMAND_MAX },
};
#undef AT

static const struct request_parameters request_defaults = { .wait_us = -1 };

static int copy_text(const char *s, char **ret)
{
	if (!s)
		return 0;
	*ret = strdup(s);
	if (!*ret)
		return -ENOMEM;
	text_sanitize(*ret);
	return 0;
}

/* The request as the model has it, apart from the list of GPUs. */
static int fill_request(const struct manager *m, const struct request_parameters *p,
	enum lease_kind kind, struct request *request)
{
	request->count = (unsigned)p->count;
	request->min_memory_mib = (uint64_t)p->min_memory_mib;
	request->duration_us = p->duration_us                           ? p->duration_us
			       : kind == LEASE_HOLD && !p->with_process ? m->config->default_hold_us
									: TIME_NEVER;
	request->bound = p->with_process ? BOUND_PROCESS : BOUND_NOT;
	request->wait_us = p->wait_us < 0 ? TIME_NEVER : p->wait_us;
	request->force = p->force;
	if (copy_text(p->types, &request->types) < 0 || copy_text(p->note, &request->note) < 0 ||
		copy_text(p->command, &request->command) < 0)
		return -ENOMEM;
	return 0;
}

/* Who asks, as a process: a run lives by it, and only it may take the request up again. */
static struct verdict check_process(
	const struct manager *m, const struct connection *c, struct lease *lease)
{
	if (connection_process(c, &lease->start_ticks) >= 0)
		lease->pid = c->pid;
	else if (lease->kind == LEASE_RUN || lease->request.bound != BOUND_NOT)
		return verdict_make(VERDICT_REFUSED, "request.no-process",
			"the calling process cannot be seen by dibsd, or is not yours (it ended, "
			"lives in another pid namespace, or became another user)");
	if (lease->kind == LEASE_RUN && lease->request.duration_us != TIME_NEVER && !m->root &&
		c->uid != geteuid())
		return verdict_make(VERDICT_REFUSED, "request.no-limit",
			"this dibsd does not run as root, so it cannot end your command at a "
			"limit; leave the limit out");
	return verdict_ok();
}

/* Is its leader still on its way into the cgroup of another run? */
static bool has_pending_run(const struct manager *m, const struct lease *lease)
{
	for (size_t i = 0; i < m->pool->n_leases; i++) {
		const struct lease *other = m->pool->leases[i];

		if (other->cgroup && other->pid == lease->pid &&
			other->start_ticks == lease->start_ticks &&
			(other->state == LEASE_WAITING ||
				(other->state != LEASE_ENDED && !watch_of(other)->entered)))
			return true;
	}
	return false;
}

static unsigned depth_of(const char *path)
{
	unsigned depth = 0;

	while ((path = strstr(path, "/lease-"))) {
		path++;
		depth++;
	}
	return depth;
}

/* Where its processes go. Security: a run that is started within a run gets its cgroup there, for
 * nobody is to leave a lease, and what ends it, by asking for another one. */
static struct verdict place(const struct manager *m, struct lease *lease)
{
	const struct lease *around = watch_around(m, lease->pid);
	const char *below = around ? around->cgroup : m->cgroup_root;

	if (has_pending_run(m, lease))
		return verdict_make(VERDICT_REFUSED, "request.waits-already",
			"process %d waits for another run already, and can only be in one place",
			(int)lease->pid);
	if (around && depth_of(below) >= NESTED_MAX)
		return verdict_make(VERDICT_REFUSED, "request.nested",
			"this would be a run within %d runs; end some of them", NESTED_MAX);
	lease->cgroup = text_format("%s/lease-%" PRId64, below, lease->id);
	return verdict_ok();
}

/* The GPUs that are listed: by their names, or by the processes that use them. */
static struct verdict resolve(struct manager *m, const struct connection *c,
	const struct request_parameters *p, struct lease *lease)
{
	if (!p->adopt)
		return p->gpus ? admit_resolve(m->pool, p->gpus, &lease->request.gpus)
			       : verdict_ok();
	if (lease->kind != LEASE_HOLD)
		return verdict_make(VERDICT_INVALID, "request.adopt-without-hold",
			"--adopt is for 'dibs reserve' only: a %s is for what it starts itself",
			lease_kind_to_string(lease->kind));
	lease->request.force = true; /* what is to be adopted is foreign use as yet */
	return adopt_resolve(m, c->uid, p->adopt, p->gpus, &lease->request.gpus);
}

static struct verdict check(struct manager *m, struct connection *c,
	const struct request_parameters *p, struct lease *lease)
{
	const struct admit_limits limits = {
		.max_hold_us = m->config->max_hold_us,
		.requests_per_user = m->config->requests_per_user,
		.requests = m->config->requests,
	};
	struct verdict v;

	if (p->types && strlen(p->types) > TYPES_MAX)
		return verdict_make(VERDICT_INVALID, "request.types",
			"the list of types is longer than %d bytes", TYPES_MAX);
	v = resolve(m, c, p, lease);
	if (v.kind != VERDICT_OK)
		return v;
	if (p->count == 0 && !p->gpus && !p->adopt)
		lease->request.count = 1;
	v = admit_check(
		m->pool, &limits, lease->kind, lease->uid, &lease->request, &lease->eligible);
	if (v.kind == VERDICT_OK)
		v = check_process(m, c, lease);
	return v.kind == VERDICT_OK && lease->kind == LEASE_RUN && m->cgroup_root ? place(m, lease)
										  : v;
}

static int enqueue(struct manager *m, struct connection *c, struct lease *lease)
{
	int64_t now_us = clock_now(&m->clock);
	int r;

	lease->state = LEASE_WAITING;
	lease->submitted_us = now_us;
	/* Who does not wait at all is answered by the batch, after the queue had its say. */
	if (lease->request.wait_us != TIME_NEVER && lease->request.wait_us > 0)
		lease->wait_until_us = now_us + lease->request.wait_us;
	if (lease->kind == LEASE_RUN && m->cgroup_root && !lease->cgroup)
		return -ENOMEM;
	r = watch_new(m, lease);
	if (r < 0)
		return r;
	r = pool_add(m->pool, lease);
	if (r < 0) {
		watch_free(lease);
		return r;
	}
	m->next_id++;
	connection_attach(c, lease);
	batch_touch(m, lease);
	batch_want_pass(m);
	return 0;
}

static int request(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct request_parameters *p = parameters;
	_cleanup_(lease_freep) struct lease *lease = lease_new();
	enum lease_kind kind = lease_kind_from_string(p->kind);
	struct verdict v;
	int r;

	if (kind != LEASE_RUN && kind != LEASE_HOLD) {
		connection_error(c, "org.varlink.service.InvalidParameter",
			json_pack("{s:s, s:s}", "parameter", "kind", "message",
				"kind must be run or hold"));
		return 0;
	}
	if (!lease)
		return -ENOMEM;
	lease->id = m->next_id;
	lease->kind = kind;
	lease->uid = c->uid;
	lease->gid = c->gid;
	lease->turn = lease->id;
	r = fill_request(m, p, kind, &lease->request);
	if (r < 0)
		return r;
	v = check(m, c, p, lease);
	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	if ((p->gpus || p->adopt) && !lease->request.gpus)
		return -ENOMEM;
	r = enqueue(m, c, lease);
	if (r >= 0)
		TAKE_PTR(lease);
	return r;
}

struct resume_parameters {
	int64_t id;
};

static const struct field resume_fields[] = {
	{ "id", FIELD_INT, offsetof(struct resume_parameters, id), .required = true, .min = 1,
		.max = INT64_MAX },
};

static int resume(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct resume_parameters *p = parameters;
	struct lease *lease = pool_find(m->pool, p->id);
	uint64_t start_ticks;
	struct verdict v = verdict_make(VERDICT_REFUSED, "request.not-resumable",
		"request #%" PRId64 " is not there any more, or is not of this process", p->id);

	/* Security: only the very process that asked takes its request up again. */
	if (!lease || lease->state == LEASE_ENDED || lease->uid != c->uid || lease->pid != c->pid ||
		connection_process(c, &start_ticks) < 0 || start_ticks != lease->start_ticks ||
		watch_of(lease)->connection) {
		connection_refuse(c, &v);
		return 0;
	}
	connection_attach(c, lease);
	batch_touch(m, lease);
	batch_want_pass(m);
	return 0;
}

const struct method api_request_methods[] = {
	{ "org.dibs.Request", false, true, request_fields, ELEMENTSOF(request_fields),
		sizeof(struct request_parameters), &request_defaults, request },
	{ "org.dibs.Resume", false, false, resume_fields, ELEMENTSOF(resume_fields),
		sizeof(struct resume_parameters), NULL, resume },
	{ 0 },
};

static json_t *view_blockers(const struct manager *m, const struct lease *lease)
{
	struct lease *blockers[BLOCKERS_MAX];
	size_t n = queue_blockers(m->pool, lease, blockers, ELEMENTSOF(blockers));
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			array, view_lease(m->pool, blockers[i], pool_position(m->pool, blockers[i]),
				       clock_to_wall_offset(&m->clock)));
	return array;
}

json_t *api_view_request(const struct manager *m, const struct lease *lease, size_t position)
{
	int64_t offset_us = clock_to_wall_offset(&m->clock);

	return json_pack("{s:o, s:o, s:o, s:s}", "lease",
		view_lease(m->pool, lease, position, offset_us), "gpus",
		view_gpus(m->pool, &lease->gpus, offset_us), "blockers",
		lease->state == LEASE_WAITING ? view_blockers(m, lease) : json_array(), "visible",
		m->config->visible == VISIBLE_INDEX ? "index" : "uuid");
}

static void tell_waiting(struct manager *m, struct lease *lease, size_t position)
{
	struct watch *watch = watch_of(lease);
	_cleanup_(json_decrefp) json_t *view = NULL;
	_cleanup_(freep) char *text = NULL;

	if (!watch->connection->more || watch->told_position == position)
		return;
	watch->told_position = position;
	view = api_view_request(m, lease, position);
	text = view ? message_reply(view, true) : NULL;
	connection_send(watch->connection, text, false);
}

static char *farewell(const struct lease *lease)
{
	struct verdict v;

	if (lease->end == LEASE_END_TIMEOUT)
		v = verdict_make(VERDICT_NOT_FREE, "request.timeout", "still not free: %s",
			watch_of(lease)->farewell ? watch_of(lease)->farewell : "");
	else if (lease->end == LEASE_END_ADMIN)
		v = verdict_make(VERDICT_REFUSED, "request.admin",
			"request #%" PRId64 " was taken out of the queue by an administrator",
			lease->id);
	else
		v = verdict_make(VERDICT_REFUSED, "request.released",
			"request #%" PRId64 " was taken out of the queue by its owner", lease->id);
	return message_verdict(&v);
}

void api_request_tell(struct manager *m, struct lease *lease)
{
	struct watch *watch = watch_of(lease);
	_cleanup_(json_decrefp) json_t *view = NULL;
	_cleanup_(freep) char *text = NULL;

	if (!watch->connection)
		return;
	if (lease->state == LEASE_WAITING) {
		tell_waiting(m, lease, pool_position(m->pool, lease));
		return;
	}
	if (lease->state == LEASE_ENDED) {
		text = farewell(lease);
	} else {
		view = api_view_request(m, lease, 0);
		text = view ? message_reply(view, false) : NULL;
	}
	connection_send(watch->connection, text, true);
}

static bool is_told(const struct lease *lease)
{
	return lease->state == LEASE_WAITING && watch_of(lease)->connection &&
	       watch_of(lease)->told_position;
}

static bool is_any_told(const struct pool *pool)
{
	for (size_t i = 0; i < pool->n_leases; i++)
		if (is_told(pool->leases[i]))
			return true;
	return false;
}

void api_request_positions(struct manager *m)
{
	_cleanup_(freep) struct lease **queue = NULL;
	size_t n, position = 0;

	if (!is_any_told(m->pool) || pool_queue(m->pool, &queue, &n) < 0)
		return;
	for (size_t i = 0; i < n && position < POSITION_MAX; i++) {
		if (pool_blocked(m->pool, queue[i], 0, 0, NULL))
			continue;
		position++;
		if (is_told(queue[i]))
			tell_waiting(m, queue[i], position);
	}
}
