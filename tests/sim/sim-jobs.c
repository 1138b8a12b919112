/* SPDX-License-Identifier: MIT */
/*
 * Months of batch jobs in a second: arrays, needs, begin times, niceness, retries, limits that end,
 * requeue or suspend, time slices and shares of GPUs, among runs that want whole ones. What the
 * daemon does is done here in its order: what time asks for, slices, ends, the queue. After every
 * event the promises are checked:
 *
 *	- no GPU is used beyond its memory, who has one alone is alone on it, and everybody has as
 *	  many as they asked for, of those that will do;
 *	- nobody starts who is blocked, and nobody gives way before their slice is over;
 *	- of an array no more is active than may be, and no element is lost or comes twice;
 *	- a second pass at the same moment finds nothing left to do;
 *	- without time limits, equal wishes are served in the order of the queue;
 *	- in the end, when nobody new comes, all have ended;
 *	- the same seed gives the same history.
 *
 *	sim-jobs [SEED]	plays one history only
 */
#include <assert.h>
#include <inttypes.h>

#include "base/text.h"
#include "policy/admit.h"
#include "policy/queue.h"
#include "policy/slice.h"
#include "policy/transition.h"
#include "tests/sim/agenda.h"
#include "tests/sim/histories.h"
#include "tests/sim/rng.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define START  (1000 * DAY)
#define LENGTH (40 * DAY)
#define SLICE  (3 * HOUR)
#define GPUS   8
#define STARTS 256

/* What the processes of a lease would do if they were let. */
struct task {
	int64_t work_us;    /* that is left */
	int64_t resumed_us; /* when they last began to do it */
	int64_t done_us;    /* when they will be done; TIME_NEVER = they do not run */
	int64_t members;    /* of an array, at first */
};

enum counted {
	ASKED,
	REFUSED,
	STARTED,
	ELEMENTS,
	BEFORE_THEIR_TURN,
	SHARED,
	BROKEN_NEEDS,
	REQUEUED,
	SUSPENDED,
	RETRIED,
	SLICED,
	SIGNALLED,
	COUNTED_MAX,
};

static const char *const names[COUNTED_MAX] = { "asked", "refused", "started", "elements",
	"before their turn", "on shared cards", "needs broken", "requeued", "suspended", "retried",
	"past their slice", "signalled" };

struct world {
	uint64_t seed;
	struct rng rng;
	struct agenda agenda;
	struct pool *pool;
	int64_t now_us, next_id;
	int64_t look_us; /* when the time is looked at next; other LOOKs are outdated */
	unsigned looks;  /* at this moment already */
	bool closing, broken;
	uint64_t history; /* hash of all starts and ends */
	unsigned counts[COUNTED_MAX];
};

static const struct admit_limits limits = {
	.max_hold_us = DAY,
	.max_job_us = 2 * DAY,
	.share = true,
	.requests_per_user = 60,
	.requests = 300,
};

static void broken(struct world *w, const struct lease *lease, const char *promise)
{
	if (w->broken)
		return;
	w->broken = true;
	tap_failed_now = 1;
	printf("# %s: #%" PRId64 " at %" PRId64 " us; repeat with: sim-jobs %" PRIu64 "\n", promise,
		lease ? lease->id : 0, w->now_us, w->seed);
}

static void note(struct world *w, uint64_t what)
{
	w->history = (w->history ^ what) * UINT64_C(0x100000001b3);
}

static struct task *task_of(const struct lease *lease)
{
	return lease->link;
}

static void world_init(struct world *w, uint64_t seed)
{
	*w = (struct world){ .seed = seed,
		.rng = { seed },
		.pool = pool_new(),
		.now_us = START,
		.look_us = TIME_NEVER };
	assert(w->pool);
	for (unsigned i = 0; i < GPUS; i++) {
		char uuid[] = { 'G', 'P', 'U', '-', (char)('a' + i), '\0' };
		struct gpu *gpu = &w->pool->gpus[pool_add_gpu(w->pool, uuid)];

		text_copy(gpu->model, sizeof(gpu->model), i < 6 ? "A100" : "V100");
		gpu->index = (int)i;
		gpu->memory_mib = i < 6 ? 81920 : 32768;
		gpu->present = true;
	}
	agenda_add(&w->agenda, START, ARRIVE, 0);
	agenda_add(&w->agenda, START + LENGTH, CLOSE, 0);
}

