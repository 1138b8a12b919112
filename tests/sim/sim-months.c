/* SPDX-License-Identifier: MIT */
/*
 * Months of a busy machine in a second: random requests of all kinds, clients that vanish, holds
 * that are extended or given away, leases that give some of their GPUs back, GPUs that are drained,
 * get lost, are used without a lease or are let go of late. After every
 * event comes a pass, and after every pass the promises are checked:
 *
 *	- no GPU is on two leases, and nobody gets more, less or other GPUs than they can use;
 *	- nobody starts on a GPU that is not healthy, that is still being revoked, or in foreign use
 *	  unless they forced it;
 *	- who gives or gets a lease holds what their lease says, and nobody gets more than they may;
 *	- a second pass at the same moment finds nothing left to do;
 *	- without time limits, equal wishes are served in the order in which they came;
 *	- in the end, when nobody new comes, everybody who still waits gets their turn;
 *	- the same seed gives the same history.
 *
 *	sim-months [SEED]	plays one history only
 */
#include <assert.h>
#include <inttypes.h>

#include "base/text.h"
#include "policy/admit.h"
#include "policy/queue.h"
#include "policy/transition.h"
#include "tests/sim/agenda.h"
#include "tests/sim/histories.h"
#include "tests/sim/rng.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define START  (1000 * DAY)
#define LENGTH (120 * DAY)
#define GPUS   12
#define STARTS 64

struct world {
	uint64_t seed;
	struct rng rng;
	struct agenda agenda;
	struct pool *pool;
	int64_t now_us, next_id;
	bool closing, broken;
	uint64_t history; /* hash of all starts */
	unsigned asked, refused, started, overtook, forced, timed_out, waited_at_most;
	unsigned given, shrunk, let_go;
};

static const struct admit_limits limits = {
	.max_hold_us = 3 * DAY,
	.requests_per_user = 40,
	.requests = 200,
};

static void broken(struct world *w, const struct lease *lease, const char *promise)
{
	if (w->broken)
		return;
	w->broken = true;
	tap_failed_now = 1;
	printf("# %s: #%" PRId64 " at %" PRId64 " us; repeat with: sim-months %" PRIu64 "\n",
		promise, lease ? lease->id : 0, w->now_us, w->seed);
}

static void world_init(struct world *w, uint64_t seed)
{
	*w = (struct world){ .seed = seed, .rng = { seed }, .pool = pool_new(), .now_us = START };
	assert(w->pool);
	for (unsigned i = 0; i < GPUS; i++) {
		char uuid[] = { 'G', 'P', 'U', '-', (char)('a' + i), '\0' };
		struct gpu *gpu = &w->pool->gpus[pool_add_gpu(w->pool, uuid)];
		const char *model = i < 8 ? "A100-SXM4-80GB" : "V100";

		text_copy(gpu->model, sizeof(gpu->model), model);
		gpu->index = (int)i;
		gpu->memory_mib = i < 8 ? 81920 : 32768;
		gpu->present = true;
		for (unsigned other = 0; other < GPUS; other++)
			gpu->link[other] = i / 4 == other / 4 ? GPU_LINK_NVLINK : GPU_LINK_NODE;
	}
	agenda_add(&w->agenda, START, ARRIVE, 0);
	agenda_add(&w->agenda, START, GPU, 0);
	agenda_add(&w->agenda, START + LENGTH, CLOSE, 0);
}

static void world_release(struct world *w)
{
	free(w->agenda.heap);
	pool_free(w->pool);
}

static void later(struct world *w, int64_t mean_us, enum happening what, int64_t lease)
{
	agenda_add(&w->agenda, w->now_us + rng_time(&w->rng, mean_us), what, lease);
}

