/* SPDX-License-Identifier: MIT */
#include "daemon/watch.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/job.h"
#include "daemon/job_limits.h"
#include "daemon/lifecycle.h"
#include "daemon/suspend.h"
#include "priv/cgroup.h"
#include "priv/devfilter.h"
#include "priv/process.h"

int watch_new(struct manager *m, struct lease *lease)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	*watch = (struct watch){ .manager = m, .id = lease->id, .leader_fd = -1 };
	lease->link = watch;
	return 0;
}

static void leader_gone(struct watch *watch)
{
	watch->leader = sd_event_source_disable_unref(watch->leader);
	closep(&watch->leader_fd);
	watch->leader_fd = -1;
}

void watch_free(struct lease *lease)
{
	struct watch *watch = watch_of(lease);

	if (!watch)
		return;
	leader_gone(watch);
	attempt_free(watch->attempt);
	free(watch->farewell);
	free(watch);
	lease->link = NULL;
}

static int on_leader(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct watch *watch = userdata;
	struct lease *lease = pool_find(watch->manager->pool, watch->id);

	leader_gone(watch);
	watch->leader_ended = true;
	if (lease)
		watch_check(lease);
	return 0;
}

/* Nothing was learned: whether it lives must be asked again. */
static bool is_shortage(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* One that is gone is fine: then the cgroup decides, or the record of a job. */
void watch_leader(struct lease *lease)
{
	struct watch *watch = watch_of(lease);
	int r;

	if (watch->leader_fd >= 0 || watch->leader_ended)
		return;
	r = process_open(lease->pid, lease->start_ticks);
	if (r >= 0) {
		watch->leader_fd = r;
		r = sd_event_add_io(watch->manager->event, &watch->leader, watch->leader_fd,
			EPOLLIN, on_leader, watch);
		if (r < 0)
			leader_gone(watch);
	} else if (!is_shortage(r)) {
		watch->leader_ended = true;
		return;
	}
	if (r < 0)
		log_warning("cannot watch process %d of lease %" PRId64 ": %s", (int)lease->pid,
			lease->id, strerrordesc_np(-r));
}

const struct lease *watch_around(const struct manager *m, pid_t pid)
{
	char path[PATH_MAX], *last;

	if (process_cgroup(pid, path, sizeof(path)) < 0)
		return NULL;
	for (; (last = strrchr(path, '/')); *last = '\0') {
		const struct lease *lease;
		uint64_t id;

		if (strncmp(last, "/lease-", 7) != 0 || parse_uint(last + 7, 1, INT64_MAX, &id) < 0)
			continue;
		lease = pool_find(m->pool, (int64_t)id);
		/* Security: users can have cgroups of any name below their own. */
		if (lease && lease->state != LEASE_ENDED && lease->cgroup &&
			cgroup_has(lease->cgroup, pid))
			return lease;
	}
	return NULL;
}

static struct cgroup_watch *find(const struct manager *m, int64_t id)
{
	struct cgroup_watch *cgroup = m->cgroups;

	while (cgroup && cgroup->id != id)
		cgroup = cgroup->next;
	return cgroup;
}

static void cgroup_watch_free(struct cgroup_watch *cgroup)
{
	struct cgroup_watch **at = &cgroup->manager->cgroups;

	while (*at && *at != cgroup)
		at = &(*at)->next;
	if (*at)
		*at = cgroup->next;
	sd_event_source_disable_unref(cgroup->source);
	free(cgroup->path);
	free(cgroup);
}

static int on_cgroup(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct cgroup_watch *cgroup = userdata;
	struct lease *lease = pool_find(cgroup->manager->pool, cgroup->id);

	if (cgroup_populated(cgroup->path) == 1)
		return 0;
	if (lease && lease->state != LEASE_ENDED) {
		if (lease_holds(lease))
			watch_check(lease);
		return 0;
	}
	watch_bury(cgroup->manager, cgroup->id);
	return 0;
}

/* Watches a cgroup that exists. */
static int cgroup_watch_new(struct manager *m, int64_t id, const char *path)
{
	_cleanup_(freep) char *events = text_format("%s/cgroup.events", path);
	struct cgroup_watch *cgroup = calloc(1, sizeof(*cgroup));
	int r;

	if (!events || !cgroup || !(cgroup->path = strdup(path))) {
		free(cgroup);
		return -ENOMEM;
	}
	cgroup->manager = m;
	cgroup->id = id;
	cgroup->next = m->cgroups;
	m->cgroups = cgroup;
	r = sd_event_add_inotify(m->event, &cgroup->source, events, IN_MODIFY, on_cgroup, cgroup);
	if (r < 0)
		cgroup_watch_free(cgroup);
	return r;
}

/* The pid alone may be somebody else's by now. */
static int attach_leader(const struct lease *lease)
{
	_cleanup_(closep) int fd = process_open(lease->pid, lease->start_ticks);

	return fd < 0 ? fd : cgroup_attach(lease->cgroup, lease->pid);
}

static int enter_cgroup(struct lease *lease)
{
	struct watch *watch = watch_of(lease);
	int r;

	r = cgroup_create(lease->cgroup);
	if (r >= 0 && !find(watch->manager, lease->id))
		r = cgroup_watch_new(watch->manager, lease->id, lease->cgroup);
	if (r >= 0 && devfilter_cgroup_id(lease->cgroup, &watch->cgroup_id) < 0)
		watch->cgroup_id = 0;
	if (r >= 0 && lease->job)
		job_limits_set(watch->manager, lease);
	if (r >= 0 && lease->kind == LEASE_RUN && cgroup_populated(lease->cgroup) != 1)
		r = attach_leader(lease);
	return r;
}

void watch_cgroup(struct lease *lease)
{
	struct watch *watch = watch_of(lease);
	int r;

	if (!lease->cgroup || watch->entered)
		return;
	watch->entered = true;
	r = enter_cgroup(lease);
	if (r < 0 && r != -ESRCH)
		log_warning("lease %" PRId64 " lives by its first process alone: %s: %s", lease->id,
			lease->cgroup, strerrordesc_np(-r));
}

void watch_renew(struct lease *lease)
{
	struct watch *watch = watch_of(lease);

	leader_gone(watch);
	watch->leader_ended = false;
	watch->attempt = attempt_free(watch->attempt);
	/* Another cgroup: some kernels kill whoever is born in one that was ever killed. */
	watch->entered = false;
	watch_bury(watch->manager, lease->id);
	lease->pid = 0;
	lease->start_ticks = 0;
}

void watch_check(struct lease *lease)
{
	struct watch *watch = watch_of(lease);
	int r;

	if (lease->job)
		job_look(watch->manager, lease);
	if (!lease_holds(lease) || (lease->kind != LEASE_RUN && lease->request.bound == BOUND_NOT))
		return;
	if (lease->request.bound == BOUND_LOCK_FILE && lease->pid == 0)
		return; /* it is being written */
	watch_leader(lease);
	if (!watch->leader_ended)
		return;
	r = lease->cgroup ? cgroup_populated(lease->cgroup) : 0;
	if (r != 0 && r != -ENOENT)
		return;
	lifecycle_end(watch->manager, lease, LEASE_END_EXITED, clock_now(&watch->manager->clock),
		EVENT_NOBODY, NULL);
}

/* The leader, where its cgroup does not reach it. */
static void signal_leader(struct lease *lease, int sig)
{
	const struct watch *watch = watch_of(lease);

	if (lease->job && lease->cgroup)
		return; /* the supervisor sees the end of the others */
	watch_leader(lease);
	if (watch->leader_fd < 0 || (lease->cgroup && cgroup_has(lease->cgroup, lease->pid)))
		return;
	if (pidfd_send_signal(watch->leader_fd, sig, NULL, 0) < 0 && errno != ESRCH)
		log_warning("cannot signal process %d of lease %" PRId64 ": %m", (int)lease->pid,
			lease->id);
}

void watch_signal(struct lease *lease, int sig)
{
	if (lease->cgroup)
		cgroup_signal(lease->cgroup, sig);
	signal_leader(lease, sig);
}

void watch_kill(struct lease *lease)
{
	if (lease->cgroup)
		cgroup_kill(lease->cgroup);
	signal_leader(lease, SIGKILL);
}

void watch_bury(struct manager *m, int64_t id)
{
	struct cgroup_watch *cgroup = find(m, id);

	/* Busy: the client that gave up waiting is still in it; the watch tells when it is empty.
	 */
	if (cgroup && cgroup_remove(cgroup->path) != -EBUSY)
		cgroup_watch_free(cgroup);
}

void watch_adopt_orphans(struct manager *m)
{
	_cleanup_(closedirp) DIR *dir = m->cgroup_root ? opendir(m->cgroup_root) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		_cleanup_(freep) char *path = NULL;
		const struct lease *lease;
		uint64_t id;

		if (strncmp(entry->d_name, "lease-", 6) != 0 ||
			parse_uint(entry->d_name + 6, 1, INT64_MAX - 1, &id) < 0 ||
			find(m, (int64_t)id))
			continue;
		lease = pool_find(m->pool, (int64_t)id);
		if (lease && lease->state != LEASE_ENDED)
			continue;
		path = text_format("%s/%s", m->cgroup_root, entry->d_name);
		if (!path || cgroup_remove(path) != -EBUSY)
			continue;
		cgroup_watch_new(m, (int64_t)id, path);
		/* A job that was suspended has ended, and the daemon died before it killed it. */
		if (suspend_is_marked(path))
			cgroup_kill(path);
		/* Somebody emptied the state directory: no new lease may get this number, and these
		 * processes with it. */
		m->next_id = MAX(m->next_id, (int64_t)id + 1);
	}
}

static int ignore(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	return 0;
}

int watch_init(struct manager *m)
{
	return m->cgroup_root ? sd_event_add_inotify(m->event, NULL, m->cgroup_root, IN_DELETE_SELF,
					ignore, NULL)
			      : 0;
}

void watch_cgroups_free(struct manager *m)
{
	while (m->cgroups)
		cgroup_watch_free(m->cgroups);
}
