/* SPDX-License-Identifier: MIT */
#include "policy/access.h"

#include "tests/unit/tap.h"

static const struct lease hold = { .id = 41, .kind = LEASE_HOLD, .uid = 1000 };

static void owner_may(void)
{
	const struct actor owner = { .uid = 1000 };

	CHECK_INT(access_own(&owner, &hold, "release").kind, VERDICT_OK);
}

static void others_may_not(void)
{
	const struct actor other = { .uid = 1001 };
	struct verdict v = access_own(&other, &hold, "extend");

	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.id, "lease.not-yours");
	CHECK_STR(v.text, "hold #41 belongs to uid 1000, only they can extend it; "
			  "ask them, or an administrator");
}

static void administrators_use_their_own_verbs(void)
{
	const struct actor root = { .uid = 0, .admin = true };
	struct verdict v = access_own(&root, &hold, "release");

	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK(strstr(v.text, "administrators use 'dibs admin'"));
}

static void admin_verbs(void)
{
	const struct actor admin = { .uid = 1001, .admin = true }, other = { .uid = 1002 };
	struct verdict v = access_admin(&other, "drain a GPU");

	CHECK_INT(access_admin(&admin, "drain a GPU").kind, VERDICT_OK);
	CHECK_INT(v.kind, VERDICT_REFUSED);
	CHECK_STR(v.id, "access.not-admin");
	CHECK_STR(v.text, "only administrators can drain a GPU; you are uid 1002: "
			  "ask one of them, or use sudo");
}

/* Being root is not enough: the daemon decides who is an administrator. */
static void uid_zero_alone_is_no_admin(void)
{
	const struct actor root = { .uid = 0, .admin = false };

	CHECK_INT(access_admin(&root, "drain a GPU").kind, VERDICT_REFUSED);
}

int main(void)
{
	TEST(owner_may);
	TEST(others_may_not);
	TEST(administrators_use_their_own_verbs);
	TEST(admin_verbs);
	TEST(uid_zero_alone_is_no_admin);
	return tap_done();
}