static void world_release(struct world *w)
{
	for (size_t i = 0; i < w->pool->n_leases; i++)
		free(w->pool->leases[i]->link);
	free(w->agenda.heap);
	pool_free(w->pool);
}

/* Frees those who have ended. */
static void sweep(struct world *w)
{
	for (size_t i = 0; i < w->pool->n_leases; i++)
		if (w->pool->leases[i]->state == LEASE_ENDED)
			free(w->pool->leases[i]->link);
	pool_sweep(w->pool);
}

/* --- who comes --- */

static void add_to_pool(struct world *w, struct lease *lease)
{
	struct task *task = calloc(1, sizeof(*task));
	int r = pool_add(w->pool, lease);

	assert(task && r == 0);
	task->work_us = rng_time(&w->rng, 2 * HOUR);
	task->done_us = TIME_NEVER;
	if (lease->job && lease->job->is_array)
		task->members = (int64_t)indices_count(&lease->job->pending);
	lease->link = task;
}

static void make_request(struct rng *rng, enum lease_kind kind, struct request *ret)
{
	*ret = (struct request){
		.count = 1 + (unsigned)rng_below(rng, rng_percent(rng, 80) ? 2 : 7),
		.duration_us =
			rng_percent(rng, 50) ? HOUR / 2 + rng_time(rng, 2 * HOUR) : TIME_NEVER,
		.wait_us = TIME_NEVER,
	};
	if (rng_percent(rng, 40))
		ret->types = strdup(rng_percent(rng, 70) ? "A100" : "V100");
	if (kind == LEASE_JOB && rng_percent(rng, 40))
		ret->share_mib = 1 + rng_below(rng, 50000);
}

static void add_needs(struct world *w, struct job *job)
{
	for (unsigned n = 1 + (unsigned)rng_below(&w->rng, 2); n > 0 && w->pool->n_leases; n--) {
		const struct lease *on = w->pool->leases[rng_below(&w->rng, w->pool->n_leases)];

		job->needs = reallocarray(job->needs, job->n_needs + 1, sizeof(*job->needs));
		assert(job->needs);
		job->needs[job->n_needs++] = (struct job_need){ on->id,
			(enum job_need_on)rng_below(&w->rng, JOB_NEED_ON_MAX) };
	}
}

static struct job *make_job(struct world *w)
{
	struct job *job = job_new();
	struct rng *rng = &w->rng;

	assert(job);
	job->name = strdup("job");
	job->on_limit = (enum job_limit)rng_below(rng, JOB_LIMIT_MAX);
	job->retries = (unsigned)rng_below(rng, 3);
	job->nice = rng_percent(rng, 20) ? (int)rng_below(rng, 5) - 2 : 0;
	job->held = rng_percent(rng, 3);
	if (rng_percent(rng, 30)) {
		job->warn_signal = 10;
		job->warn_us = 10 * MINUTE;
	}
	if (rng_percent(rng, 10))
		job->begin_us = w->now_us + rng_time(rng, 4 * HOUR);
	if (rng_percent(rng, 15))
		add_needs(w, job);
	if (rng_percent(rng, 15)) {
		char typed[32];
		int r;

		snprintf(typed, sizeof(typed), "1-%d", 1 + (int)rng_below(rng, 20));
		r = indices_parse(typed, &job->pending);
		assert(r == 0);
		job->is_array = true;
		job->parallel = (unsigned)rng_below(rng, 5);
	}
	return job;
}

static void arrive(struct world *w)
{
	struct lease *lease = lease_new();

	assert(lease);
	if (!w->closing)
		agenda_add(&w->agenda, w->now_us + rng_time(&w->rng, 100 * MINUTE), ARRIVE, 0);
	w->counts[ASKED]++;
	lease->kind = rng_percent(&w->rng, 75) ? LEASE_JOB : LEASE_RUN;
	lease->uid = 1000 + (uid_t)rng_below(&w->rng, 8);
	make_request(&w->rng, lease->kind, &lease->request);
	if (admit_check(
		    w->pool, &limits, lease->kind, lease->uid, &lease->request, &lease->eligible)
			.kind != VERDICT_OK) {
		w->counts[REFUSED]++;
		lease_free(lease);
		return;
	}
	if (lease->kind == LEASE_JOB)
		lease->job = make_job(w);
	lease->id = lease->turn = ++w->next_id;
	lease->submitted_us = w->now_us;
	lease->attached = true;
	if (lease->job && lease->job->held)
		agenda_add(&w->agenda, w->now_us + rng_time(&w->rng, DAY), ATTACH, lease->id);
	add_to_pool(w, lease);
}

