/* SPDX-License-Identifier: MIT */
/*
 * The mode that an administrator set stands in the store, so that neither a crash nor a restart
 * opens a gate. A mode of deny that cannot be kept stays the mode, with a problem that everybody
 * sees: silently going on without a gate would be worse. What is in force then, of a daemon before
 * us or of a gate of the other kind, goes on until there is one that holds.
 */
#include "daemon/guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/batch.h"
#include "daemon/gate.h"
#include "daemon/revoke.h"

/* What is kept in the store. */
#define OVERRIDE "guard" /* the mode that an administrator set */
#define GATE     "gate"  /* "acl": the nodes have ACLs of ours */

#define LOCAL_MAJOR  120 /* of simulated GPUs */
#define ACCEL_MAJOR  261
#define DEVICES_FILE "/proc/devices"

struct guard {
	enum guard_mode mode;
	bool overridden; /* by an administrator */
	bool started;
	struct gate *gate; /* owned; NULL unless it denies */
	bool recorded;     /* that it is in force is written down, where it has to be */
	bool alone;        /* no other gate is in force */
	char problem[ERROR_TEXT_SIZE];
	sd_event_source *verify, *soon;
};

static int store_word(struct manager *m, const char *name, const char *word, struct error *err)
{
	const struct store_ops *ops = m->store->ops;
	int r = ops->begin(m->store, err);

	if (r >= 0)
		r = ops->put_override(m->store, name, word, err);
	if (r >= 0)
		r = ops->commit(m->store, err);
	if (r < 0)
		ops->rollback(m->store);
	return r;
}

