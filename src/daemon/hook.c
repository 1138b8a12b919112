/* SPDX-License-Identifier: MIT */
/*
 * What a hook is told is written down when the event happens, since its lease may be gone a moment
 * later; it is started from a source of its own, so that no answer waits for a fork.
 *
 * Each of the few that run has a cgroup of its own, by its place among them: whatever it leaves
 * behind is killed with it, also by the next daemon after a crash. Without cgroups that is its
 * process group, from which it could move away; it has no more rights than the user dibs there.
 */
#include "daemon/hook.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/guard.h"
#include "daemon/service_user.h"
#include "priv/cgroup.h"
#include "priv/spawn.h"
#include "priv/trust.h"
#include "proto/view.h"

#define RUNS_MAX  4
#define QUEUE_MAX 256
#define REAP_MS   1000

struct run {
	struct hook *hook; /* borrowed: embeds this */
	pid_t pid;         /* 0 = nothing runs here */
	int pidfd;
	char *cgroup; /* owned; NULL = there are none */
	sd_event_source *exit, *timeout;
	bool overdue; /* was killed for that */
};

struct hook {
	struct manager *manager; /* borrowed */
	uid_t uid;
	gid_t gid;
	sd_event_source *start; /* there is something to start */
	struct run runs[RUNS_MAX];
	char *queue[QUEUE_MAX]; /* owned; a ring of what hooks are to be told */
	size_t first, n;
	unsigned dropped;              /* since the queue was full */
	char problem[ERROR_TEXT_SIZE]; /* the latest that was logged; empty = the last one worked */
};

/* Every event could fail alike: says it once. */
static void complain(struct hook *hook, const char *text)
{
	if (strcmp(hook->problem, text) == 0)
		return;
	text_copy(hook->problem, sizeof(hook->problem), text);
	log_warning("[hook] on-event: %s", text);
}

