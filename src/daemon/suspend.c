/* SPDX-License-Identifier: MIT */
/*
 * The program that does it says how it went in one line, and may take as long as the memory of the
 * GPUs takes to be copied. If it ends without a word, what it has begun is led back by another one:
 * they wait for each other, and what was begun is written down with the cgroup.
 */
#include "daemon/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/xattr.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/job.h"
#include "daemon/jobs.h"
#include "priv/freezer.h"
#include "priv/cgroup.h"
#include "priv/supervisor.h"

#define TIMEOUT_US (60 * USEC_PER_SEC) /* without memory to copy */
#define PER_GIB_US (1 * USEC_PER_SEC)  /* a slow machine; usual is 0.4 s */
#define SPARE_US   (10 * USEC_PER_SEC) /* beyond what the program allows itself */
#define LINE_SIZE  (ERROR_TEXT_SIZE + 16)
#define MPS_SERVER "nvidia-cuda-mps-server"
#define MIG_PREFIX "MIG-"

struct suspend {
	struct suspend *next;
	struct manager *manager; /* borrowed */
	int64_t id;              /* of the lease */
	sd_event_source *channel, *timeout;
	suspend_fn *done;
	void *userdata; /* owned until done */
	bool resume;    /* was asked for */
	bool undo;      /* a suspend is being led back */
	char sentence[ERROR_TEXT_SIZE];
};

/* --- may it be? --- */

static struct verdict refuse(const struct lease *lease, const char *id, const char *why)
{
	return verdict_make(
		VERDICT_REFUSED, id, "job %" PRId64 " cannot be suspended: %s", lease->id, why);
}

static struct verdict check_process(
	const struct lease *lease, const struct gpu *gpu, const struct gpu_process *p)
{
#ifndef __x86_64__
	return refuse(lease, "suspend.machine", "cuda-checkpoint exists for x86-64 alone");
#endif
	if (gpu->vendor != GPU_NVIDIA)
		return refuse(lease, "suspend.vendor",
			"it uses a GPU that is not NVIDIA's, and only those can be taken away");
	if (strncmp(gpu->uuid, MIG_PREFIX, strlen(MIG_PREFIX)) == 0)
		return refuse(lease, "suspend.mig",
			"it uses a MIG instance, and cuda-checkpoint knows whole GPUs alone");
	if (strstr(p->command, MPS_SERVER))
		return refuse(lease, "suspend.mps",
			"it uses MPS, which cuda-checkpoint does not support");
	return verdict_ok();
}

struct verdict suspend_check(const struct manager *m, const struct lease *lease)
{
	if (!m->config->jobs_checkpoint)
		return refuse(lease, "suspend.off",
			"this site does not allow it ([jobs] checkpoint is not set in dibs.conf)");
	if (!lease->job || lease->job->is_array || lease->state != LEASE_ACTIVE ||
		!job_runs(m, lease))
		return refuse(lease, "suspend.not-running", "it is not running");
	if (!m->root || !lease->cgroup || cgroup_populated(lease->cgroup) <= 0)
		return refuse(lease, "suspend.cgroup",
			"that needs a dibsd with root, and a cgroup for the job");
	gpu_set_foreach (slot, &lease->gpus) {
		const struct gpu *gpu = &m->pool->gpus[slot];

		for (size_t i = 0; i < gpu->n_processes; i++) {
			struct verdict v;

			if (gpu->processes[i].lease != lease->id)
				continue;
			v = check_process(lease, gpu, &gpu->processes[i]);
			if (v.kind != VERDICT_OK)
				return v;
		}
	}
	return verdict_ok();
}

bool suspend_is_busy(const struct manager *m, int64_t id)
{
	for (const struct suspend *s = m->suspends; s; s = s->next)
		if (s->id == id)
			return true;
	return false;
}

bool suspend_is_marked(const char *cgroup)
{
	return getxattr(cgroup, FREEZER_MARK, NULL, 0) >= 0;
}

bool suspend_was_begun(const struct lease *lease)
{
	return lease->cgroup && suspend_is_marked(lease->cgroup);
}

/* --- the order --- */

/* How long it may take to copy what is on its GPUs. */
static int64_t timeout_of(const struct manager *m, const struct lease *lease)
{
	int64_t mib = 0;

	gpu_set_foreach (slot, &lease->gpus)
		mib += MAX(m->pool->gpus[slot].memory_mib, 0);
	return TIMEOUT_US + mib / 1024 * PER_GIB_US;
}

static void put_gpus(const struct manager *m, const struct lease *lease, struct fields_writer *w)
{
	gpu_set_foreach (slot, &lease->gpus) {
		const struct gpu *gpu = &m->pool->gpus[slot];

		for (size_t i = 0; i < gpu->n_processes; i++)
			if (gpu->processes[i].lease == lease->id)
				fields_put_int(w, "pid", gpu->processes[i].pid);
		for (unsigned i = 0; i < gpu->n_nodes; i++) {
			char node[24];

			snprintf(node, sizeof(node), "%" PRIu32 ":%" PRIu32, gpu->nodes[i].major,
				gpu->nodes[i].minor);
			fields_put(w, "node", node);
		}
	}
}

/* The channel of a program that does it. */
static int hand_over(struct manager *m, const struct lease *lease, bool resume, struct error *err)
{
	_cleanup_(fields_writer_clear) struct fields_writer w = { 0 };

	if (!lease->cgroup)
		return error_set(err, -ENOENT, "suspend.cgroup", "it has no cgroup");
	fields_put(&w, "do", resume ? "resume" : "suspend");
	fields_put_int(&w, "id", lease->id);
	fields_put(&w, "cgroup", lease->cgroup);
	if (m->config->jobs_checkpoint)
		fields_put(&w, "tool", m->config->jobs_checkpoint);
	if (!resume)
		put_gpus(m, lease, &w);
	fields_put_int(&w, "timeout_us", timeout_of(m, lease));
	fields_put(&w, "end", NULL);
	if (w.failed)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	return jobs_hand_over(m, &w, err);
}