/* What somebody types; the list may well be one that cannot be. */
static void make_request(struct world *w, enum lease_kind kind, struct request *ret)
{
	static const char *const types[] = { "a100", "V100", "v100,A100", "sxm4", "H200" };
	struct rng *rng = &w->rng;

	*ret = (struct request){
		.count = 1 + (unsigned)rng_below(rng, rng_percent(rng, 70) ? 2 : 9),
		.duration_us = kind == LEASE_HOLD || rng_percent(rng, 50) ? rng_time(rng, HOUR)
									  : TIME_NEVER,
		.wait_us = rng_percent(rng, 20) ? rng_time(rng, 4 * HOUR) : TIME_NEVER,
		.force = kind == LEASE_HOLD && rng_percent(rng, 10),
	};
	if (rng_percent(rng, 50))
		ret->types = strdup(types[rng_below(rng, ELEMENTSOF(types))]);
	if (rng_percent(rng, 10))
		ret->min_memory_mib = 40000;
	if (rng_percent(rng, 15)) {
		char typed[32];

		snprintf(typed, sizeof(typed), "%d,gpu-%c", (int)rng_below(rng, GPUS + 1),
			(char)('a' + rng_below(rng, GPUS)));
		ret->count = 0;
		admit_resolve(w->pool, typed, &ret->gpus);
		if (!ret->gpus)
			ret->count = GPUS + 1;
	}
}

static void arrive(struct world *w)
{
	struct lease *lease = lease_new();
	int r;

	assert(lease);
	if (!w->closing)
		later(w, 25 * MINUTE, ARRIVE, 0);
	w->asked++;
	lease->kind = rng_percent(&w->rng, 60) ? LEASE_RUN : LEASE_HOLD;
	lease->uid = 1000 + (uid_t)rng_below(&w->rng, 10);
	make_request(w, lease->kind, &lease->request);
	if (admit_check(
		    w->pool, &limits, lease->kind, lease->uid, &lease->request, &lease->eligible)
			.kind != VERDICT_OK) {
		w->refused++;
		lease_free(lease);
		return;
	}
	lease->id = ++w->next_id;
	lease->submitted_us = w->now_us;
	if (lease->request.wait_us != TIME_NEVER) {
		lease->wait_until_us = w->now_us + lease->request.wait_us;
		agenda_add(&w->agenda, lease->wait_until_us, LOOK, lease->id);
	}
	lease->attached = rng_percent(&w->rng, 95);
	if (!lease->attached)
		later(w, HOUR, ATTACH, lease->id);
	if (rng_percent(&w->rng, 5))
		later(w, HOUR, VANISH, lease->id);
	r = pool_add(w->pool, lease);
	assert(r == 0);
}

static void set_foreign(struct gpu *gpu, bool foreign)
{
	free(gpu->processes);
	gpu->processes = foreign ? calloc(1, sizeof(*gpu->processes)) : NULL;
	gpu->n_processes = gpu->processes != NULL;
	if (gpu->processes)
		gpu->processes->standing = STANDING_NO_LEASE;
}

static void repair(struct gpu *gpu)
{
	gpu->present = true;
	gpu->drained = false;
	gpu->fault[0] = '\0';
	set_foreign(gpu, false);
}

static void happen_to_gpu(struct world *w)
{
	struct gpu *gpu = &w->pool->gpus[rng_below(&w->rng, GPUS)];

	if (w->closing)
		return;
	later(w, 8 * HOUR, GPU, 0);
	if (rng_percent(&w->rng, 60)) {
		repair(gpu);
		return;
	}
	switch (rng_below(&w->rng, 4)) {
	case 0:
		gpu->drained = true;
		break;
	case 1:
		gpu->present = false;
		break;
	case 2:
		text_copy(gpu->fault, sizeof(gpu->fault), "XID 79");
		break;
	default:
		set_foreign(gpu, true);
	}
}

static void close_doors(struct world *w)
{
	w->closing = true;
	for (unsigned slot = 0; slot < GPUS; slot++)
		repair(&w->pool->gpus[slot]);
	for (size_t i = 0; i < w->pool->n_leases; i++)
		w->pool->leases[i]->attached = true;
}

