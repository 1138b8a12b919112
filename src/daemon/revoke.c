/* SPDX-License-Identifier: MIT */
/*
 * One scan at a time, in steps, for all GPUs on which something is being revoked when it starts;
 * two in a row must find nobody, since descriptors can be handed on while one goes on. Whoever it
 * finds without a right (root excepted, and programs that the site ignores if they are not of the
 * user of the lease) is told and gets TERM; after the grace KILL; after DOOM_US more the GPU is
 * drained. A scan follows when one of them ends, or a second later: who closes the device and lives
 * on is let live, and forgotten.
 *
 * The grace is that of the GPU: a process that only comes to have it open when that is over, by
 * fork(2) or from another's hands, is killed at once, or a chain of them would never end.
 *
 * Anybody can hand a descriptor to processes of others, who may not even know it: a bus has it for
 * as long as a message is on its way. So who is not the user of the lease has a grace to let go
 * before TERM, and the processes of system users are let live: the GPU waits for them.
 *
 * Where a GPU was leased with --force, others were on it with the consent of the owner: then only
 * processes of the owner are ended.
 */
#include "daemon/revoke.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/attribution.h"
#include "daemon/batch.h"
#include "daemon/guard.h"
#include "daemon/sensor.h"
#include "daemon/step.h"
#include "priv/holders.h"
#include "priv/process.h"
#include "priv/terminal.h"

#define STEP_US     (1 * USEC_PER_MSEC) /* of a scan, between two rounds of the loop */
#define AGAIN_US    (1 * USEC_PER_SEC)  /* until the next scan while somebody is there */
#define DOOM_US     (10 * USEC_PER_SEC) /* after KILL: it hangs in the kernel */
#define TARGETS_MAX 256                 /* beyond that they have to wait for the others' end */
#define TELL_MAX    16                  /* of the processes on one GPU */

/* A process that is to let go or to end. */
struct target {
	struct manager *manager; /* borrowed */
	pid_t pid;
	uint64_t start_ticks;
	int64_t found_us;  /* ledger time */
	int64_t killed_us; /* of its KILL; 0 = not yet */
	bool asked;        /* got TERM */
	bool seen;         /* by the latest scan */
	int fd;            /* pidfd, -1 = none was to be had */
	sd_event_source *end;
};

/* How far it is on one GPU. */
struct progress {
	int64_t since_us; /* ledger time when the first was found; 0 = nobody yet */
	unsigned told;    /* so many were told */
	uid_t owner;      /* of the lease */
	bool unknown;     /* whose it was could not be read: nobody is pressed */
	bool forced;      /* others were there with the consent of the owner */
};

struct revoke {
	struct holders *scan; /* owned; NULL = none goes on */
	struct gpu_set scanned;
	bool looking;         /* all was scanned, those who were found are looked at */
	size_t looked;        /* at so many of them */
	struct gpu_set busy;  /* one of them may not be there */
	struct gpu_set empty; /* the latest scan found nobody there */
	sd_event_source *step, *again;
	struct target targets[TARGETS_MAX];
	size_t n_targets;
	struct progress progress[GPU_MAX]; /* by slot */
	int problem;                       /* of the latest scan, as it was logged */
};

void revoke_mark(struct manager *m, const struct lease *lease, const struct gpu_set *gpus)
{
	if (!guard_denies(m))
		return;
	gpu_set_foreach (slot, gpus) {
		batch_touch_gpu(m, slot);
		m->pool->gpus[slot].revoking = lease->id;
		gpu_set_remove(&m->revoke->empty, slot);
		gpu_set_remove(&m->revoke->scanned, slot); /* what is going on began before */
		m->revoke->progress[slot] = (struct progress){ 0 };
	}
}

static struct gpu_set marked(const struct manager *m)
{
	struct gpu_set set = { 0 };

	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		if (m->pool->gpus[slot].revoking)
			gpu_set_add(&set, slot);
	return set;
}

static void scan_later(struct revoke *revoke)
{
	sd_event_source_set_time_relative(revoke->again, AGAIN_US);
	sd_event_source_set_enabled(revoke->again, SD_EVENT_ONESHOT);
}

static void start_scan(struct manager *m);

/* --- those who are to let go --- */

/* How a process came to have it open. */
enum claim {
	CLAIM_OWNER,    /* by the lease, as a process of its user */
	CLAIM_STRANGER, /* from others' hands, or before the lease was given away */
	CLAIM_SYSTEM,   /* the same, and it is of a system user */
};

