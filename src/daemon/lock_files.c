/* SPDX-License-Identifier: MIT */
/*
 * A lease that is granted has its files before it is stored, so that nobody gets in between; one
 * that ends keeps them until that is stored. Theirs are seen as they come and go (inotify(7)), and
 * when a file of ours cannot be placed since one of theirs is there.
 */
#include "daemon/lock_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "daemon/account.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "daemon/lock_directory.h"
#include "daemon/lock_file.h"
#include "daemon/rate.h"
#include "daemon/watch.h"

#define NOBODY    INT64_C(-1) /* a file of ours for a GPU that is not to be had */
#define UNKNOWN   INT64_C(-2) /* a file of ours that an earlier daemon has left */
#define TRIES     8           /* somebody may put one there each time, and take it away again */
#define TELL_MS   INT64_C(3600000)
#define NAME_SIZE sizeof("gpu_.json") + 12

struct lock_files {
	char *path;
	int dir;
	bool stray; /* there is another one at that path, which cannot be had; said once */
	sd_event_source *source, *again;
	/* By slot: */
	bool present[GPU_MAX];   /* it was when we last looked */
	int index[GPU_MAX];      /* that its file is named for; -1 = none as yet */
	int64_t placed[GPU_MAX]; /* for which lease (or why) there is a file of ours; 0 = none */
	struct {
		int64_t lease; /* that stands for a file of theirs; 0 = none */
		struct lock_file file;
	} theirs[GPU_MAX];
	bool unheeded[GPU_MAX];   /* one of theirs is there, and gives them nothing */
	int64_t told_ms[GPU_MAX]; /* when the log last had a word about it; 0 = never */
};

/* Users bring about what is told of a lock file, as often as they like. */
static bool may_tell(struct lock_files *files, unsigned slot)
{
	int64_t now_ms = clock_monotonic_ms();

	if (files->told_ms[slot] && now_ms - files->told_ms[slot] < TELL_MS)
		return false;
	files->told_ms[slot] = now_ms;
	return true;
}

static void follow_directory(struct manager *m);

static void name_of(const struct manager *m, unsigned slot, char dst[NAME_SIZE])
{
	snprintf(dst, NAME_SIZE, "gpu_%d.json", m->lock_files->index[slot]);
}

static int look_at(const struct manager *m, unsigned slot, struct lock_file *ret)
{
	char name[NAME_SIZE];

	name_of(m, slot, name);
	return lock_file_look(m->lock_files->dir, name, ret);
}

static int take_away(const struct manager *m, unsigned slot, bool force)
{
	char name[NAME_SIZE];

	name_of(m, slot, name);
	return lock_file_remove(m->lock_files->dir, name, force);
}

/* -EEXIST: it is theirs. */
static int place(struct manager *m, unsigned slot, const struct lease *lease)
{
	_cleanup_(freep) char *text = lock_file_text(
		m->pool->gpus[slot].index, lease ? lease->uid : 0, lease ? lease->id : 0);
	char name[NAME_SIZE];
	int r;

	if (!text)
		return -ENOMEM;
	name_of(m, slot, name);
	r = lock_file_place(m->lock_files->dir, name, text);
	if (r == 0)
		m->lock_files->placed[slot] = lease ? lease->id : NOBODY;
	else if (r != -EEXIST && may_tell(m->lock_files, slot))
		log_warning(
			"cannot make %s in %s: %s", name, m->lock_files->path, strerrordesc_np(-r));
	return r;
}

/* The hold that stands for their lock. */
static struct lease *make(struct manager *m, unsigned slot, const struct lock_file *lock)
{
	struct lease *lease = lease_new();

	if (!lease)
		return NULL;
	lease->id = lease->turn = m->next_id;
	lease->kind = LEASE_HOLD;
	lease->uid = lock->uid;
	lease->gid = lock->gid;
	lease->pid = lock->pid;
	lease->start_ticks = lock->start_ticks;
	lease->submitted_us = clock_now(&m->clock);
	lease->request = (struct request){
		.count = 1,
		.gpus = strdup(m->pool->gpus[slot].uuid),
		.duration_us = TIME_NEVER,
		.wait_us = TIME_NEVER,
		.bound = BOUND_LOCK_FILE,
		.force = true, /* whose the processes on it are is not asked by gpu_lock */
		.command = strdup("gpu_lock"),
	};
	gpu_set_add(&lease->eligible, slot);
	return lease->request.gpus && lease->request.command ? lease : lease_free(lease);
}

