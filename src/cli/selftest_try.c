/* SPDX-License-Identifier: MIT */
#include "cli/selftest_try.h"

#include <errno.h>
#include <string.h>

static bool is_denied(int r)
{
	return r == -EPERM || r == -EACCES;
}

/* A claim of several parts is ok once all were: only a failure overwrites. */
static bool found(const struct scene *scene, enum claim claim, struct user *user, int r, bool open)
{
	if (open ? r == 0 : is_denied(r)) {
		if (scene->report->results[scene->gate][claim].outcome == OUTCOME_UNTRIED)
			result_set(scene->report, scene->gate, claim, OUTCOME_OK, "%s", "");
		return true;
	}
	result_set(scene->report, scene->gate, claim, OUTCOME_FAILED, "uid %u %s %s%s%s",
		(unsigned)user->uid,
		r == 0         ? "could open"
		: is_denied(r) ? "could not open"
			       : "could not try to open",
		scene->node, r < 0 ? ": " : "", r < 0 ? strerrordesc_np(-r) : "");
	return false;
}

static bool try_open(const struct scene *scene, enum claim claim, struct user *user)
{
	return found(scene, claim, user, user_open(user, scene->node), true);
}

static bool try_shut(const struct scene *scene, enum claim claim, struct user *user)
{
	return found(scene, claim, user, user_open(user, scene->node), false);
}

int64_t try_reserve(const struct scene *scene)
{
	struct error err = { 0 };
	int64_t lease = user_reserve(scene->holder, scene->socket, scene->gpu, &err);

	if (lease > 0)
		return lease;
	gate_failed(scene->report, scene->gate, "no lease for uid %u: %s",
		(unsigned)scene->holder->uid, err.text);
	return 0;
}

bool try_release(const struct scene *scene, int64_t lease)
{
	struct error err = { 0 };

	if (user_release(scene->holder, scene->socket, lease, &err) >= 0)
		return true;
	gate_failed(scene->report, scene->gate, "lease #%lld was not given back: %s",
		(long long)lease, err.text);
	return false;
}

static void try_namespace(const struct scene *scene)
{
	int r = user_unshare(scene->other);

	if (r < 0)
		result_set(scene->report, scene->gate, CLAIM_NAMESPACE, OUTCOME_UNTRIED,
			"users cannot make a user namespace here: %s", strerrordesc_np(-r));
	else
		try_shut(scene, CLAIM_NAMESPACE, scene->other);
}

static bool stays(const struct scene *scene)
{
	bool open = try_open(scene, CLAIM_KILLED, scene->holder);

	return try_shut(scene, CLAIM_KILLED, scene->other) && open;
}

static bool try_kill(const struct scene *scene)
{
	struct error err = { 0 };
	int r = scene->kill_daemon(scene->userdata, &err);

	if (r >= 0)
		stays(scene);
	if (r >= 0)
		r = scene->restart_daemon(scene->userdata, &err);
	if (r >= 0)
		stays(scene);
	else
		gate_failed(scene->report, scene->gate, "%s", err.text);
	return r >= 0;
}

/* While the holder has the lease. */
static bool try_held(const struct scene *scene)
{
	try_open(scene, CLAIM_WITH, scene->holder);
	try_shut(scene, CLAIM_OTHER, scene->other);
	try_namespace(scene);
	return !scene->kill_daemon || try_kill(scene);
}

void try_claims(const struct scene *scene)
{
	int64_t lease;

	try_shut(scene, CLAIM_WITHOUT, scene->holder);
	lease = try_reserve(scene);
	if (lease == 0)
		return;
	if (scene->gate == GATE_GPU)
		scene->report->lease = lease;
	if (try_held(scene) && try_release(scene, lease)) {
		scene->report->lease = 0;
		try_shut(scene, CLAIM_RELEASED, scene->holder);
	}
}