static void drop_target(struct revoke *revoke, size_t i)
{
	struct target *target = &revoke->targets[i];

	sd_event_source_disable_unref(target->end);
	closep(&target->fd);
	*target = revoke->targets[--revoke->n_targets];
	if (i < revoke->n_targets && target->end)
		sd_event_source_set_userdata(target->end, target);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct target *target = userdata;
	struct manager *m = target->manager;

	drop_target(m->revoke, (size_t)(target - m->revoke->targets));
	start_scan(m);
	return 0;
}

static struct target *find_target(struct revoke *revoke, const struct holder *holder)
{
	for (size_t i = 0; i < revoke->n_targets; i++)
		if (revoke->targets[i].pid == holder->pid &&
			revoke->targets[i].start_ticks == holder->start_ticks)
			return &revoke->targets[i];
	return NULL;
}

static struct target *add_target(struct manager *m, const struct holder *holder)
{
	struct revoke *revoke = m->revoke;
	struct target *target;

	if (revoke->n_targets == TARGETS_MAX)
		return NULL;
	target = &revoke->targets[revoke->n_targets++];
	*target = (struct target){
		.manager = m,
		.pid = holder->pid,
		.start_ticks = holder->start_ticks,
		.found_us = clock_now(&m->clock),
		.fd = process_open(holder->pid, holder->start_ticks),
	};
	if (target->fd >= 0)
		sd_event_add_io(m->event, &target->end, target->fd, EPOLLIN, on_end, target);
	return target;
}

/* Those that the latest scan did not find have let go: should they have a GPU open some day whose
 * lease ends then, they have their grace as everybody. */
static void forget_unseen(struct revoke *revoke)
{
	for (size_t i = revoke->n_targets; i-- > 0;) {
		if (!revoke->targets[i].seen)
			drop_target(revoke, i);
		else
			revoke->targets[i].seen = false;
	}
}

static void tell(struct manager *m, unsigned slot, const struct gpu_process *p, enum claim claim)
{
	const struct gpu *gpu = &m->pool->gpus[slot];
	char grace[DURATION_TEXT_SIZE], detail[EVENT_DETAIL_SIZE], end[128];

	if (m->revoke->progress[slot].told++ >= TELL_MAX)
		return;
	format_duration(grace, m->config->kill_grace_us);
	if (claim == CLAIM_OWNER)
		snprintf(end, sizeof(end), "it is killed in %s", grace);
	else if (claim == CLAIM_STRANGER)
		snprintf(end, sizeof(end),
			"somebody may have handed it the open device; it is ended in %s unless it "
			"lets go",
			grace);
	else
		text_copy(end, sizeof(end),
			"it is of the system, so it is not ended; restart its service");
	snprintf(detail, sizeof(detail),
		"process %d (%s) still has GPU %d open, which lease #%" PRId64 " gave back; %s",
		(int)p->pid, p->command, gpu->index, gpu->revoking, end);
	batch_event(m, EVENT_REVOKED, gpu->revoking, p->uid, gpu->uuid, detail);
	if (claim == CLAIM_SYSTEM)
		log_warning("%s", detail);
	else
		terminal_tell(p->uid, detail);
}

static void doom(struct manager *m, unsigned slot, const struct gpu_process *p)
{
	struct gpu *gpu = &m->pool->gpus[slot];

	if (gpu->drained)
		return;
	batch_touch_gpu(m, slot);
	gpu->drained = true;
	snprintf(gpu->drain_reason, sizeof(gpu->drain_reason),
		"process %d (%.63s) was killed but does not end, and has it open", (int)p->pid,
		p->command);
	batch_event(m, EVENT_DRAINED, gpu->revoking, EVENT_NOBODY, gpu->uuid, gpu->drain_reason);
	log_error("GPU %d (%s) is drained: %s", gpu->index, gpu->uuid, gpu->drain_reason);
}

static void ask(struct target *target, const struct holder *holder)
{
	if (holder_signal(holder, SIGTERM) < 0)
		return;
	holder_signal(holder, SIGCONT); /* a stopped process would not see it */
	target->asked = true;
}

static void end(struct target *target, const struct holder *holder, int64_t now_us)
{
	int r = holder_signal(holder, SIGKILL);

	/* The scan found it there; that it moves it about is no way out. */
	if (r == -EAGAIN && target->fd >= 0)
		r = pidfd_send_signal(target->fd, SIGKILL, NULL, 0);
	if (r >= 0)
		target->killed_us = now_us;
}