/* Its processes had these GPUs open, and it takes a while until they are gone. */
static void keep_open(struct world *w, const struct lease *lease, const struct gpu_set *gpus)
{
	if (gpu_set_empty(gpus) || !rng_percent(&w->rng, 30))
		return;
	gpu_set_foreach (slot, gpus) {
		w->pool->gpus[slot].revoking = lease->id;
		if (rng_percent(&w->rng, 50))
			set_foreign(&w->pool->gpus[slot], true);
	}
	later(w, 20 * USEC_PER_SEC, LET_GO, lease->id);
}

static void let_go(struct world *w, int64_t id)
{
	for (unsigned slot = 0; slot < GPUS; slot++) {
		struct gpu *gpu = &w->pool->gpus[slot];

		if (gpu->revoking != id)
			continue;
		w->let_go++;
		gpu->revoking = 0;
		set_foreign(gpu, false);
	}
}

static void end(struct world *w, struct lease *lease, enum lease_end why, int64_t at_us)
{
	struct gpu_set held = lease_holds(lease) ? lease->gpus : (struct gpu_set){ 0 };

	transition_end(w->pool, lease, why, at_us);
	keep_open(w, lease, &held);
}

/* What it holds, how many it asked for and which it listed are the same. */
static void check_lease(struct world *w, const struct lease *lease)
{
	const struct request listed = { .gpus = lease->request.gpus };
	struct gpu_set set = admit_eligible(w->pool, &listed);

	if (gpu_set_count(&lease->gpus) != lease->request.count)
		broken(w, lease, "it does not hold as many as it says");
	if (listed.gpus && memcmp(&set, &lease->gpus, sizeof(set)) != 0)
		broken(w, lease, "it does not hold what it listed");
}

static unsigned count_of(const struct world *w, uid_t uid)
{
	unsigned n = 0;

	for (size_t i = 0; i < w->pool->n_leases; i++)
		n += w->pool->leases[i]->state != LEASE_ENDED && w->pool->leases[i]->uid == uid;
	return n;
}

static void give(struct world *w, struct lease *lease)
{
	uid_t uid = 1000 + (uid_t)rng_below(&w->rng, 10), before = lease->uid;
	bool may = lease->kind == LEASE_HOLD && lease->state == LEASE_ACTIVE && uid != before &&
		   count_of(w, uid) < limits.requests_per_user;
	struct verdict v = admit_receiver(w->pool, &limits, uid);

	if (v.kind == VERDICT_OK)
		v = transition_give(lease, uid, w->now_us);
	if (may != (v.kind == VERDICT_OK) || lease->uid != (may ? uid : before))
		broken(w, lease, "given against the rules");
	if (!may)
		return;
	w->given++;
	check_lease(w, lease);
	keep_open(w, lease, &lease->gpus);
}

static void shrink(struct world *w, struct lease *lease)
{
	struct gpu_set gpus = { 0 }, kept;
	bool may;

	gpu_set_foreach (slot, &lease->gpus)
		if (rng_percent(&w->rng, 50))
			gpu_set_add(&gpus, slot);
	if (rng_percent(&w->rng, 5))
		gpu_set_add(&gpus, (unsigned)rng_below(&w->rng, GPUS));
	kept = gpu_set_minus(lease->gpus, &gpus);
	may = lease->state == LEASE_ACTIVE && !gpu_set_empty(&gpus) && !gpu_set_empty(&kept) &&
	      gpu_set_count(&kept) + gpu_set_count(&gpus) == gpu_set_count(&lease->gpus);
	if (may != (transition_shrink(w->pool, lease, &gpus, w->now_us).kind == VERDICT_OK))
		broken(w, lease, "shrunk against the rules");
	if (!may)
		return;
	w->shrunk++;
	check_lease(w, lease);
	gpu_set_foreach (slot, &gpus)
		if (pool_holder(w->pool, slot))
			broken(w, lease, "what was given back is held");
	keep_open(w, lease, &gpus);
}

