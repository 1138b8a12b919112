/* SPDX-License-Identifier: MIT */
/*
 * What keeps others off: the gate at open(), which is a device filter or, where there is none, ACLs
 * on the nodes. What the gate must say follows from the pool alone (guard_apply computes all of it
 * and changes the difference), so that it can be repeated at any time, after a crash too.
 *
 * A GPU on which something is still being revoked is open to nobody, and not handed out.
 */
#pragma once

#include "daemon/manager.h"

struct guard;

/* After the cgroups and the store are open. Takes up what is in force; changes nothing yet. */
int guard_new(struct manager *m, struct guard **ret, struct error *err);
struct guard *guard_free(struct guard *guard);

enum guard_mode guard_mode(const struct manager *m);

/* Is it ours to deny? Then what is given back has to be revoked. Not without root. */
bool guard_denies(const struct manager *m);

/* NULL unless the mode is deny. */
const char *guard_method(const struct manager *m);
/* Why the gate does not hold what the mode promises, or NULL. */
const char *guard_problem(const struct manager *m);

/* From now on, and after a restart; GUARD_MODE_INVALID: as configured. A mode that cannot be had is
 * refused and changes nothing. */
int guard_set(struct manager *m, enum guard_mode mode, struct error *err);

/* The configuration was read again. */
void guard_reload(struct manager *m);

/* The first sample is in: the gate takes up its work. */
void guard_start(struct manager *m);

/* Makes the gate agree with the pool. Cheap when nothing changed. */
void guard_apply(struct manager *m);

/* The same, later: for handlers of event sources that it may free. */
void guard_soon(struct manager *m);

/* Is this a device that a GPU may have? */
bool guard_may_guard(const struct manager *m, const struct gpu_node *node);

/* The device nodes of these GPUs; returns how many. */
size_t guard_devices(const struct manager *m, const struct gpu_set *gpus,
	uint32_t ret[GPU_MAX * GPU_NODES_MAX][2]);
