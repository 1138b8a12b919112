/* SPDX-License-Identifier: MIT */
/*
 * Who may open what, as entries of the device filter (priv/devfilter.h):
 *
 *   every node of every GPU    guarded
 *   for each lease that holds  its user, by uid and by their slice (so that subordinate uids of
 *                              rootless containers count); the cgroup of a run; containers that are
 *                              labelled with the lease
 *   the cgroup of such a run   closed: in there only what it was given, so that two leases of one
 *                              user do not mix
 *   each parent of containers  closed, to root too: root in a container is not root of the machine
 *   the user of the sensor     all nodes
 *
 * Cgroups come and go (a slice with the first login of its user); inotify tells, and everything is
 * computed again.
 */
#include "daemon/gate.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/guard.h"
#include "daemon/sensor.h"
#include "daemon/watch.h"
#include "priv/cgroup.h"
#include "priv/container.h"
#include "priv/devfilter.h"

#define PIN_ROOT      "/sys/fs/bpf"
#define DEFAULT_STATE "/var/lib/dibs"
#define PATHS_MAX     64

/* A container that is labelled with a lease. */
struct scope {
	uint64_t cgroup_id;
	int64_t lease;
};

/* A cgroup that is listed under [guard]. */
struct listed {
	char *path;    /* owned; absolute */
	bool optional; /* that it does not exist is no problem */
};

struct filter_gate {
	struct gate gate;
	struct devfilter *filter;
	char *pins, *mount;
	bool stale; /* cgroups came or went */
	struct listed sessions[PATHS_MAX], parents[PATHS_MAX];
	size_t n_sessions, n_parents;
	const char *
		paths[2 * PATHS_MAX + 1]; /* borrowed: those that are there, and the root of runs */
	size_t n_paths;
	sd_event_source *watches[4 * PATHS_MAX];
	size_t n_watches;
	struct scope *scopes; /* owned */
	size_t n_scopes, allocated_scopes;
	struct devfilter_entry *entries; /* owned; reused */
	size_t n_entries, allocated_entries;
	bool out_of_memory;
};

/* One per state directory, so that several daemons can try things out on one machine. */
static char *pin_directory(const struct manager *m)
{
	struct stat st;

	if (strcmp(m->state, DEFAULT_STATE) == 0)
		return strdup(PIN_ROOT "/dibs");
	if (stat(m->state, &st) < 0)
		return NULL;
	return text_format(PIN_ROOT "/dibs-%" PRIxMAX, (uintmax_t)st.st_ino);
}

static void add(struct filter_gate *gate, struct devfilter_entry entry)
{
	if (gate->n_entries == gate->allocated_entries) {
		size_t n = gate->allocated_entries ? gate->allocated_entries * 2 : 64;
		struct devfilter_entry *larger = reallocarray(gate->entries, n, sizeof(*larger));

		if (!larger) {
			gate->out_of_memory = true;
			return;
		}
		gate->entries = larger;
		gate->allocated_entries = n;
	}
	gate->entries[gate->n_entries++] = entry;
}

static void allow(
	struct filter_gate *gate, const struct gpu *gpu, enum devfilter_kind kind, uint64_t who)
{
	for (unsigned i = 0; i < gpu->n_nodes; i++)
		add(gate, (struct devfilter_entry){
				  kind, who, gpu->nodes[i].major, gpu->nodes[i].minor });
}

/* All GPUs of the lease, but those that are open to nobody just now. */
static void allow_all(struct filter_gate *gate, const struct manager *m, const struct lease *lease,
	enum devfilter_kind kind, uint64_t who)
{
	gpu_set_foreach (slot, &lease->gpus)
		if (gate_is_open(m, lease, slot))
			allow(gate, &m->pool->gpus[slot], kind, who);
}

static void allow_slices(
	struct filter_gate *gate, const struct manager *m, const struct lease *lease)
{
	for (size_t i = 0; i < gate->n_sessions; i++) {
		_cleanup_(freep) char *path = text_format(
			"%s/user-%u.slice", gate->sessions[i].path, (unsigned)lease->uid);
		uint64_t id;

		if (path && devfilter_cgroup_id(path, &id) >= 0)
			allow_all(gate, m, lease, DEVFILTER_CGROUP, id);
	}
}