static void press(struct manager *m, unsigned slot, const struct holder *holder,
	const struct gpu_process *p, enum claim claim)
{
	struct progress *progress = &m->revoke->progress[slot];
	struct target *target = find_target(m->revoke, holder);
	int64_t now_us = clock_now(&m->clock), grace_us = m->config->kill_grace_us;
	int64_t ask_after_us = claim == CLAIM_STRANGER ? grace_us : 0, kill_us;

	if (!target) {
		target = add_target(m, holder);
		if (target)
			tell(m, slot, p, claim);
	}
	if (target)
		target->seen = true;
	if (progress->since_us == 0)
		progress->since_us = now_us;
	if (claim == CLAIM_SYSTEM)
		return;
	kill_us = progress->since_us + ask_after_us + grace_us;
	if (!target && now_us >= kill_us)
		holder_signal(holder, SIGKILL);
	if (!target)
		return;
	if (target->killed_us > 0 && now_us >= target->killed_us + DOOM_US)
		doom(m, slot, p);
	else if (target->killed_us == 0 && now_us >= kill_us)
		end(target, holder, now_us);
	else if (!target->asked && now_us >= target->found_us + ask_after_us)
		ask(target, holder);
}

/* --- whom a scan found --- */

/* Whose end of a lease is enforced there. */
static void learn_owner(struct manager *m, unsigned slot)
{
	struct progress *progress = &m->revoke->progress[slot];
	const struct lease *lease = pool_find(m->pool, m->pool->gpus[slot].revoking);
	_cleanup_(lease_freep) struct lease *owned = NULL;
	struct error err = { 0 };

	progress->unknown = !lease && m->store->ops->get_lease(m->store, m->pool,
					      m->pool->gpus[slot].revoking, &owned, &err) < 0;
	if (!lease)
		lease = owned;
	progress->owner = lease ? lease->uid : (uid_t)-1;
	progress->forced = lease && lease->request.force;
}

/* By any of the GPUs that share the node. A process outside of a run of its user has no lease, but
 * the gate lets it in. */
static bool has_right(const struct manager *m, const struct holder *holder, struct gpu_process *p)
{
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
		if (!gpu_has_node(&m->pool->gpus[slot], holder->major, holder->minor))
			continue;
		attribution_judge(m, slot, p);
		if (p->standing == STANDING_LEASE || p->standing == STANDING_OUTSIDE)
			return true;
	}
	return false;
}

static enum claim claim_of(const struct gpu_process *p, uid_t owner)
{
	if (p->uid == owner || p->uid == 0) /* root: of the container of the lease, see is_spared */
		return CLAIM_OWNER;
	return account_is_system(p->uid) ? CLAIM_SYSTEM : CLAIM_STRANGER;
}

/* Those whom the end of that lease does not concern. */
static bool is_spared(
	const struct gpu *gpu, const struct progress *progress, const struct gpu_process *p)
{
	/* Root in a container that was given the lease is not root of the machine. */
	if (p->uid == 0)
		return p->container_lease != gpu->revoking;
	/* Security: who had the lease could run anything inside of a program that is ignored. */
	return p->uid != progress->owner && (p->ignored || progress->forced);
}

/* Does it keep GPUs from being handed out? */
static void look_at(struct manager *m, const struct holder *holder)
{
	struct revoke *revoke = m->revoke;
	struct gpu_process p = { .pid = holder->pid, .memory_mib = GPU_UNKNOWN };

	if (holder->uid == sensor_user(m->sensor) || attribution_fill(m, &p) < 0 ||
		p.start_ticks != holder->start_ticks || has_right(m, holder, &p))
		return;
	gpu_set_foreach (slot, &revoke->scanned) {
		const struct gpu *gpu = &m->pool->gpus[slot];
		const struct progress *progress = &revoke->progress[slot];

		if (gpu->revoking == 0 || !gpu_has_node(gpu, holder->major, holder->minor) ||
			is_spared(gpu, progress, &p))
			continue;
		if (!progress->unknown)
			press(m, slot, holder, &p, claim_of(&p, progress->owner));
		gpu_set_add(&revoke->busy, slot);
	}
}

static void start_looking(struct manager *m)
{
	struct revoke *revoke = m->revoke;

	revoke->looking = true;
	revoke->looked = 0;
	revoke->busy = (struct gpu_set){ 0 };
	gpu_set_foreach (slot, &revoke->scanned)
		learn_owner(m, slot);
}