/* --- how they end --- */

static void end(struct world *w, struct lease *lease, enum lease_end why);

static void tell_needs(struct world *w, const struct lease *ended)
{
	for (size_t i = 0; i < w->pool->n_leases; i++) {
		struct lease *lease = w->pool->leases[i];

		if (lease->state != LEASE_WAITING || !lease->job ||
			transition_need(lease, ended) != NEED_BROKEN)
			continue;
		w->counts[BROKEN_NEEDS]++;
		end(w, lease, LEASE_END_NEED);
	}
}

static void end(struct world *w, struct lease *lease, enum lease_end why)
{
	struct lease *array;

	transition_end(w->pool, lease, why, w->now_us);
	note(w, (uint64_t)lease->id << 8 | (uint64_t)lease->end);
	tell_needs(w, lease);
	if (!lease->job || lease->job->array == 0)
		return;
	array = pool_find(w->pool, lease->job->array);
	if (!array)
		broken(w, lease, "its array has ended before it");
	else if (transition_element_ended(array, lease))
		end(w, array, LEASE_END_EXITED);
}

static void stop_work(struct world *w, struct lease *lease)
{
	struct task *task = task_of(lease);

	task->work_us = MAX(task->work_us - (w->now_us - task->resumed_us), 1);
	task->done_us = TIME_NEVER;
}

static void requeue(struct world *w, struct lease *lease, int64_t begin_us, enum counted as)
{
	stop_work(w, lease);
	w->counts[as]++;
	transition_requeue(w->pool, lease, ++w->next_id, begin_us, w->now_us);
	if (!gpu_set_empty(&lease->gpus))
		broken(w, lease, "who waits holds nothing");
}

/* Its processes are gone. */
static void finish(struct world *w, struct lease *lease, int status, int signal)
{
	enum lease_end why = LEASE_END_EXITED;
	int64_t begin_us = 0;

	if (!lease->job) {
		end(w, lease, why);
		return;
	}
	lease->job->exit_status = status;
	lease->job->exit_signal = signal;
	switch (transition_job_next(lease, w->now_us, 10 * MINUTE, &why, &begin_us)) {
	case JOB_NEXT_END:
		end(w, lease, why);
		break;
	case JOB_NEXT_REQUEUE:
		requeue(w, lease, 0, REQUEUED);
		break;
	case JOB_NEXT_RETRY:
		requeue(w, lease, begin_us, RETRIED);
		break;
	}
}

static void warn(struct world *w, struct lease *lease, enum lease_end why)
{
	transition_warn(lease, why, w->now_us, MINUTE);
	if (rng_percent(&w->rng, 70)) /* else it has to be killed */
		task_of(lease)->done_us =
			w->now_us + (int64_t)rng_below(&w->rng, 59) * USEC_PER_SEC;
	else
		task_of(lease)->done_us = TIME_NEVER;
}

/* It makes room for others. */
static void give_way(struct world *w, struct lease *lease)
{
	if (lease->job->on_limit == JOB_LIMIT_SUSPEND && rng_percent(&w->rng, 80)) {
		lease->job->suspended = true;
		requeue(w, lease, 0, SUSPENDED);
		return;
	}
	lease->job->then = JOB_THEN_REQUEUE;
	warn(w, lease, LEASE_END_LIMIT);
}

/* --- what the daemon does after each event --- */

static void act(struct world *w, struct lease *lease)
{
	int64_t next_us;

	switch (transition_due(lease, w->now_us, &next_us)) {
	case DUE_WARN:
		if (lease->job && lease->job->on_limit != JOB_LIMIT_KILL)
			give_way(w, lease);
		else
			warn(w, lease, LEASE_END_LIMIT);
		break;
	case DUE_KILL:
		finish(w, lease, -1, 9);
		break;
	case DUE_SIGNAL:
		w->counts[SIGNALLED]++;
		lease->job->warned = true;
		break;
	case DUE_BEGIN:
		lease->job->begin_us = 0;
		break;
	case DUE_TIMEOUT:
	case DUE_EXPIRE:
		broken(w, lease, "there are no such times here");
		break;
	case DUE_NOTHING:
		break;
	}
}