static void know(
	struct manager *m, unsigned slot, const struct lease *lease, const struct lock_file *lock)
{
	m->lock_files->theirs[slot].lease = lease->id;
	m->lock_files->theirs[slot].file = *lock;
}

static void take_up(struct manager *m, unsigned slot, const struct lock_file *lock)
{
	struct lease *lease = make(m, slot, lock);
	struct gpu_set gpus = { 0 };

	if (!lease || watch_new(m, lease) < 0 || pool_add(m->pool, lease) < 0) {
		log_error("out of memory; leases are safe on disk");
		abort();
	}
	m->next_id++;
	gpu_set_add(&gpus, slot);
	lifecycle_grant(m, lease, &gpus);
	know(m, slot, lease, lock);
}

static void end_theirs(struct manager *m, struct lease *lease, enum lease_end why)
{
	lifecycle_end(m, lease, why, clock_now(&m->clock), EVENT_NOBODY,
		why == LEASE_END_RELEASED ? "its lock file was removed" : NULL);
}

/* Security: each leaves lines in the journal, as calls that change something do. */
static bool take_change(struct manager *m, uid_t uid)
{
	return uid == 0 || rate_take(&m->rate, account_of(&m->accounts, ACCOUNT_FILE, uid),
				   clock_now(&m->clock), m->config->changes_per_hour);
}

/* Too often within an hour: it is not to be had so. */
static void reject(struct manager *m, unsigned slot, const struct lock_file *lock)
{
	if (may_tell(m->lock_files, slot))
		log_warning("removed gpu_%d.json of uid %u in %s, who asked for more than %u "
			    "changes within an hour",
			m->lock_files->index[slot], (unsigned)lock->uid, m->lock_files->path,
			m->config->changes_per_hour);
	take_away(m, slot, true);
}

/* Security: what dibs hands out to nobody, or to somebody, is not to be had by a file. */
static bool is_withheld(struct manager *m, unsigned slot, const struct lock_file *lock)
{
	const struct gpu *gpu = &m->pool->gpus[slot];
	const struct lease *holder = pool_holder(m->pool, slot);

	if (!holder)
		return gpu->drained || gpu->revoking;
	if (holder->request.bound == BOUND_LOCK_FILE)
		return false;
	if (may_tell(m->lock_files, slot))
		log_warning("GPU %d is leased (#%" PRId64 "), and locked in %s by uid %u",
			gpu->index, holder->id, m->lock_files->path, (unsigned)lock->uid);
	return true;
}

/* Somebody has locked it: the hold of who did, new or known. */
static void notice(struct manager *m, unsigned slot, const struct lock_file *lock)
{
	struct lease *holder = pool_holder(m->pool, slot);

	m->lock_files->unheeded[slot] = is_withheld(m, slot, lock);
	if (m->lock_files->unheeded[slot])
		return;
	if (holder && holder->uid == lock->uid && holder->pid == 0 && lock->pid) {
		batch_touch(m, holder); /* it was being written */
		holder->pid = lock->pid;
		holder->start_ticks = lock->start_ticks;
	}
	if (holder && holder->uid == lock->uid && (lock->pid == 0 || holder->pid == lock->pid)) {
		know(m, slot, holder, lock);
		return;
	}
	if (holder)
		end_theirs(m, holder, LEASE_END_RELEASED);
	if (take_change(m, lock->uid))
		take_up(m, slot, lock);
	else
		reject(m, slot, lock);
}

/* It is there no more, or its process is not. */
static void forget(struct manager *m, unsigned slot, enum lease_end why)
{
	struct lease *holder = pool_holder(m->pool, slot);

	m->lock_files->theirs[slot].lease = 0;
	if (holder && holder->request.bound == BOUND_LOCK_FILE)
		end_theirs(m, holder, why);
}

static void look_again(struct lock_files *files)
{
	if (sd_event_source_get_enabled(files->again, NULL) != 0)
		return;
	sd_event_source_set_time_relative(files->again, LOCK_FILE_YOUNG_US + USEC_PER_MSEC);
	sd_event_source_set_enabled(files->again, SD_EVENT_ONESHOT);
}