static int on_verify(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;

	guard_apply(m);
	if (m->guard->gate && m->guard->gate->verify_us > 0) {
		sd_event_source_set_time_relative(source, (uint64_t)m->guard->gate->verify_us);
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	return 0;
}

static int on_soon(sd_event_source *source, void *userdata)
{
	guard_apply(userdata);
	return 0;
}

void guard_soon(struct manager *m)
{
	sd_event_source_set_enabled(m->guard->soon, SD_EVENT_ONESHOT);
}

int guard_new(struct manager *m, struct guard **ret, struct error *err)
{
	struct guard *guard = calloc(1, sizeof(*guard));
	char word[32] = "";
	int r;

	if (!guard)
		return -ENOMEM;
	*ret = guard;
	guard->mode = m->config->guard_mode;
	r = m->store->ops->get_override(m->store, OVERRIDE, word, sizeof(word), err);
	if (r < 0)
		return r;
	if (*word && guard_mode_from_string(word) != GUARD_MODE_INVALID) {
		guard->mode = guard_mode_from_string(word);
		guard->overridden = true;
	}
	r = sd_event_add_time_relative(
		m->event, &guard->verify, CLOCK_BOOTTIME, 0, USEC_PER_SEC, on_verify, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(guard->verify, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(m->event, &guard->soon, on_soon, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(guard->soon, SD_EVENT_OFF);
	return r < 0 ? error_errno(err, r, "guard.timer", "cannot make a timer") : 0;
}

static void close_gate(struct guard *guard)
{
	if (guard->gate)
		guard->gate->free(guard->gate);
	guard->gate = NULL;
}

struct guard *guard_free(struct guard *guard)
{
	if (!guard)
		return NULL;
	close_gate(guard);
	sd_event_source_disable_unref(guard->verify);
	sd_event_source_disable_unref(guard->soon);
	free(guard);
	return NULL;
}

enum guard_mode guard_mode(const struct manager *m)
{
	return m->guard->mode;
}

bool guard_denies(const struct manager *m)
{
	return m->guard->mode == GUARD_DENY && m->root;
}

const char *guard_method(const struct manager *m)
{
	return m->guard->gate ? m->guard->gate->name : NULL;
}

const char *guard_problem(const struct manager *m)
{
	return m->guard->problem[0] ? m->guard->problem : NULL;
}

static void set_problem(struct guard *guard, const char *text)
{
	if (strcmp(guard->problem, text) == 0)
		return;
	text_copy(guard->problem, sizeof(guard->problem), text);
	if (*text)
		log_error("guard: %s", text);
	else
		log_info("guard: it holds");
}

static int open_gate(struct manager *m, struct gate **ret, struct error *err)
{
	enum guard_method method = m->config->guard_method;
	struct error why = { 0 };
	int r;

	if (!m->root)
		return error_set(err, -EPERM, "guard.root",
			"dibsd does not run as root, so it cannot keep anybody off; start it as "
			"root, or use guard mode watch");
	if (method != GUARD_ACL) {
		r = gate_filter_open(m, ret, &why);
		if (r >= 0 || method == GUARD_FILTER) {
			*err = why;
			return r;
		}
		log_warning("no device filter, so ACLs have to do: %s", why.text);
	}
	return gate_acl_open(m, ret, err);
}

/* What a gate of another kind, of this daemon or one before, keeps shut is opened. A filter is
 * known by its pins; that there are ACLs of ours is written down. */
static int remove_others(struct manager *m, struct error *err)
{
	const struct gate *gate = m->guard->gate;
	char word[8] = "";
	int r = m->store->ops->get_override(m->store, GATE, word, sizeof(word), err);

	if (r >= 0 && *word && !(gate && gate->remembered)) {
		r = gate_acl_remove(m, err);
		if (r >= 0)
			r = store_word(m, GATE, NULL, err);
	}
	if (r >= 0 && (!gate || gate->remembered))
		r = gate_filter_remove(m, err);
	return r;
}

/* Before it is in force: what is not known to be ours would never be opened again. */
static int record(struct manager *m, struct error *err)
{
	struct guard *guard = m->guard;
	int r = 0;

	if (guard->gate->remembered && !guard->recorded)
		r = store_word(m, GATE, guard->gate->name, err);
	guard->recorded = r >= 0;
	return r;
}

void guard_apply(struct manager *m)
{
	struct guard *guard = m->guard;
	struct error err = { 0 };
	int r;

	if (!guard->gate || !guard->started)
		return;
	r = record(m, &err);
	if (r >= 0)
		r = guard->gate->apply(guard->gate, m, &err);
	if (r >= 0 && !guard->alone) {
		r = remove_others(m, &err);
		guard->alone = r >= 0;
	}
	set_problem(guard, r < 0 ? err.text : guard->gate->problem);
}

/* gate: opened for this mode, or NULL. */
static void enter(struct manager *m, enum guard_mode mode, struct gate *gate)
{
	struct guard *guard = m->guard;
	struct error err = { 0 };

	guard->mode = mode;
	if (mode != GUARD_DENY || gate)
		close_gate(guard);
	if (gate) {
		guard->gate = gate;
		guard->recorded = guard->alone = false;
	}
	set_problem(guard, "");
	guard_apply(m);
	if (mode != GUARD_DENY && m->root && remove_others(m, &err) < 0)
		set_problem(guard, err.text);
	if (guard->gate && guard->gate->verify_us > 0)
		on_verify(guard->verify, 0, m);
	if (guard_denies(m))
		revoke_run(m);
	else
		revoke_forget(m);
}

int guard_set(struct manager *m, enum guard_mode mode, struct error *err)
{
	bool configured = mode == GUARD_MODE_INVALID;
	struct gate *gate = NULL;
	int r = 0;

	if (configured)
		mode = m->config->guard_mode;
	if (mode == GUARD_DENY && !m->guard->gate)
		r = open_gate(m, &gate, err);
	if (r < 0)
		return r;
	r = store_word(m, OVERRIDE, configured ? NULL : guard_mode_to_string(mode), err);
	if (r < 0) {
		if (gate)
			gate->free(gate);
		return r;
	}
	m->guard->overridden = !configured;
	enter(m, mode, gate);
	return 0;
}

void guard_reload(struct manager *m)
{
	struct error err = { 0 };

	if (m->guard->overridden || m->config->guard_mode == m->guard->mode)
		return;
	if (guard_set(m, GUARD_MODE_INVALID, &err) < 0)
		log_error("guard: stays %s: %s", guard_mode_to_string(m->guard->mode), err.text);
}

void guard_start(struct manager *m)
{
	struct guard *guard = m->guard;
	struct error err = { 0 };
	struct gate *gate = NULL;

	guard->started = true;
	if (guard->overridden && guard->mode != m->config->guard_mode)
		log_info("guard: %s, as an administrator set it; the configuration says %s",
			guard_mode_to_string(guard->mode),
			guard_mode_to_string(m->config->guard_mode));
	if (guard->mode == GUARD_DENY)
		open_gate(m, &gate, &err);
	enter(m, guard->mode, gate);
	if (err.text[0])
		set_problem(guard, err.text);
}

/* The dynamic major of a driver, by its name in /proc/devices. */
static bool is_major_of(uint32_t major, const char *driver)
{
	_cleanup_(fclosep) FILE *file = fopen(DEVICES_FILE, "re");
	char line[128], name[64];
	unsigned number;

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "Block", 5) == 0)
			break;
		if (sscanf(line, "%u %63s", &number, name) == 2 && number == major &&
			strcmp(name, driver) == 0)
			return true;
	}
	return false;
}

static bool is_listed(const char *numbers, uint32_t major)
{
	const char *cursor = numbers;
	char piece[16];
	uint64_t number;

	while (cursor && text_list_next(&cursor, piece, sizeof(piece)))
		if (parse_uint(piece, 0, UINT32_MAX, &number) == 0 && number == major)
			return true;
	return false;
}

bool guard_may_guard(const struct manager *m, const struct gpu_node *node)
{
	/* Security: the sensor is not trusted; what it names must not shut anybody out of devices
	 * that are no GPUs. */
	if (node->major == NVIDIA_MAJOR)
		return node->minor < NVIDIA_MINORS;
	return (m->sim && node->major == LOCAL_MAJOR) || node->major == DRM_MAJOR ||
	       node->major == ACCEL_MAJOR || is_listed(m->config->device_majors, node->major) ||
	       is_major_of(node->major, "nvidia-caps");
}

size_t guard_devices(const struct manager *m, const struct gpu_set *gpus,
	uint32_t ret[GPU_MAX * GPU_NODES_MAX][2])
{
	size_t n = 0;

	gpu_set_foreach (slot, gpus) {
		const struct gpu *gpu = &m->pool->gpus[slot];

		for (unsigned i = 0; i < gpu->n_nodes; i++, n++) {
			ret[n][0] = gpu->nodes[i].major;
			ret[n][1] = gpu->nodes[i].minor;
		}
	}
	return n;
}