static void act_on_all(struct world *w)
{
	for (size_t i = 0; i < w->pool->n_leases; i++) {
		struct lease *lease = w->pool->leases[i];

		if (lease_holds(lease) && task_of(lease)->done_us <= w->now_us)
			finish(w, lease, rng_percent(&w->rng, 80) ? 0 : 1, 0);
		for (int64_t next_us; lease->state != LEASE_ENDED && !w->broken &&
				      transition_due(lease, w->now_us, &next_us) != DUE_NOTHING;)
			act(w, lease);
	}
}

static void give_slices(struct world *w)
{
	struct lease *overdue[GPUS];
	size_t n = slice_overdue(w->pool, w->now_us, SLICE, overdue, GPUS);

	for (size_t i = 0; i < n; i++) {
		if (overdue[i]->state != LEASE_ACTIVE || w->now_us - overdue[i]->since_us < SLICE)
			broken(w, overdue[i], "gave way before its slice was over");
		w->counts[SLICED]++;
		give_way(w, overdue[i]);
	}
}

static bool equal_wish(const struct lease *a, const struct lease *b)
{
	return memcmp(&a->eligible, &b->eligible, sizeof(a->eligible)) == 0 &&
	       a->request.share_mib == b->request.share_mib &&
	       a->request.duration_us == TIME_NEVER && b->request.duration_us == TIME_NEVER;
}

/* Called when everybody who starts in this pass is active. */
static void check_order(struct world *w, const struct lease *started, const struct lease *place)
{
	for (size_t i = 0; i < w->pool->n_leases; i++) {
		const struct lease *ahead = w->pool->leases[i];

		if (ahead->state != LEASE_WAITING || ahead == place || ahead == started ||
			!pool_before(ahead, started) ||
			pool_blocked(w->pool, ahead, w->now_us, 0, NULL))
			continue;
		w->counts[BEFORE_THEIR_TURN]++;
		if (equal_wish(ahead, started))
			broken(w, started, "overtook an equal wish");
	}
}

static struct lease *begin(struct world *w, const struct queue_start *start)
{
	struct lease *lease = start->lease;
	struct task *task;

	if (lease->state != LEASE_WAITING || pool_blocked(w->pool, lease, w->now_us, 0, NULL))
		broken(w, lease, "started who may not");
	if (lease->job && lease->job->is_array) {
		lease = transition_split(lease, ++w->next_id, w->now_us);
		assert(lease);
		add_to_pool(w, lease);
		w->counts[ELEMENTS]++;
	}
	gpu_set_foreach (slot, &start->gpus)
		w->counts[SHARED] += pool_holder(w->pool, slot) != NULL;
	transition_grant(lease, &start->gpus, w->now_us);
	w->counts[STARTED]++;
	note(w, (uint64_t)lease->id);
	note(w, (uint64_t)w->now_us);
	note(w, start->gpus.words[0]);
	task = task_of(lease);
	task->resumed_us = w->now_us;
	task->done_us = w->now_us + task->work_us;
	if (lease->job)
		lease->job->suspended = false; /* thawed */
	return lease;
}

static void pass(struct world *w)
{
	struct queue_start starts[STARTS], more[1];
	struct lease *started[STARTS];
	size_t n = queue_pass(w->pool, w->now_us, starts, STARTS);

	for (size_t i = 0; i < n; i++)
		started[i] = begin(w, &starts[i]);
	for (size_t i = 0; i < n; i++)
		check_order(w, started[i], starts[i].lease);
	if (n > 0 && queue_pass(w->pool, w->now_us, more, 1) > 0)
		broken(w, more[0].lease, "a second pass found more to start");
}

/* --- promises --- */

static void check_gpu(struct world *w, unsigned slot)
{
	uint64_t used_mib = 0;
	unsigned holders = 0, alone = 0;

	for (const struct lease *holder = pool_holder(w->pool, slot); holder;
		holder = pool_next_holder(w->pool, slot, holder)) {
		holders++;
		alone += holder->request.share_mib == 0;
		used_mib += holder->request.share_mib;
		if (!gpu_set_has(&holder->eligible, slot))
			broken(w, holder, "a GPU that does not satisfy the request");
	}
	if (alone > 0 && holders > 1)
		broken(w, pool_holder(w->pool, slot), "who has a GPU alone is not alone");
	if (used_mib > (uint64_t)w->pool->gpus[slot].memory_mib)
		broken(w, pool_holder(w->pool, slot), "more of a GPU than there is");
}

