/* SPDX-License-Identifier: MIT */
/*
 * An administrator is no owner: what they take from others goes through their own verbs, which are
 * journaled with a reason. So access_own looks at the uid only, and merely mentions the other way.
 */
#include "policy/access.h"

#include <inttypes.h>

struct verdict access_own(const struct actor *actor, const struct lease *lease, const char *what)
{
	/* Security: the uid is the one that the kernel gave for the socket's peer. */
	if (actor->uid == lease->uid)
		return verdict_ok();
	return verdict_make(VERDICT_REFUSED, "lease.not-yours",
		"%s #%" PRId64 " belongs to uid %u, only they can %s it; %s",
		lease_kind_to_string(lease->kind), lease->id, (unsigned)lease->uid, what,
		actor->admin ? "administrators use 'dibs admin'" : "ask them, or an administrator");
}

struct verdict access_admin(const struct actor *actor, const char *what)
{
	/* Security: uid 0 or membership of the admin group, both told by the kernel at accept. */
	if (actor->admin)
		return verdict_ok();
	return verdict_make(VERDICT_REFUSED, "access.not-admin",
		"only administrators can %s; you are uid %u: ask one of them, or use sudo", what,
		(unsigned)actor->uid);
}