static void look_at(struct world *w, struct lease *lease)
{
	int64_t next_us;

	switch (transition_due(lease, w->now_us, &next_us)) {
	case DUE_TIMEOUT:
		w->timed_out++;
		end(w, lease, LEASE_END_TIMEOUT, w->now_us);
		break;
	case DUE_EXPIRE:
		end(w, lease, LEASE_END_EXPIRED, lease->until_us);
		break;
	case DUE_WARN:
		transition_warn(lease, LEASE_END_LIMIT, w->now_us, 30 * USEC_PER_SEC);
		agenda_add(&w->agenda, lease->kill_us, LOOK, lease->id);
		break;
	case DUE_KILL:
		end(w, lease, LEASE_END_EXITED, w->now_us);
		if (lease->end != LEASE_END_LIMIT)
			broken(w, lease, "the reason of the end was lost");
		break;
	case DUE_SIGNAL:
	case DUE_BEGIN:
		break;
	case DUE_NOTHING:
		if (next_us != TIME_NEVER)
			agenda_add(&w->agenda, next_us, LOOK, lease->id);
	}
}

static void happen_to_lease(struct world *w, const struct happens *happens)
{
	struct lease *lease = pool_find(w->pool, happens->lease);

	if (!lease || lease->state == LEASE_ENDED)
		return;
	if (happens->what == LOOK)
		look_at(w, lease);
	else if (happens->what == ATTACH)
		lease->attached = true;
	else if (happens->what == EXTEND)
		transition_extend(lease, HOUR, w->now_us, limits.max_hold_us);
	else if (happens->what == GIVE)
		give(w, lease);
	else if (happens->what == SHRINK && lease_holds(lease))
		shrink(w, lease);
	else if (happens->what == LEAVE && lease_holds(lease))
		end(w, lease, lease->kind == LEASE_RUN ? LEASE_END_EXITED : LEASE_END_RELEASED,
			w->now_us);
	else if (happens->what == VANISH && lease->state == LEASE_WAITING)
		end(w, lease, LEASE_END_GONE, w->now_us);
}

static void check_gpus(struct world *w, const struct queue_start *start)
{
	const struct lease *lease = start->lease;
	struct gpu_set other = gpu_set_minus(start->gpus, &lease->eligible);

	if (lease->state != LEASE_WAITING || !lease->attached)
		broken(w, lease, "started somebody who does not wait for it");
	if (gpu_set_count(&start->gpus) != lease->request.count)
		broken(w, lease, "not the number that was asked for");
	if (!gpu_set_empty(&other))
		broken(w, lease, "a GPU that does not satisfy the request");
	gpu_set_foreach (slot, &start->gpus) {
		if (pool_holder(w->pool, slot))
			broken(w, lease, "a GPU is on two leases");
		if (!gpu_is_healthy(&w->pool->gpus[slot]))
			broken(w, lease, "started on a GPU that is not healthy");
		if (w->pool->gpus[slot].revoking)
			broken(w, lease, "started on a GPU that is still being revoked");
		if (gpu_is_foreign(&w->pool->gpus[slot])) {
			w->forced++;
			if (!lease->request.force)
				broken(w, lease, "started on a GPU in foreign use");
		}
	}
}

/* How many GPUs lease could hope for today. */
static unsigned usable(const struct world *w, const struct lease *lease)
{
	unsigned n = 0;

	gpu_set_foreach (slot, &lease->eligible)
		n += gpu_is_healthy(&w->pool->gpus[slot]) &&
		     (lease->request.force || !gpu_is_foreign(&w->pool->gpus[slot]));
	return n;
}

static bool equal_wish(const struct lease *a, const struct lease *b)
{
	return memcmp(&a->eligible, &b->eligible, sizeof(a->eligible)) == 0 &&
	       a->request.force == b->request.force && a->request.duration_us == TIME_NEVER &&
	       b->request.duration_us == TIME_NEVER;
}