static void check_array(struct world *w, const struct lease *array)
{
	const struct job *job = array->job;
	unsigned n_active = 0;

	for (size_t i = 0; i < w->pool->n_leases; i++) {
		const struct lease *lease = w->pool->leases[i];

		n_active +=
			lease->job && lease->job->array == array->id && lease->state != LEASE_ENDED;
	}
	if (n_active != job->n_active)
		broken(w, array, "elements are counted wrong");
	if (job->parallel > 0 && n_active > job->parallel)
		broken(w, array, "more elements are active than may be");
	if ((int64_t)indices_count(&job->pending) + job->n_active + job->n_ok + job->n_failed !=
		task_of(array)->members)
		broken(w, array, "an element was lost, or came twice");
}

static void check(struct world *w)
{
	for (unsigned slot = 0; slot < GPUS; slot++)
		check_gpu(w, slot);
	for (size_t i = 0; i < w->pool->n_leases; i++) {
		const struct lease *lease = w->pool->leases[i];

		if (lease_holds(lease) && gpu_set_count(&lease->gpus) != lease->request.count)
			broken(w, lease, "it does not hold as many as it says");
		if (lease->job && lease->job->is_array && lease->state != LEASE_ENDED)
			check_array(w, lease);
	}
}

static void look_again(struct world *w)
{
	int64_t at_us = slice_next(w->pool, w->now_us, SLICE);

	for (size_t i = 0; i < w->pool->n_leases; i++) {
		const struct lease *lease = w->pool->leases[i];
		int64_t next_us;

		if (transition_due(lease, w->now_us, &next_us) != DUE_NOTHING)
			next_us = w->now_us; /* it has just started */
		at_us = MIN(at_us, next_us);
		if (lease_holds(lease))
			at_us = MIN(at_us, task_of(lease)->done_us);
	}
	w->looks = at_us == w->now_us ? w->looks + 1 : 0;
	if (w->looks > 10)
		broken(w, NULL, "time asks for the same for ever");
	if (at_us != w->look_us && at_us != TIME_NEVER)
		agenda_add(&w->agenda, at_us, LOOK, 0);
	w->look_us = at_us;
}

static void happen(struct world *w, const struct happens *happens)
{
	struct lease *lease;

	if (happens->what == ARRIVE) {
		arrive(w);
	} else if (happens->what == CLOSE) {
		w->closing = true;
	} else if (happens->what == ATTACH) {
		lease = pool_find(w->pool, happens->lease);
		if (lease)
			lease->job->held = false;
	}
	act_on_all(w);
	pass(w);
	give_slices(w);
	pass(w);
	check(w);
	sweep(w);
	look_again(w);
}

/* Plays one history; returns its hash. */
static uint64_t play(uint64_t seed, bool tell)
{
	struct world w;

	world_init(&w, seed);
	while (w.agenda.n > 0 && !w.broken) {
		struct happens happens = agenda_take(&w.agenda);

		if (happens.what == LOOK && happens.at_us != w.look_us)
			continue;
		w.now_us = happens.at_us;
		if (happens.what == LOOK)
			w.look_us = TIME_NEVER;
		happen(&w, &happens);
		if (w.now_us > START + 20 * LENGTH)
			broken(&w, w.pool->n_leases ? w.pool->leases[0] : NULL, "it never ends");
	}
	for (size_t i = 0; i < w.pool->n_leases && !w.broken; i++)
		broken(&w, w.pool->leases[i], "never got a turn, or never ended");
	for (unsigned i = 0; i < COUNTED_MAX && !w.broken; i++)
		CHECK(w.counts[i] > 0);
	if (tell) {
		printf("# seed %" PRIu64 ":", seed);
		for (unsigned i = 0; i < COUNTED_MAX; i++)
			printf("%s %u %s", i ? "," : "", w.counts[i], names[i]);
		printf("\n");
	}
	world_release(&w);
	return w.history;
}