/* At some of those who were found. True: at all of them. */
static bool look_on(struct manager *m)
{
	size_t n;
	const struct holder *found = holders_found(m->revoke->scan, &n);
	int64_t end_us = clock_now(&m->clock) + STEP_US;

	while (m->revoke->looked < n && clock_now(&m->clock) < end_us)
		look_at(m, &found[m->revoke->looked++]);
	return m->revoke->looked == n;
}

static void finish(struct manager *m)
{
	struct revoke *revoke = m->revoke;
	struct gpu_set left, scanned = revoke->scanned;
	bool again = false;

	gpu_set_foreach (slot, &scanned) {
		if (m->pool->gpus[slot].revoking == 0)
			continue;
		if (gpu_set_has(&revoke->busy, slot) || revoke->problem < 0) {
			gpu_set_remove(&revoke->empty, slot);
			continue;
		}
		if (!gpu_set_has(&revoke->empty, slot)) {
			again = true;
			gpu_set_add(&revoke->empty, slot);
			continue;
		}
		gpu_set_remove(&revoke->empty, slot);
		batch_touch_gpu(m, slot);
		m->pool->gpus[slot].revoking = 0;
		batch_want_pass(m);
	}
	forget_unseen(revoke);
	revoke->looking = false;
	revoke->scan = holders_free(revoke->scan);
	left = marked(m);
	left = gpu_set_minus(left, &scanned);
	if (!gpu_set_empty(&revoke->busy) || revoke->problem < 0)
		scan_later(revoke);
	if (again || !gpu_set_empty(&left))
		start_scan(m);
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct revoke *revoke = m->revoke;
	int r = revoke->looking ? 0 : holders_step(revoke->scan, STEP_US);

	if (r > 0)
		return step_again(m, source);
	if (!revoke->looking) {
		/* Then those who were found are pressed, but nothing is let go. */
		if (r < 0 && r != revoke->problem)
			log_warning("cannot tell of all processes whether they have GPUs open: %s",
				strerrordesc_np(-r));
		revoke->problem = r;
		start_looking(m);
	}
	if (!look_on(m))
		return step_again(m, source);
	finish(m);
	return 0;
}

static void start_scan(struct manager *m)
{
	struct revoke *revoke = m->revoke;
	uint32_t devices[GPU_MAX * GPU_NODES_MAX][2];
	size_t n;

	if (revoke->scan || !m->serving)
		return;
	revoke->scanned = marked(m);
	if (gpu_set_empty(&revoke->scanned)) {
		while (revoke->n_targets > 0)
			drop_target(revoke, revoke->n_targets - 1);
		return;
	}
	n = guard_devices(m, &revoke->scanned, devices);
	sd_event_source_set_enabled(revoke->again, SD_EVENT_OFF);
	revoke->scan = holders_new(devices, n, (uid_t)-1);
	if (revoke->scan)
		step_start(revoke->step);
	else
		scan_later(revoke);
}

void revoke_forget(struct manager *m)
{
	struct gpu_set set = marked(m);

	gpu_set_foreach (slot, &set) {
		batch_touch_gpu(m, slot);
		m->pool->gpus[slot].revoking = 0;
		batch_want_pass(m);
	}
}

void revoke_run(struct manager *m)
{
	struct gpu_set left = marked(m);

	if (!guard_denies(m)) {
		revoke_forget(m);
		return;
	}
	/* Those whose holders were asked have their time. */
	if (sd_event_source_get_enabled(m->revoke->again, NULL) > 0)
		left = gpu_set_minus(left, &m->revoke->scanned);
	if (!gpu_set_empty(&left))
		start_scan(m);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	start_scan(userdata);
	return 0;
}

int revoke_new(struct manager *m, struct revoke **ret)
{
	struct revoke *revoke = calloc(1, sizeof(*revoke));
	int r;

	if (!revoke)
		return -ENOMEM;
	*ret = revoke;
	r = step_new(m, &revoke->step, on_step);
	if (r >= 0)
		r = sd_event_add_time_relative(
			m->event, &revoke->again, CLOCK_BOOTTIME, 0, 0, on_again, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(revoke->again, SD_EVENT_OFF);
	return r;
}

struct revoke *revoke_free(struct revoke *revoke)
{
	if (!revoke)
		return NULL;
	while (revoke->n_targets > 0)
		drop_target(revoke, revoke->n_targets - 1);
	sd_event_source_disable_unref(revoke->step);
	sd_event_source_disable_unref(revoke->again);
	holders_free(revoke->scan);
	free(revoke);
	return NULL;
}
