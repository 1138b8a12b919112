/* SPDX-License-Identifier: MIT */
/*
 * Every process has its own run of the utility, all of them at the same time: while one process of
 * a group that communicates is locked, locking the next waits for what the first will not do any
 * more. What a run says is at most a line or two, which a pipe holds until it has ended; one that
 * says more than that blocks, and is ended like any other that takes too long.
 */
#include "exec/cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/strtab.h"
#include "base/text.h"
#include "priv/process.h"

#define REAP_MS  1000 /* after KILL: it may hang in the driver */
#define SPARE_MS 500  /* the utility's own timeout is shorter than ours by that */

static const char *const states[CUDA_STATE_MAX] = {
	[CUDA_GONE] = "gone",
	[CUDA_UNKNOWN] = "unknown",
	[CUDA_RUNNING] = "running",
	[CUDA_LOCKED] = "locked",
	[CUDA_CHECKPOINTED] = "checkpointed",
	[CUDA_FAILED] = "failed",
};
DEFINE_STRTAB(cuda_state, enum cuda_state, states)

static const char *const actions[CUDA_ACTION_MAX] = {
	[CUDA_LOCK] = "lock",
	[CUDA_CHECKPOINT] = "checkpoint",
	[CUDA_RESTORE] = "restore",
	[CUDA_UNLOCK] = "unlock",
};

static const enum cuda_state follows[CUDA_ACTION_MAX] = {
	[CUDA_LOCK] = CUDA_LOCKED,
	[CUDA_CHECKPOINT] = CUDA_CHECKPOINTED,
	[CUDA_RESTORE] = CUDA_LOCKED,
	[CUDA_UNLOCK] = CUDA_RUNNING,
};

/* One run of the utility. */
struct run {
	pid_t child;
	int pidfd; /* -1 = it was not started, or it has ended */
	int out;   /* what it says; -1 = was not started */
	int status;
	bool late;
};

static int start(struct run *run, const char *tool, const char *const *argv)
{
	static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	_cleanup_(closep) int said = -1;
	sigset_t none, all;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	run->out = ends[0];
	said = ends[1];
	/* Blocking, for its writer. */
	if (fcntl(said, F_SETFL, 0) < 0)
		return -errno;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, said, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, said, STDERR_FILENO);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(
		&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	r = posix_spawn(
		&run->child, tool, &files, &attributes, (char *const *)argv, (char *const *)env);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	if (r != 0)
		return -r;
	run->pidfd = pidfd_open(run->child, 0);
	if (run->pidfd >= 0)
		return 0;
	r = -errno;
	kill(run->child, SIGKILL);
	waitpid(run->child, NULL, 0);
	return r;
}

/* Until it has ended, or the deadline is over: then it is killed. */
static void finish(struct run *run, int64_t deadline_ms)
{
	struct pollfd ended = { .fd = run->pidfd, .events = POLLIN };
	int64_t left_ms;

	while ((left_ms = deadline_ms - clock_monotonic_ms()) > 0 &&
		poll(&ended, 1, (int)MIN(left_ms, INT32_MAX)) <= 0)
		;
	if (poll(&ended, 1, 0) <= 0) {
		run->late = true;
		kill(run->child, SIGKILL);
		poll(&ended, 1, REAP_MS);
	}
	/* What does not even die then is left to whoever inherits it. */
	if (waitpid(run->child, &run->status, WNOHANG) <= 0)
		run->status = -1;
	closep(&run->pidfd);
	run->pidfd = -1;
}

static void describe_end(const struct run *run, char *dst, size_t size)
{
	if (run->late)
		text_copy(dst, size, "it took too long");
	else if (WIFSIGNALED(run->status))
		snprintf(dst, size, "the utility ended by signal %d", WTERMSIG(run->status));
	else
		snprintf(dst, size, "the utility ended with status %d", WEXITSTATUS(run->status));
}

