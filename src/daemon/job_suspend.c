/* SPDX-License-Identifier: MIT */
/*
 * A suspended job waits like any other, but for the very GPUs that it had: its memory is restored
 * to them. When they are its own again, it stays marked as suspended until it runs, so that a
 * daemon that dies in between tries again.
 */
#include "daemon/job_suspend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/job.h"
#include "daemon/job.h"
#include "daemon/lifecycle.h"
#include "daemon/suspend.h"
#include "daemon/wait.h"
#include "policy/admit.h"

/* Who asked, by what is left of it when it is done. */
struct asked {
	enum lease_end why;
	bool by_owner;
	uid_t uid;
};

/* From now on only the GPUs that it has; who listed GPUs has just those. */
static int pin(const struct manager *m, struct lease *lease)
{
	size_t size = (size_t)gpu_set_count(&lease->gpus) * (GPU_UUID_SIZE + 1) + 1, n = 0;
	char *list;

	if (lease->request.gpus)
		return 0;
	list = malloc(size);
	if (!list)
		return -ENOMEM;
	*list = '\0';
	gpu_set_foreach (slot, &lease->gpus)
		n += (size_t)snprintf(
			list + n, size - n, "%s%s", n ? "," : "", m->pool->gpus[slot].uuid);
	lease->request.gpus = list;
	lease->eligible = lease->gpus;
	lease->job->pinned = true;
	return 0;
}

void job_unpin(const struct manager *m, struct lease *lease)
{
	if (!lease->job->pinned)
		return;
	free(lease->request.gpus);
	lease->request.gpus = NULL;
	lease->eligible = admit_eligible(m->pool, &lease->request);
	lease->job->pinned = false;
}

static void requeue_instead(
	struct manager *m, struct lease *lease, enum lease_end why, const char *sentence)
{
	batch_touch(m, lease);
	lease->job->then = JOB_THEN_REQUEUE;
	lifecycle_warn(m, lease, why, EVENT_NOBODY, sentence);
}

static void suspended(struct manager *m, struct lease *lease, const struct asked *asked)
{
	batch_touch(m, lease);
	if (pin(m, lease) < 0) {
		requeue_instead(m, lease, asked->why, "out of memory");
		return;
	}
	lease->job->suspended = true;
	lease->job->held = asked->by_owner;
	lifecycle_requeue(m, lease, job_begins_again(m, lease, asked->why),
		asked->by_owner ? asked->uid : EVENT_NOBODY, NULL);
}

static void tell(struct manager *m, int64_t id, enum suspend_outcome outcome, const char *sentence)
{
	struct verdict v = verdict_ok();

	if (outcome != SUSPEND_DONE)
		v = verdict_make(VERDICT_REFUSED, "job.not-suspended",
			"job %" PRId64 " could not be suspended: %s", id, sentence);
	wait_tell_suspended(m, id, &v);
}

static void on_suspended(struct manager *m, int64_t id, enum suspend_outcome outcome,
	const char *sentence, void *userdata)
{
	_cleanup_(freep) struct asked *asked = userdata;
	struct lease *lease = api_find_lease(m, id);

	bool active = lease && lease->state == LEASE_ACTIVE;

	if (active && outcome == SUSPEND_DONE)
		suspended(m, lease, asked);
	else if (active && (outcome == SUSPEND_BROKEN || !asked->by_owner))
		requeue_instead(m, lease, asked->why, sentence);
	if (lease)
		tell(m, id, outcome, sentence);
	else
		tell(m, id, SUSPEND_FAILED, "it has ended");
	batch_want_pass(m); /* it may have reached its limit meanwhile */
}

static void say_why_not(struct connection *c, const struct verdict *v)
{
	if (c)
		connection_refuse(c, v);
}

bool job_suspend(struct manager *m, struct lease *lease, struct connection *c, enum lease_end why)
{
	struct verdict v = suspend_check(m, lease);
	struct asked *asked;
	int r;

	if (suspend_is_busy(m, lease->id) && !c)
		return true;
	if (v.kind != VERDICT_OK) {
		say_why_not(c, &v);
		return false;
	}
	asked = malloc(sizeof(*asked));
	if (asked)
		*asked = (struct asked){ why, c != NULL, c ? c->uid : EVENT_NOBODY };
	r = asked ? suspend_start(m, lease, on_suspended, asked) : -ENOMEM;
	if (r < 0) {
		free(asked);
		v = verdict_make(VERDICT_REFUSED, "job.not-suspended",
			"job %" PRId64 " cannot be suspended now: %s", lease->id,
			r == -EBUSY ? "it is being suspended or resumed already"
				    : strerrordesc_np(-r));
		say_why_not(c, &v);
		return false;
	}
	if (c && wait_for_suspend(c, lease->id) < 0)
		connection_refuse(
			c, &(struct verdict){ VERDICT_REFUSED, "memory", "out of memory" });
	return true;
}

static void on_resumed(struct manager *m, int64_t id, enum suspend_outcome outcome,
	const char *sentence, void *userdata)
{
	struct lease *lease = api_find_lease(m, id);

	if (!lease || lease->state != LEASE_ACTIVE)
		return;
	batch_touch(m, lease);
	lease->job->suspended = false;
	job_unpin(m, lease);
	if (outcome == SUSPEND_DONE) {
		batch_event(m, EVENT_RESUMED, id, EVENT_NOBODY, NULL, NULL);
		job_look(m, lease); /* its command may have been killed meanwhile */
		return;
	}
	log_warning("job %" PRId64 " could not be resumed and is started anew: %s", id, sentence);
	requeue_instead(m, lease, LEASE_END_FAILED, sentence);
}

void job_thaw(struct manager *m, struct lease *lease)
{
	int r;

	if (suspend_is_busy(m, lease->id))
		return;
	r = suspend_resume(m, lease, on_resumed, NULL);
	if (r < 0)
		on_resumed(m, lease->id, SUSPEND_BROKEN, strerrordesc_np(-r), NULL);
}