/* Called when everybody who starts in this pass is active. */
static void check_order(struct world *w, const struct lease *started)
{
	for (size_t i = 0; w->pool->leases[i] != started; i++) {
		const struct lease *ahead = w->pool->leases[i];

		if (ahead->state != LEASE_WAITING)
			continue;
		w->overtook++;
		if (ahead->attached && equal_wish(ahead, started) &&
			usable(w, ahead) >= ahead->request.count)
			broken(w, started, "overtook an equal wish");
	}
}

static void begin(struct world *w, const struct queue_start *start)
{
	struct lease *lease = start->lease;

	check_gpus(w, start);
	transition_grant(lease, &start->gpus, w->now_us);
	w->started++;
	w->history = (w->history ^ (uint64_t)lease->id) * UINT64_C(0x100000001b3);
	w->history = (w->history ^ (uint64_t)w->now_us) * UINT64_C(0x100000001b3);
	w->history = (w->history ^ start->gpus.words[0]) * UINT64_C(0x100000001b3);
	if (lease->until_us != TIME_NEVER)
		agenda_add(&w->agenda, lease->until_us, LOOK, lease->id);
	if (lease->until_us == TIME_NEVER || rng_percent(&w->rng, 40))
		later(w, HOUR, LEAVE, lease->id);
	if (rng_percent(&w->rng, 10))
		later(w, HOUR, EXTEND, lease->id);
	if (rng_percent(&w->rng, 20))
		later(w, HOUR, GIVE, lease->id);
	if (rng_percent(&w->rng, 20))
		later(w, HOUR, SHRINK, lease->id);
}

static void pass(struct world *w)
{
	struct queue_start starts[STARTS], more[1];
	size_t n = queue_pass(w->pool, w->now_us, starts, STARTS);

	for (size_t i = 0; i < n; i++)
		begin(w, &starts[i]);
	for (size_t i = 0; i < n; i++)
		check_order(w, starts[i].lease);
	if (n > 0 && queue_pass(w->pool, w->now_us, more, 1) > 0)
		broken(w, more[0].lease, "a second pass found more to start");
	pool_sweep(w->pool);
	w->waited_at_most = MAX(w->waited_at_most, (unsigned)w->pool->n_leases);
}

static void happen(struct world *w, const struct happens *happens)
{
	switch (happens->what) {
	case ARRIVE:
		arrive(w);
		break;
	case GPU:
		happen_to_gpu(w);
		break;
	case CLOSE:
		close_doors(w);
		break;
	case LET_GO:
		let_go(w, happens->lease);
		break;
	case LEAVE:
	case LOOK:
	case VANISH:
	case ATTACH:
	case EXTEND:
	case GIVE:
	case SHRINK:
		happen_to_lease(w, happens);
	}
}

/* Plays one history; returns its hash. */
static uint64_t play(uint64_t seed, bool tell)
{
	struct world w;

	world_init(&w, seed);
	while (w.agenda.n > 0 && !w.broken) {
		struct happens happens = agenda_take(&w.agenda);

		w.now_us = happens.at_us;
		happen(&w, &happens);
		pass(&w);
	}
	for (size_t i = 0; i < w.pool->n_leases && !w.broken; i++)
		broken(&w, w.pool->leases[i], "never got a turn, or never ended");
	CHECK(w.broken || (w.started > 0 && w.refused > 0 && w.overtook > 0));
	CHECK(w.broken || (w.forced > 0 && w.timed_out > 0));
	CHECK(w.broken || (w.given > 0 && w.shrunk > 0 && w.let_go > 0));
	if (tell)
		printf("# seed %" PRIu64 ": %u asked, %u refused, %u started, %u overtaken, "
		       "%u timed out, at most %u at once\n",
			seed, w.asked, w.refused, w.started, w.overtook, w.timed_out,
			w.waited_at_most);
	world_release(&w);
	return w.history;
}
