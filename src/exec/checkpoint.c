/* SPDX-License-Identifier: MIT */
/*
 * The driver's helper thread in each process does the work, so the processes must run until it is
 * done, and are frozen only then; and they are thawed first. All are locked before any is
 * checkpointed: a process that is locked makes those wait that communicate with it.
 *
 * What was begun is written down with the cgroup before the first process is touched, so that
 * whoever finds it half done (we were killed, the daemon died) knows what to undo. Undoing and
 * resuming are one: whatever state a process is in, it is led to "running".
 *
 * That nobody has the devices open is not taken from the utility's word: who inherited a descriptor
 * of a GPU, or only asks for its temperature, would keep it from being handed out.
 */
#include "exec/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "exec/cuda.h"
#include "priv/freezer.h"
#include "priv/cgroup.h"
#include "priv/fields.h"
#include "priv/holders.h"
#include "priv/process.h"
#include "priv/trust.h"

#define LOCK_WAIT_NS (20 * 1000 * 1000)
#define SCAN_US      (1 * USEC_PER_SEC)
#define TIMEOUT_MAX  (INT64_C(86400) * USEC_PER_SEC)

struct work {
	const struct checkpoint *what; /* borrowed */
	int dir, lock;                 /* of the cgroup; see open_lock() */
	int64_t deadline_ms;
	struct cuda_process processes[CHECKPOINT_PIDS_MAX];
	size_t n, n_given; /* the first n_given were named, the others have a device open */
};

static int parse_node(const char *text, uint32_t node[2])
{
	char major[16];
	const char *colon = strchr(text, ':');
	uint64_t a, b;

	if (!colon || (size_t)(colon - text) >= sizeof(major))
		return -EINVAL;
	text_copy(major, (size_t)(colon - text) + 1, text);
	if (parse_uint(major, 0, UINT32_MAX, &a) < 0 ||
		parse_uint(colon + 1, 0, UINT32_MAX, &b) < 0)
		return -EINVAL;
	node[0] = (uint32_t)a;
	node[1] = (uint32_t)b;
	return 0;
}

static int take_field(const char *field, struct checkpoint *what)
{
	const char *value;
	uint64_t number;

	if ((value = fields_value(field, "do"))) {
		what->resume = strcmp(value, "resume") == 0;
	} else if ((value = fields_value(field, "cgroup"))) {
		what->cgroup = value;
	} else if ((value = fields_value(field, "tool"))) {
		what->tool = value;
	} else if ((value = fields_value(field, "pid"))) {
		if (what->n_pids == CHECKPOINT_PIDS_MAX ||
			parse_uint(value, 1, INT32_MAX, &number) < 0)
			return -EINVAL;
		what->pids[what->n_pids++] = (pid_t)number;
	} else if ((value = fields_value(field, "node"))) {
		if (what->n_nodes == CHECKPOINT_NODES_MAX ||
			parse_node(value, what->nodes[what->n_nodes]) < 0)
			return -EINVAL;
		what->n_nodes++;
	} else if ((value = fields_value(field, "timeout_us"))) {
		if (parse_uint(value, 1, TIMEOUT_MAX, &number) < 0)
			return -EINVAL;
		what->timeout_us = (int64_t)number;
	}
	return 0;
}

int checkpoint_parse(const char *order, size_t size, struct checkpoint *ret, struct error *err)
{
	const char *cursor = order, *end = order + size, *field;

	*ret = (struct checkpoint){ 0 };
	while ((field = fields_next(&cursor, end)))
		if (take_field(field, ret) < 0)
			return error_set(err, -EINVAL, "suspend.order",
				"the order has a field that is not understood: %.100s", field);
	if (cursor != end || !ret->cgroup || ret->cgroup[0] != '/' || ret->timeout_us == 0)
		return error_set(err, -EINVAL, "suspend.order", "the order is not complete");
	return 0;
}

static int64_t deadline_of(const struct checkpoint *what)
{
	return clock_monotonic_ms() + what->timeout_us / USEC_PER_MSEC;
}

/* Security: whoever can open a file can keep it locked, and the directory can be opened by all. Of
 * what lies in it, only this (Linux 5.14) is for root alone. */