/* A file with the text, at its beginning. */
static int text_file(const char *text)
{
	_cleanup_(closep) int fd = memfd_create("event", MFD_CLOEXEC);

	if (fd < 0 || write_all(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static void kill_run(struct run *run)
{
	kill(-run->pid, SIGKILL); /* not reaped yet: the number is still its own */
	kill(run->pid, SIGKILL);
	if (run->cgroup)
		cgroup_kill(run->cgroup);
}

static void forget_run(struct run *run)
{
	run->exit = sd_event_source_disable_unref(run->exit);
	run->timeout = sd_event_source_disable_unref(run->timeout);
	closep(&run->pidfd);
	run->pidfd = -1;
	run->pid = 0;
}

static void start_soon(struct hook *hook)
{
	sd_event_source_set_enabled(hook->start, SD_EVENT_ONESHOT);
}

static int on_exit_of_hook(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct run *run = userdata;
	struct hook *hook = run->hook;
	siginfo_t info = { 0 };
	char text[128];

	kill_run(run); /* what it left behind */
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return 0;
	snprintf(text, sizeof(text), "the program failed (%s %d)",
		info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	if (info.si_code == CLD_EXITED && info.si_status == 0)
		hook->problem[0] = '\0';
	else if (!run->overdue)
		complain(hook, text);
	forget_run(run);
	start_soon(hook);
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;

	complain(run->hook, "the program ran for too long, and is killed");
	run->overdue = true;
	kill_run(run);
	return 0;
}

static int start(struct hook *hook, struct run *run, const char *text, struct error *err)
{
	static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	const struct manager *m = hook->manager;
	const char *argv[] = { m->config->hook_on_event, NULL };
	_cleanup_(closep) int fd = -1;
	struct spawn what = { .argv = argv, .env = env, .uid = hook->uid, .gid = hook->gid };
	int r;

	/* Security: who can write the program decides what the user dibs does, and is told of
	 * everybody's leases. */
	r = trust_program(argv[0], err);

	if (r < 0)
		return r;
	fd = text_file(text);
	if (fd < 0)
		return error_errno(err, fd, "hook.file", "cannot write down an event");
	what.stdin_fd = fd;
	what.stdout_fd = -1;
	if (run->cgroup && cgroup_create(run->cgroup) >= 0)
		what.cgroup = run->cgroup;
	r = spawn(&what, &run->pid, err);
	if (r < 0)
		return r;
	run->pidfd = r;
	run->overdue = false;
	r = sd_event_add_io(m->event, &run->exit, run->pidfd, EPOLLIN, on_exit_of_hook, run);
	if (r >= 0)
		r = sd_event_add_time_relative(m->event, &run->timeout, CLOCK_MONOTONIC,
			(uint64_t)m->config->hook_timeout_us, USEC_PER_MSEC, on_timeout, run);
	if (r >= 0)
		return 0;
	kill_run(run);
	waitid(P_PIDFD, (id_t)run->pidfd, &(siginfo_t){ 0 }, WEXITED);
	forget_run(run);
	return error_errno(err, r, "hook.watch", "cannot watch the program");
}

static char *take_first(struct hook *hook)
{
	char *text = TAKE_PTR(hook->queue[hook->first]);

	hook->first = (hook->first + 1) % QUEUE_MAX;
	if (--hook->n == 0 && hook->dropped > 0) {
		log_warning("[hook] on-event: %u events were not told, since more than %d waited",
			hook->dropped, QUEUE_MAX);
		hook->dropped = 0;
	}
	return text;
}

static struct run *free_run(struct hook *hook)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (hook->runs[i].pid == 0)
			return &hook->runs[i];
	return NULL;
}

/* One at a time: between two, others get their turn. */
static int on_start(sd_event_source *source, void *userdata)
{
	struct hook *hook = userdata;
	struct run *run = free_run(hook);
	_cleanup_(freep) char *text = NULL;
	struct error err = { 0 };

	if (!run || hook->n == 0)
		return 0;
	text = take_first(hook);
	if (hook->manager->config->hook_on_event && start(hook, run, text, &err) < 0)
		complain(hook, err.text);
	start_soon(hook);
	return 0;
}

/* NULL without memory. */
static char *describe(const struct manager *m, const struct event *event)
{
	const struct lease *lease = event->lease ? pool_find(m->pool, event->lease) : NULL;
	json_t *line = view_event(event), *object;
	char *text;

	json_object_del(line, "id"); /* the store alone knows it */
	object = json_pack("{s:s, s:o, s:o}", "host", m->host, "event", line, "lease",
		lease ? view_lease(m->pool, lease, pool_position(m->pool, lease),
				clock_to_wall_offset(&m->clock))
		      : json_null());
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

static bool is_wanted(const struct manager *m, const struct event *event)
{
	bool foreign = event->kind == EVENT_FOREIGN || event->kind == EVENT_FOREIGN_ENDED;

	return m->config->hook_on_event && (!foreign || guard_mode(m) != GUARD_OFF);
}

void hook_event(struct manager *m, const struct event *event)
{
	struct hook *hook = m->hook;
	char *text;

	if (!is_wanted(m, event))
		return;
	text = hook->n < QUEUE_MAX ? describe(m, event) : NULL;
	if (!text) {
		hook->dropped++;
		return;
	}
	hook->queue[(hook->first + hook->n++) % QUEUE_MAX] = text;
	start_soon(hook);
}

/* What a daemon that crashed has left there is ended. */
static int make_cgroup(const struct manager *m, struct run *run, size_t i)
{
	if (!m->cgroup_root)
		return 0;
	run->cgroup = text_format("%s/hook-%zu", m->cgroup_root, i + 1);
	if (!run->cgroup)
		return -ENOMEM;
	cgroup_kill(run->cgroup);
	cgroup_remove(run->cgroup);
	return 0;
}

int hook_new(struct manager *m, struct hook **ret)
{
	struct hook *hook = calloc(1, sizeof(*hook));
	int r = 0;

	if (!hook)
		return -ENOMEM;
	*ret = hook;
	hook->manager = m;
	service_user(m, &hook->uid, &hook->gid);
	for (size_t i = 0; i < RUNS_MAX; i++) {
		hook->runs[i].hook = hook;
		hook->runs[i].pidfd = -1;
		r = r < 0 ? r : make_cgroup(m, &hook->runs[i], i);
	}
	if (r >= 0)
		r = sd_event_add_defer(m->event, &hook->start, on_start, hook);
	return r < 0 ? r : sd_event_source_set_enabled(hook->start, SD_EVENT_OFF);
}

static void end_run(struct run *run)
{
	struct pollfd ended = { .fd = run->pidfd, .events = POLLIN };

	if (run->pid > 0) {
		kill_run(run);
		if (poll(&ended, 1, REAP_MS) > 0)
			waitid(P_PIDFD, (id_t)run->pidfd, &(siginfo_t){ 0 }, WEXITED | WNOHANG);
		forget_run(run);
	}
	if (run->cgroup)
		cgroup_remove(run->cgroup);
	free(run->cgroup);
}

struct hook *hook_free(struct hook *hook)
{
	if (!hook)
		return NULL;
	for (size_t i = 0; i < RUNS_MAX; i++)
		end_run(&hook->runs[i]);
	for (size_t i = 0; i < QUEUE_MAX; i++)
		free(hook->queue[i]);
	sd_event_source_disable_unref(hook->start);
	free(hook);
	return NULL;
}
