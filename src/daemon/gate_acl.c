/* SPDX-License-Identifier: MIT */
/*
 * Without device filters: ACLs on the nodes. They know users, not cgroups, so two leases of one
 * user are not kept apart; and others put permissions back, so that all is verified on a timer and
 * what cannot hold is said to be a problem.
 */
#include "daemon/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/text.h"
#include "daemon/sensor.h"
#include "model/nvreg.h"
#include "priv/acl.h"

#define VERIFY_US   (10 * USEC_PER_SEC)
#define PARAMS_FILE "/proc/driver/nvidia/params"
#define UIDS_MAX    128 /* who share a card, or its MIG instances; and the sensor */
#define NODES_MAX   (GPU_MAX * GPU_NODES_MAX)
#define NODES_PATH  "/dev"

/* One node, and who may open it. */
struct wanted {
	struct gpu_node node;
	uid_t uids[UIDS_MAX];
	size_t n;
};

struct acl_gate {
	struct gate gate;
	struct wanted *said; /* owned; what the nodes were told last */
	size_t n_said;
	int64_t verified_us;
};

static void want(struct wanted *wanted, uid_t uid)
{
	for (size_t i = 0; i < wanted->n; i++)
		if (wanted->uids[i] == uid)
			return;
	if (uid != 0 && uid != (uid_t)-1 && wanted->n < UIDS_MAX)
		wanted->uids[wanted->n++] = uid;
}

static void collect(const struct manager *m, struct wanted *wanted)
{
	want(wanted, sensor_user(m->sensor));
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
		if (!gpu_has_node(&m->pool->gpus[slot], wanted->node.major, wanted->node.minor))
			continue;
		for (const struct lease *holder = pool_holder(m->pool, slot); holder;
			holder = pool_next_holder(m->pool, slot, holder))
			if (gate_is_open(m, holder, slot))
				want(wanted, holder->uid);
	}
}

/* MIG instances share the node of their card: it is done for the first that has it. */
static bool is_first(const struct manager *m, unsigned slot, const struct gpu_node *node)
{
	for (unsigned before = 0; before < slot; before++)
		if (gpu_has_node(&m->pool->gpus[before], node->major, node->minor))
			return false;
	return true;
}

/* All that the nodes should say: *ret is the caller's. */
static int collect_all(const struct manager *m, struct wanted **ret, size_t *ret_n)
{
	struct wanted *all = calloc(NODES_MAX, sizeof(*all));
	size_t n = 0;

	if (!all)
		return -ENOMEM;
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		for (unsigned i = 0; i < m->pool->gpus[slot].n_nodes; i++) {
			if (!is_first(m, slot, &m->pool->gpus[slot].nodes[i]))
				continue;
			all[n].node = m->pool->gpus[slot].nodes[i];
			collect(m, &all[n++]);
		}
	*ret = all;
	*ret_n = n;
	return 0;
}

/* What one walk through the nodes does. */
struct work {
	const struct wanted *wanted; /* borrowed */
	bool clear;
	unsigned n_mended;
	struct error *err;
};

static int do_node(const char *path, void *userdata)
{
	struct work *work = userdata;
	const struct wanted *wanted = work->wanted;
	int r;

	if (work->clear)
		r = acl_clear(path, wanted->node.major, wanted->node.minor, work->err);
	else
		r = acl_set(path, wanted->node.major, wanted->node.minor, wanted->uids, wanted->n,
			work->err);
	work->n_mended += r > 0;
	return r == -ENOENT || r == -ENODEV ? 0 : MIN(r, 0); /* it vanished */
}

/* All are tried, also after one has failed. */
static int do_all(const struct manager *m, const struct wanted *all, size_t n, struct work *work)
{
	_cleanup_(freep) char *own = m->sim ? text_format("%s/dev", m->state) : NULL;
	int result = 0;

	for (size_t i = 0; i < n; i++) {
		int r;

		work->wanted = &all[i];
		r = acl_find_nodes(NODES_PATH, all[i].node.major, all[i].node.minor, do_node, work);
		if (r >= 0 && own)
			r = acl_find_nodes(
				own, all[i].node.major, all[i].node.minor, do_node, work);
		result = result < 0 ? result : r;
	}
	return result;
}

static void judge_driver(struct acl_gate *gate, const struct manager *m)
{
	const char *problem = "", *fix = "";
	struct nvreg nvreg;
	char text[4096];
	bool nvidia = false;

	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		for (unsigned i = 0; i < m->pool->gpus[slot].n_nodes; i++)
			nvidia |= m->pool->gpus[slot].nodes[i].major == NVIDIA_MAJOR;
	gate->gate.problem[0] = '\0';
	if (!nvidia || read_file_at(AT_FDCWD, PARAMS_FILE, text, sizeof(text)) < 0)
		return;
	nvreg_parse(text, &nvreg);
	if (!nvreg_acl_holds(&nvreg, &problem, &fix))
		snprintf(gate->gate.problem, sizeof(gate->gate.problem), "%.200s; %.180s", problem,
			fix);
}

static int apply(struct gate *base, struct manager *m, struct error *err)
{
	struct acl_gate *gate = (struct acl_gate *)base;
	_cleanup_(freep) struct wanted *all = NULL;
	struct work work = { .err = err };
	int64_t now_us = clock_now(&m->clock);
	bool same;
	size_t n;
	int r = collect_all(m, &all, &n);

	if (r < 0)
		return error_set(err, r, "memory", "out of memory; the gate stays as it was");
	same = n == gate->n_said && gate->said && memcmp(all, gate->said, n * sizeof(*all)) == 0;
	if (same && now_us < gate->verified_us + VERIFY_US / 2)
		return 0;
	r = do_all(m, all, n, &work);
	if (r < 0)
		return r;
	if (same && work.n_mended > 0)
		log_warning("guard: somebody else had changed the permissions of %u device nodes; "
			    "they were put back",
			work.n_mended);
	free(gate->said);
	gate->said = TAKE_PTR(all);
	gate->n_said = n;
	gate->verified_us = now_us;
	judge_driver(gate, m);
	return 0;
}

int gate_acl_remove(struct manager *m, struct error *err)
{
	_cleanup_(freep) struct wanted *all = NULL;
	struct work work = { .err = err, .clear = true };
	size_t n;
	int r = collect_all(m, &all, &n);

	return r < 0 ? error_set(err, r, "memory", "out of memory") : do_all(m, all, n, &work);
}

static void free_gate(struct gate *base)
{
	free(((struct acl_gate *)base)->said);
	free(base);
}

int gate_acl_open(struct manager *m, struct gate **ret, struct error *err)
{
	struct acl_gate *gate = calloc(1, sizeof(*gate));

	if (!gate)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	gate->gate = (struct gate){ .name = "acl",
		.verify_us = VERIFY_US,
		.remembered = true,
		.apply = apply,
		.free = free_gate };
	*ret = &gate->gate;
	return 0;
}