static void add_lease(struct filter_gate *gate, const struct manager *m, const struct lease *lease)
{
	uint64_t cgroup = watch_of(lease)->cgroup_id;

	allow_all(gate, m, lease, DEVFILTER_UID, lease->uid);
	allow_slices(gate, m, lease);
	if (cgroup) {
		add(gate, (struct devfilter_entry){ DEVFILTER_CLOSED, cgroup });
		allow_all(gate, m, lease, DEVFILTER_CGROUP, cgroup);
	}
	for (size_t i = 0; i < gate->n_scopes; i++)
		if (gate->scopes[i].lease == lease->id)
			allow_all(gate, m, lease, DEVFILTER_CGROUP, gate->scopes[i].cgroup_id);
}

static void close_parents(struct filter_gate *gate)
{
	for (size_t i = 0; i < gate->n_parents; i++) {
		uint64_t id;

		if (devfilter_cgroup_id(gate->parents[i].path, &id) >= 0)
			add(gate, (struct devfilter_entry){ DEVFILTER_CLOSED_ROOT, id });
	}
}

static void compute(struct filter_gate *gate, const struct manager *m)
{
	uid_t sensor = sensor_user(m->sensor);

	gate->n_entries = 0;
	gate->out_of_memory = false;
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
		allow(gate, &m->pool->gpus[slot], DEVFILTER_GUARDED, 0);
		if (sensor != (uid_t)-1)
			allow(gate, &m->pool->gpus[slot], DEVFILTER_UID, sensor);
	}
	for (size_t i = 0; i < m->pool->n_leases; i++)
		if (lease_holds(m->pool->leases[i]))
			add_lease(gate, m, m->pool->leases[i]);
	close_parents(gate);
}

/* --- which cgroups there are --- */

static int on_cgroups(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct manager *m = userdata;

	if (event->mask & IN_IGNORED) /* the watch ended, perhaps by our own hand */
		return 0;
	/* The gate may be gone by now, and another one be there: then that one looks again. */
	m->cgroups_changed = true;
	guard_soon(m);
	return 0;
}

static void watch_directory(struct filter_gate *gate, struct manager *m, const char *path)
{
	if (gate->n_watches < ELEMENTSOF(gate->watches) &&
		sd_event_add_inotify(m->event, &gate->watches[gate->n_watches], path,
			IN_CREATE | IN_DELETE | IN_ONLYDIR, on_cgroups, m) >= 0)
		gate->n_watches++;
}

static void watch_path(struct filter_gate *gate, struct manager *m, const char *path)
{
	_cleanup_(freep) char *parent = strdup(path);
	char *slash = parent ? strrchr(parent, '/') : NULL;

	if (slash && slash != parent) {
		*slash = '\0';
		watch_directory(gate, m, parent);
	}
	watch_directory(gate, m, path);
}

static void unwatch(struct filter_gate *gate)
{
	while (gate->n_watches > 0)
		sd_event_source_disable_unref(gate->watches[--gate->n_watches]);
}

static void add_scope(struct filter_gate *gate, const char *path)
{
	struct container container;
	struct scope scope;

	if (!container_parse(path + strlen(gate->mount), &container))
		return;
	container_describe("", &container);
	/* Security: the label is root's word, see container.h; a user's own cgroup is not. */
	if (!container.in_system || container.lease == 0 ||
		devfilter_cgroup_id(path, &scope.cgroup_id) < 0)
		return;
	scope.lease = container.lease;
	if (gate->n_scopes == gate->allocated_scopes) {
		size_t n = gate->allocated_scopes ? gate->allocated_scopes * 2 : 16;
		struct scope *larger = reallocarray(gate->scopes, n, sizeof(*larger));

		if (!larger)
			return;
		gate->scopes = larger;
		gate->allocated_scopes = n;
	}
	gate->scopes[gate->n_scopes++] = scope;
}

static void read_scopes(struct filter_gate *gate, const char *parent)
{
	_cleanup_(closedirp) DIR *dir = opendir(parent);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		_cleanup_(freep) char *path = NULL;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		path = text_format("%s/%s", parent, entry->d_name);
		if (path)
			add_scope(gate, path);
	}
}