static void look(struct manager *m, unsigned slot)
{
	struct lock_files *files = m->lock_files;
	struct lock_file lock;
	int r;

	if (!m->pool->gpus[slot].present)
		return;
	r = look_at(m, slot, &lock);
	if (r < 0) {
		if (may_tell(files, slot))
			log_warning("cannot read gpu_%d.json in %s: %s", files->index[slot],
				files->path, strerrordesc_np(-r));
		return;
	}
	files->unheeded[slot] = false;
	switch (lock.state) {
	case LOCK_OURS:
		if (!files->placed[slot])
			files->placed[slot] = UNKNOWN;
		break;
	case LOCK_LIVE:
	case LOCK_WRITING:
		if (lock.state == LOCK_WRITING && lock.young)
			look_again(files);
		files->placed[slot] = 0;
		notice(m, slot, &lock);
		break;
	case LOCK_STALE:
		files->placed[slot] = 0;
		forget(m, slot, LEASE_END_EXITED);
		/* Their next client could not remove it: the directory is sticky. */
		if (take_away(m, slot, false) == -EAGAIN)
			batch_want_pass(m); /* it is somebody's by now; that is on its way to us */
		break;
	case LOCK_NONE:
		files->placed[slot] = 0;
		forget(m, slot, LEASE_END_RELEASED);
		break;
	}
}

void lock_files_look(struct manager *m)
{
	for (unsigned slot = 0; m->lock_files && slot < m->pool->n_gpus; slot++)
		look(m, slot);
	lock_files_apply(m);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	lock_files_look(userdata);
	return 0;
}

static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct manager *m = userdata;
	char name[NAME_SIZE];

	if (event->mask & IN_Q_OVERFLOW) {
		lock_files_look(m);
		return 0;
	}
	for (unsigned slot = 0; event->len > 0 && slot < m->pool->n_gpus; slot++) {
		name_of(m, slot, name);
		if (strcmp(name, event->name) == 0) {
			look(m, slot);
			lock_files_apply(m);
		}
	}
	return 0;
}

/* False: somebody has it. */
static bool claim(struct manager *m, const struct lease *lease, unsigned slot)
{
	const struct lease *holder = pool_holder(m->pool, slot);

	if (holder && holder->request.bound != BOUND_LOCK_FILE)
		return true; /* another share of it */
	/* One of ours is that of who had it until now. A directory that does not work keeps nobody
	 * from dibs, nor does who makes and removes a file all the time. */
	for (int i = 0;
		i < TRIES && !m->lock_files->placed[slot] && place(m, slot, lease) == -EEXIST;
		i++) {
		look(m, slot);
		if (pool_holder(m->pool, slot))
			return false;
	}
	return true;
}

bool lock_files_claim(struct manager *m, const struct lease *lease, const struct gpu_set *gpus)
{
	if (!m->lock_files)
		return true;
	follow_directory(m);
	gpu_set_foreach (slot, gpus)
		if (!claim(m, lease, slot))
			return false;
	return true;
}

/* What there should be in placed: whose file. Their own stays theirs. */
static int64_t wanted(const struct manager *m, unsigned slot, const struct lease **ret_holder)
{
	const struct gpu *gpu = &m->pool->gpus[slot];
	const struct lease *holder = pool_holder(m->pool, slot);

	*ret_holder = NULL;
	if (holder && holder->request.bound == BOUND_LOCK_FILE)
		return 0;
	*ret_holder = holder;
	return holder ? holder->id : gpu->drained || gpu->revoking ? NOBODY : 0;
}

static bool is_same(const struct lock_file *a, const struct lock_file *b)
{
	return a->uid == b->uid && a->pid == b->pid && a->written_ns == b->written_ns;
}

/* Their hold has ended here: so does that lock, if it did not end for lack of a place to store it.
 * There may be another one by now. */
static void remove_theirs(struct manager *m, unsigned slot)
{
	struct lock_files *files = m->lock_files;
	const struct lease *lease = pool_find(m->pool, files->theirs[slot].lease);
	struct lock_file lock;

	if (!files->theirs[slot].lease || (lease && lease->state != LEASE_ENDED))
		return;
	files->theirs[slot].lease = 0;
	if (!lease || lease->end == LEASE_END_NONE)
		return;
	if (look_at(m, slot, &lock) == 0 &&
		(lock.state == LOCK_LIVE || lock.state == LOCK_WRITING) &&
		is_same(&lock, &files->theirs[slot].file))
		take_away(m, slot, true);
	else
		look(m, slot);
}