static int open_lock(int dir)
{
	int fd = openat(dir, "cgroup.kill", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 && errno == ENOENT ? fcntl(dir, F_DUPFD_CLOEXEC, 0) : fd;
}

/* One at a time: the lock goes with the descriptor. */
static int open_cgroup(struct work *work, struct error *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_WAIT_NS };
	_cleanup_(closep) int dir =
		open(work->what->cgroup, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(closep) int lock = dir < 0 ? -1 : open_lock(dir);

	if (lock < 0)
		return error_errno(
			err, -errno, "suspend.cgroup", "cannot open %s", work->what->cgroup);
	while (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_errno(
				err, -errno, "suspend.lock", "cannot lock %s", work->what->cgroup);
		if (clock_monotonic_ms() >= work->deadline_ms)
			return error_set(err, -ETIMEDOUT, "suspend.lock",
				"another suspend or resume of it does not end");
		nanosleep(&pause, NULL);
	}
	work->dir = TAKE_FD(dir);
	work->lock = TAKE_FD(lock);
	return 0;
}

/* --- whom it is about --- */

static bool is_known(const struct work *work, pid_t pid)
{
	for (size_t i = 0; i < work->n; i++)
		if (work->processes[i].pid == pid)
			return true;
	return false;
}

static int add(struct work *work, pid_t pid, struct error *err)
{
	if (is_known(work, pid))
		return 0;
	if (work->n == CHECKPOINT_PIDS_MAX)
		return error_set(err, -E2BIG, "suspend.processes",
			"more than %d of its processes use GPUs", CHECKPOINT_PIDS_MAX);
	work->processes[work->n++] = (struct cuda_process){ .pid = pid };
	return 0;
}

/* Security: whoever is not in the cgroup of the job is none of our business. */
static int add_given(struct work *work, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < work->what->n_pids && r >= 0; i++) {
		pid_t pid = work->what->pids[i];
		uint64_t ticks;

		if (cgroup_has(work->what->cgroup, pid))
			r = add(work, pid, err);
		else if (process_start_ticks(pid, &ticks) != -ESRCH)
			r = error_set(err, -EPERM, "suspend.outside",
				"process %d has left the cgroup of the job", (int)pid);
	}
	work->n_given = work->n;
	return r;
}

/* All of the cgroup that have one of the devices open: fn says what becomes of them. */
static int for_holders(
	struct work *work, int (*fn)(struct work *, pid_t, struct error *), struct error *err)
{
	_cleanup_(holders_freep) struct holders *scan =
		holders_new(work->what->nodes, work->what->n_nodes, (uid_t)-1);
	const struct holder *found;
	int r = 1;
	size_t n;

	if (!scan)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	while (r > 0 && clock_monotonic_ms() < work->deadline_ms)
		r = holders_step(scan, SCAN_US);
	if (r != 0)
		return error_errno(err, r < 0 ? r : -ETIMEDOUT, "suspend.scan",
			"cannot tell who has the GPUs open");
	found = holders_found(scan, &n);
	for (size_t i = 0; i < n && r >= 0; i++)
		if (cgroup_has(work->what->cgroup, found[i].pid))
			r = fn(work, found[i].pid, err);
	return r;
}

static int refuse_holder(struct work *work, pid_t pid, struct error *err)
{
	char name[64] = "?";

	process_name(pid, name, sizeof(name));
	return error_set(err, -EBUSY, "suspend.open", "process %d %s still has a GPU open%s",
		(int)pid, name,
		is_known(work, pid) ? "" : ", and is no process that cuda-checkpoint knows");
}

/* Those that were named have to run. Those that only have a device open need not know of CUDA: if
 * that keeps the GPU, it shows in the end. */
static int select_running(struct work *work, struct error *err)
{
	size_t kept = 0;
	int r = cuda_look(work->what->tool, work->processes, work->n, work->deadline_ms, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < work->n; i++) {
		const struct cuda_process *p = &work->processes[i];

		if (p->state == CUDA_GONE || (p->state == CUDA_UNKNOWN && i >= work->n_given))
			continue;
		if (p->state == CUDA_UNKNOWN)
			return error_set(err, -EIO, "suspend.unknown",
				"cuda-checkpoint does not know process %d: %s", (int)p->pid,
				p->text);
		if (p->state != CUDA_RUNNING)
			return error_set(err, -EBUSY, "suspend.state", "process %d is %s already",
				(int)p->pid, cuda_state_to_string(p->state));
		work->processes[kept++] = *p;
	}
	work->n = kept;
	return 0;
}

static int find_processes(struct work *work, struct error *err)
{
	int r = add_given(work, err);

	if (r >= 0 && work->what->n_nodes > 0)
		r = for_holders(work, add, err);
	if (r < 0 || work->n == 0)
		return r;
	if (!work->what->tool)
		return error_set(err, -EOPNOTSUPP, "suspend.tool",
			"process %d uses a GPU, and there is no cuda-checkpoint",
			(int)work->processes[0].pid);
	r = trust_program(work->what->tool, err);
	return r < 0 ? r : select_running(work, err);
}

/* --- there and back --- */

static int mark(struct work *work, struct error *err)
{
	pid_t pids[CHECKPOINT_PIDS_MAX];
	int r;

	for (size_t i = 0; i < work->n; i++)
		pids[i] = work->processes[i].pid;
	r = freezer_mark(work->dir, pids, work->n);
	return r < 0 ? error_errno(err, r, "suspend.mark", "cannot write down what is begun") : 0;
}