/* Looks anew for all that is listed under [guard]; what is there is to be attached to. */
static void look_for_cgroups(struct filter_gate *gate, struct manager *m)
{
	const char *missing = NULL;

	unwatch(gate);
	gate->n_scopes = gate->n_paths = 0;
	gate->gate.problem[0] = '\0';
	if (m->cgroup_root)
		gate->paths[gate->n_paths++] = m->cgroup_root;
	for (size_t i = 0; i < gate->n_sessions + gate->n_parents; i++) {
		const struct listed *listed = i < gate->n_sessions
						      ? &gate->sessions[i]
						      : &gate->parents[i - gate->n_sessions];
		const char *path = listed->path;

		watch_path(gate, m, path);
		if (access(path, F_OK) == 0)
			gate->paths[gate->n_paths++] = path;
		else if (!missing && !listed->optional)
			missing = path;
		if (i >= gate->n_sessions)
			read_scopes(gate, path);
	}
	if (missing)
		snprintf(gate->gate.problem, sizeof(gate->gate.problem),
			"%.200s does not exist, so nobody in there is kept off; it is guarded as "
			"soon as it is made, or set session-cgroups in dibs.conf",
			missing);
	else if (gate->n_sessions == 0)
		text_copy(gate->gate.problem, sizeof(gate->gate.problem),
			"session-cgroups is empty, so sessions are not guarded");
}

static int apply(struct gate *base, struct manager *m, struct error *err)
{
	struct filter_gate *gate = (struct filter_gate *)base;
	int r;

	if (m->cgroups_changed) {
		m->cgroups_changed = false;
		gate->stale = true;
	}
	if (gate->stale)
		look_for_cgroups(gate, m);
	compute(gate, m);
	if (gate->out_of_memory)
		return error_set(err, -ENOMEM, "memory", "out of memory; the gate stays as it was");
	/* Filled first: what is attached to an empty map denies nobody. */
	r = devfilter_set(gate->filter, gate->entries, gate->n_entries, err);
	if (r >= 0 && gate->stale)
		r = devfilter_attach(gate->filter, gate->paths, gate->n_paths, err);
	if (r < 0 && r != -ENOENT) /* one that went away meanwhile is told by inotify */
		return r;
	gate->stale = false;
	return 0;
}

static void free_gate(struct gate *base)
{
	struct filter_gate *gate = (struct filter_gate *)base;

	unwatch(gate);
	while (gate->n_sessions > 0)
		free(gate->sessions[--gate->n_sessions].path);
	while (gate->n_parents > 0)
		free(gate->parents[--gate->n_parents].path);
	devfilter_free(gate->filter);
	free(gate->pins);
	free(gate->mount);
	free(gate->scopes);
	free(gate->entries);
	free(gate);
}

/* Names are relative to the top of the cgroup tree; a leading "-" says that it need not exist. */
static int take_paths(const char *list, const char *mount, struct listed listed[PATHS_MAX],
	size_t *n, struct error *err)
{
	const char *cursor = list;
	char piece[512];

	while (cursor && text_list_next(&cursor, piece, sizeof(piece))) {
		const char *name = piece + (piece[0] == '-');

		if (*n == PATHS_MAX)
			return error_set(err, -E2BIG, "guard.cgroups",
				"more than %d cgroups are listed under [guard]", PATHS_MAX);
		listed[*n].optional = name > piece;
		listed[*n].path = name[0] == '/' ? strdup(name) : text_format("%s/%s", mount, name);
		if (!listed[*n].path)
			return error_set(err, -ENOMEM, "memory", "out of memory");
		(*n)++;
	}
	return 0;
}

int gate_filter_open(struct manager *m, struct gate **ret, struct error *err)
{
	struct filter_gate *gate = calloc(1, sizeof(*gate));
	int r;

	if (!gate)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	gate->gate = (struct gate){ .name = "filter", .apply = apply, .free = free_gate };
	gate->stale = true;
	gate->pins = pin_directory(m);
	r = cgroup_mount(&gate->mount);
	if (r < 0)
		error_errno(err, r, "guard.cgroup", "no cgroup v2 is mounted");
	if (r >= 0)
		r = take_paths(m->config->session_cgroups, gate->mount, gate->sessions,
			&gate->n_sessions, err);
	if (r >= 0)
		r = take_paths(m->config->container_cgroups, gate->mount, gate->parents,
			&gate->n_parents, err);
	if (r >= 0 && !gate->pins)
		r = error_set(err, -ENOMEM, "guard.pins", "cannot tell where to pin the filter");
	if (r >= 0)
		r = devfilter_open(gate->pins, &gate->filter, err);
	if (r < 0) {
		free_gate(&gate->gate);
		return r;
	}
	*ret = &gate->gate;
	return 0;
}

int gate_filter_remove(struct manager *m, struct error *err)
{
	_cleanup_(freep) char *pins = pin_directory(m);

	return pins ? devfilter_remove(pins, err) : 0;
}