/* The first line of what it said, or how it ended. True: it succeeded. */
static bool result(struct run *run, char *dst, size_t size)
{
	bool ok = !run->late && WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0;
	ssize_t n = read(run->out, dst, size - 1);
	char *end;

	closep(&run->out);
	run->out = -1;
	dst[MAX(n, 0)] = '\0';
	end = strpbrk(dst, "\r\n");
	if (end)
		*end = '\0';
	text_sanitize(dst);
	if (!ok && (run->late || !dst[0]))
		describe_end(run, dst, size);
	return ok;
}

static int start_for(struct run *run, const char *tool, int action, pid_t pid, int64_t deadline_ms)
{
	char number[16], timeout[24];
	const char *look[] = { tool, "--get-state", "--pid", number, NULL };
	const char *act[] = { tool, "--action", "", "--pid", number, "--timeout", timeout, NULL };

	snprintf(number, sizeof(number), "%d", (int)pid);
	if (action < 0)
		return start(run, tool, look);
	act[2] = actions[action];
	snprintf(timeout, sizeof(timeout), "%" PRId64,
		MAX(deadline_ms - clock_monotonic_ms() - SPARE_MS, 1));
	if (action != CUDA_LOCK)
		act[5] = NULL;
	return start(run, tool, act);
}

static void take_look(struct run *run, struct cuda_process *p)
{
	uint64_t ticks;

	p->state = CUDA_UNKNOWN;
	if (result(run, p->text, sizeof(p->text)))
		p->state = cuda_state_from_string(p->text);
	if (p->state < CUDA_RUNNING) /* also what is no word of the utility's */
		p->state = process_start_ticks(p->pid, &ticks) == -ESRCH ? CUDA_GONE : CUDA_UNKNOWN;
}

static int take_act(
	struct run *run, enum cuda_action action, struct cuda_process *p, struct error *err)
{
	uint64_t ticks;

	if (result(run, p->text, sizeof(p->text))) {
		p->state = follows[action];
		return 0;
	}
	if (process_start_ticks(p->pid, &ticks) == -ESRCH) {
		p->state = CUDA_GONE;
		return 0;
	}
	return error_set(err, -EIO, "cuda.action", "cuda-checkpoint could not %s process %d: %s",
		actions[action], (int)p->pid, p->text);
}

/* action < 0: only looks. */
static int run_all(const char *tool, int action, int state, struct cuda_process *processes,
	size_t n, int64_t deadline_ms, struct error *err)
{
	_cleanup_(freep) struct run *runs = calloc(MAX(n, 1), sizeof(*runs));
	int first = 0;

	if (!runs)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	for (size_t i = 0; i < n; i++) {
		runs[i] = (struct run){ .pidfd = -1, .out = -1 };
		if (first < 0 || (action >= 0 && processes[i].state != state))
			continue;
		first = start_for(&runs[i], tool, action, processes[i].pid, deadline_ms);
		if (first < 0)
			error_errno(err, first, "cuda.start", "cannot run %s", tool);
	}
	for (size_t i = 0; i < n; i++) {
		int r = 0;

		if (runs[i].pidfd < 0) {
			closep(&runs[i].out);
			continue;
		}
		finish(&runs[i], deadline_ms);
		if (action < 0)
			take_look(&runs[i], &processes[i]);
		else
			r = take_act(&runs[i], action, &processes[i], first < 0 ? NULL : err);
		first = first < 0 ? first : r;
	}
	return first;
}

int cuda_look(const char *tool, struct cuda_process *processes, size_t n, int64_t deadline_ms,
	struct error *err)
{
	return run_all(tool, -1, 0, processes, n, deadline_ms, err);
}

int cuda_act(const char *tool, enum cuda_action action, enum cuda_state state,
	struct cuda_process *processes, size_t n, int64_t deadline_ms, struct error *err)
{
	return run_all(tool, action, state, processes, n, deadline_ms, err);
}