void lock_files_apply(struct manager *m)
{
	struct lock_files *files = m->lock_files;

	for (unsigned slot = 0; files && slot < m->pool->n_gpus; slot++) {
		const struct lease *holder;
		int64_t want = wanted(m, slot, &holder);

		remove_theirs(m, slot);
		if (files->unheeded[slot] && !want && !holder)
			look(m, slot); /* it is to be had now */
		if (want == files->placed[slot] || !m->pool->gpus[slot].present)
			continue;
		if (want)
			place(m, slot, holder);
		else if (take_away(m, slot, false) == 0)
			files->placed[slot] = 0;
	}
}

/* GPUs that came, or got another number: from the driver, which counts anew when one is lost. Until
 * one is back, what there is for it stays, of whatever number. */
static void follow_gpus(struct manager *m)
{
	struct lock_files *files = m->lock_files;
	struct gpu_set others = { 0 };

	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
		const struct gpu *gpu = &m->pool->gpus[slot];
		bool came = gpu->present && !files->present[slot];

		files->present[slot] = gpu->present;
		if (!gpu->present || (!came && gpu->index == files->index[slot]))
			continue;
		gpu_set_add(&others, slot);
		if (files->placed[slot] && gpu->index != files->index[slot])
			take_away(m, slot, false);
		files->placed[slot] = 0;
		files->index[slot] = gpu->index;
	}
	gpu_set_foreach (slot, &others)
		look(m, slot);
}

void lock_files_follow(struct manager *m)
{
	if (!m->lock_files)
		return;
	follow_directory(m);
	follow_gpus(m);
	lock_files_apply(m);
}

static int start(struct manager *m, const char *path)
{
	struct lock_files *files = calloc(1, sizeof(*files));
	int r;

	if (!files)
		return -ENOMEM;
	for (unsigned slot = 0; slot < GPU_MAX; slot++)
		files->index[slot] = -1;
	files->path = strdup(path);
	files->dir = !files->path ? -ENOMEM
		     : m->root    ? lock_directory_open(path, m->config)
				  : -EPERM;
	if (files->dir < 0) {
		r = files->dir;
		free(files->path);
		free(files);
		return r;
	}
	m->lock_files = files;
	r = sd_event_add_inotify_fd(m->event, &files->source, files->dir,
		IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO, on_change, m);
	if (r >= 0)
		r = sd_event_add_time(
			m->event, &files->again, CLOCK_MONOTONIC, 0, 1000, on_again, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(files->again, SD_EVENT_OFF);
	if (r < 0)
		m->lock_files = lock_files_free(files);
	return r;
}

/* Somebody may have moved or removed the directory: what is at its path counts. */
static void follow_directory(struct manager *m)
{
	struct lock_files *files = m->lock_files;
	int r;

	if (lock_directory_is_at(files->dir, files->path))
		return;
	r = start(m, files->path);
	if (r < 0) {
		m->lock_files = files;
		if (!files->stray)
			log_error("%s is not the directory that it was: %s", files->path,
				strerrordesc_np(-r));
		files->stray = true;
		return;
	}
	log_warning("%s is not the directory that it was", files->path);
	lock_files_free(files);
	follow_gpus(m);
	lock_files_apply(m);
}

/* Nobody sees to them any more. */
static void end_all(struct manager *m)
{
	for (size_t i = 0; i < m->pool->n_leases; i++)
		if (m->pool->leases[i]->request.bound == BOUND_LOCK_FILE)
			end_theirs(m, m->pool->leases[i], LEASE_END_RELEASED);
}

void lock_files_start(struct manager *m)
{
	int r = m->config->lock_directory ? start(m, m->config->lock_directory) : 0;

	if (r < 0)
		log_error("cannot bridge to gpu_lock: %s: %s", m->config->lock_directory,
			strerrordesc_np(-r));
	if (!m->lock_files) {
		end_all(m);
		return;
	}
	lock_directory_link(m->config->lock_directory);
	follow_gpus(m);
	lock_files_apply(m);
}

struct lock_files *lock_files_free(struct lock_files *files)
{
	if (!files)
		return NULL;
	sd_event_source_disable_unref(files->source);
	sd_event_source_disable_unref(files->again);
	closep(&files->dir);
	free(files->path);
	free(files);
	return NULL;
}