static int set_frozen(struct work *work, bool frozen, struct error *err)
{
	int r = freezer_set(work->dir, frozen, work->deadline_ms);

	return r < 0 ? error_errno(err, r, "suspend.freeze", "its processes cannot be %s",
			       frozen ? "frozen" : "thawed")
		     : 0;
}

static int act(struct work *work, enum cuda_action action, enum cuda_state state, struct error *err)
{
	return cuda_act(
		work->what->tool, action, state, work->processes, work->n, work->deadline_ms, err);
}

static int check_running(const struct work *work, struct error *err)
{
	for (size_t i = 0; i < work->n; i++)
		if (work->processes[i].state != CUDA_RUNNING &&
			work->processes[i].state != CUDA_GONE)
			return error_set(err, -EIO, "suspend.lost", "process %d is %s: %s",
				(int)work->processes[i].pid,
				cuda_state_to_string(work->processes[i].state),
				work->processes[i].text);
	return 0;
}

/* Whatever state they are in. Those that one failed for are left: the others go on if they can. */
static int lead_back(struct work *work, struct error *err)
{
	int thawed = set_frozen(work, false, err), looked = 0, restored = 0, unlocked = 0, r;

	if (thawed >= 0 && work->n > 0) {
		looked = cuda_look(
			work->what->tool, work->processes, work->n, work->deadline_ms, err);
		if (looked >= 0)
			restored = act(work, CUDA_RESTORE, CUDA_CHECKPOINTED, err);
		if (looked >= 0)
			unlocked = act(work, CUDA_UNLOCK, CUDA_LOCKED, restored < 0 ? NULL : err);
	}
	r = MIN(MIN(thawed, looked), MIN(restored, unlocked));
	if (r >= 0)
		r = check_running(work, err);
	if (r >= 0)
		freezer_unmark(work->dir);
	return r;
}

static int undo(struct work *work, int problem, struct error *err)
{
	struct error second = { 0 };
	char first[ERROR_TEXT_SIZE / 2];

	work->deadline_ms = deadline_of(work->what);
	if (lead_back(work, &second) >= 0)
		return problem;
	text_copy(first, sizeof(first), err->text);
	return error_set(err, -ENOTRECOVERABLE, "suspend.undo",
		"%s; and that could not be undone: %.200s", first, second.text);
}

static int suspend_all(struct work *work, struct error *err)
{
	int r = find_processes(work, err);

	if (r >= 0)
		r = mark(work, err);
	if (r < 0)
		return r;
	if (work->n > 0)
		r = act(work, CUDA_LOCK, CUDA_RUNNING, err);
	if (r >= 0 && work->n > 0)
		r = act(work, CUDA_CHECKPOINT, CUDA_LOCKED, err);
	if (r >= 0)
		r = set_frozen(work, true, err);
	if (r >= 0 && work->what->n_nodes > 0)
		r = for_holders(work, refuse_holder, err);
	return r < 0 ? undo(work, r, err) : 0;
}

static int resume_all(struct work *work, struct error *err)
{
	pid_t pids[CHECKPOINT_PIDS_MAX];
	int n = freezer_read_mark(work->dir, pids, CHECKPOINT_PIDS_MAX);

	for (int i = 0; i < n; i++)
		if (cgroup_has(work->what->cgroup, pids[i]))
			add(work, pids[i], NULL);
	if (work->n > 0 && !work->what->tool)
		return error_set(
			err, -EOPNOTSUPP, "suspend.tool", "there is no cuda-checkpoint any more");
	n = work->n > 0 ? trust_program(work->what->tool, err) : 0;
	return n < 0 ? n : lead_back(work, err);
}

int checkpoint_do(const struct checkpoint *what, struct error *err)
{
	_cleanup_(freep) struct work *work = calloc(1, sizeof(*work));
	int r;

	if (!work)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	work->what = what;
	work->dir = work->lock = -1;
	work->deadline_ms = deadline_of(what);
	r = open_cgroup(work, err);
	if (r >= 0)
		r = what->resume ? resume_all(work, err) : suspend_all(work, err);
	closep(&work->dir);
	closep(&work->lock);
	return r;
}

int checkpoint_main(const char *order, size_t size, int tell)
{
	_cleanup_(freep) struct checkpoint *what = calloc(1, sizeof(*what));
	struct error err = { 0 };
	char line[ERROR_TEXT_SIZE + 16];
	int r = what ? checkpoint_parse(order, size, what, &err)
		     : error_set(&err, -ENOMEM, "memory", "out of memory");
	bool broken;

	if (r >= 0)
		r = checkpoint_do(what, &err);
	broken = r == -ENOTRECOVERABLE || (what && what->resume);
	text_sanitize(err.text);
	snprintf(line, sizeof(line), "%s%s%s\n",
		r >= 0   ? "done"
		: broken ? "broken"
			 : "failed",
		r >= 0 ? "" : " ", err.text);
	write_all(tell, line, strlen(line));
	close(tell);
	return r < 0;
}