/* --- its end --- */

static struct suspend *suspend_free(struct suspend *s)
{
	sd_event_source_disable_unref(s->channel);
	sd_event_source_disable_unref(s->timeout);
	free(s->userdata);
	free(s);
	return NULL;
}

static void unlink_suspend(struct suspend *s)
{
	struct suspend **at = &s->manager->suspends;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
}

static void end(struct suspend *s, enum suspend_outcome outcome)
{
	unlink_suspend(s);
	if (outcome == SUSPEND_DONE)
		s->sentence[0] = '\0';
	else
		log_info("job %" PRId64 " was not %s: %s", s->id,
			s->resume ? "resumed" : "suspended", s->sentence);
	s->done(s->manager, s->id, outcome, s->sentence, TAKE_PTR(s->userdata));
	suspend_free(s);
}

static int begin(struct suspend *s, const struct lease *lease, bool resume, struct error *err);

/* A suspend that must not stay: it is led back, if there is still somebody to run. */
static void undo(struct suspend *s, const char *why)
{
	const struct lease *lease = pool_find(s->manager->pool, s->id);
	struct error err = { 0 };

	s->undo = true;
	text_copy(s->sentence, sizeof(s->sentence), why);
	if (!lease || !lease_holds(lease))
		end(s, SUSPEND_FAILED);
	else if (begin(s, lease, true, &err) < 0)
		end(s, SUSPEND_BROKEN);
}

static void finish(struct suspend *s, enum suspend_outcome outcome, const char *sentence)
{
	const struct lease *lease = pool_find(s->manager->pool, s->id);

	if (s->undo && outcome == SUSPEND_DONE) {
		end(s, SUSPEND_FAILED); /* with the sentence that it was led back for */
	} else if (!s->resume && outcome == SUSPEND_DONE &&
		   !(lease && lease->state == LEASE_ACTIVE)) {
		undo(s, "it is being ended");
	} else {
		text_copy(s->sentence, sizeof(s->sentence), sentence);
		end(s, outcome);
	}
}

/* It ended without a word. */
static void lose(struct suspend *s)
{
	if (s->resume || s->undo)
		finish(s, SUSPEND_BROKEN, "the program that does it has failed");
	else
		undo(s, "the program that does it has failed");
}

static int on_channel(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	static const char *const words[] = {
		[SUSPEND_DONE] = "done", [SUSPEND_FAILED] = "failed", [SUSPEND_BROKEN] = "broken"
	};
	struct suspend *s = userdata;
	char line[LINE_SIZE], *rest = line, *word;
	ssize_t n = read(fd, line, sizeof(line) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	line[MAX(n, 0)] = '\0';
	line[strcspn(line, "\n")] = '\0';
	word = strsep(&rest, " ");
	for (size_t i = 0; i < ELEMENTSOF(words); i++)
		if (strcmp(word, words[i]) == 0) {
			finish(s, (enum suspend_outcome)i, rest ? rest : "");
			return 0;
		}
	lose(s);
	return 0;
}

/* It hangs, and keeps the lock: another one could do nothing. */
static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct suspend *s = userdata;

	s->undo = false;
	finish(s, SUSPEND_BROKEN, "the program that does it does not end");
	return 0;
}

/* --- its beginning --- */

static int begin(struct suspend *s, const struct lease *lease, bool resume, struct error *err)
{
	struct manager *m = s->manager;
	/* It may wait for another, do its work, and undo it. */
	int64_t limit_us = 3 * timeout_of(m, lease) + SPARE_US;
	_cleanup_(closep) int channel = hand_over(m, lease, resume, err);
	int r;

	if (channel < 0)
		return channel;
	s->channel = sd_event_source_disable_unref(s->channel);
	s->timeout = sd_event_source_disable_unref(s->timeout);
	r = sd_event_add_io(m->event, &s->channel, channel, EPOLLIN, on_channel, s);
	if (r >= 0)
		r = sd_event_source_set_io_fd_own(s->channel, true);
	if (r < 0)
		return error_errno(err, r, "suspend.watch", "cannot watch what does it");
	TAKE_FD(channel);
	r = sd_event_add_time_relative(
		m->event, &s->timeout, CLOCK_MONOTONIC, (uint64_t)limit_us, 0, on_timeout, s);
	return r < 0 ? error_errno(err, r, "suspend.watch", "cannot watch what does it") : 0;
}

static int start(
	struct manager *m, struct lease *lease, bool resume, suspend_fn *done, void *userdata)
{
	struct suspend *s;
	struct error err = { 0 };
	int r;

	if (suspend_is_busy(m, lease->id))
		return -EBUSY;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct suspend){
		.manager = m, .id = lease->id, .done = done, .resume = resume, .next = m->suspends
	};
	r = begin(s, lease, resume, &err);
	if (r < 0) {
		log_warning("job %" PRId64 ": %s", lease->id, err.text);
		suspend_free(s);
		return r;
	}
	s->userdata = userdata;
	m->suspends = s;
	return 0;
}

int suspend_start(struct manager *m, struct lease *lease, suspend_fn *done, void *userdata)
{
	return start(m, lease, false, done, userdata);
}

int suspend_resume(struct manager *m, struct lease *lease, suspend_fn *done, void *userdata)
{
	return start(m, lease, true, done, userdata);
}

struct suspend *suspends_free(struct suspend *list)
{
	while (list) {
		struct suspend *next = list->next;

		suspend_free(list);
		list = next;
	}
	return NULL;
}
