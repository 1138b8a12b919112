/* SPDX-License-Identifier: MIT */
/* Taking orders apart, and the environment that is made of them. What is refused is tried with the
 * whole program in tests/system/test_exec.py, and by the fuzzer. */
#include "exec/order.h"

#include <errno.h>

#include "../tap.h"
#include "exec/environment.h"

#define SYSTEM "id=42\0attempt=1\0uid=1000\0name=n\0host=h\0record=/r/42.1\0"

#define PARSE(text, order, err) order_parse(text, sizeof(text) - 1, order, err)

static void takes_the_least(void)
{
	_cleanup_(order_clear) struct order o;
	struct error err = { 0 };

	CHECK_INT(PARSE(SYSTEM "user\0arg=true\0end\0", &o, &err), 0);
	CHECK_STR(err.text, "");
	CHECK(o.id == 42 && o.attempt == 1 && o.uid == 1000 && o.array == 0 && o.umask == -1);
	CHECK_INT(o.start_timeout_us, ORDER_START_TIMEOUT_US);
	CHECK(!o.cgroup && !o.pam && !o.venv && !o.script && o.processes_max == 0);
	CHECK(o.arg.n == 1 && !o.arg.items[1] && o.env.n == 0 && !o.limits.given);
	CHECK_STR(o.arg.items[0], "true");
}

static void takes_everything(void)
{
	_cleanup_(order_clear) struct order o;

	CHECK_INT(
		PARSE(SYSTEM "array=41\0index=0\0cgroup=/c\0pam=dibs\0start_timeout_us=5\0"
			     "processes_max=9\0gpuenv=A=\0gpuenv=B=b=c\0user\0arg=\0arg=b\0arg=c\0"
			     "env=X=1\0dir=/d\0out=o\0err=e\0setup=s\0venv=\0script=#!\0umask=027\0"
			     "limit=core:0\0limit=nofile:unlimited\0end\0",
			&o, NULL),
		0);
	CHECK(o.array == 41 && o.index == 0 && o.processes_max == 9 && o.start_timeout_us == 5);
	CHECK(o.gpuenv.n == 2 && o.arg.n == 3 && o.umask == 027);
	CHECK_STR(o.gpuenv.items[1], "B=b=c");
	CHECK_STR(o.venv, "");
	CHECK_INT(o.limits.given, 1u << RLIMIT_CORE | 1u << RLIMIT_NOFILE);
	CHECK(o.limits.soft[RLIMIT_NOFILE] == RLIM_INFINITY);
}

/* So that its record can say why. */
static void keeps_what_came_before_the_fault(void)
{
	_cleanup_(order_clear) struct order o;
	struct error err = { 0 };

	CHECK_INT(PARSE(SYSTEM "user\0arg=true\0what=3\0end\0", &o, &err), -EBADMSG);
	CHECK_STR(err.text, "the order of dibsd is damaged: unknown field what");
	CHECK_STR(o.record, "/r/42.1");
}

static void only_dibsd_says_what_is_to_be_done(void)
{
	static const char first[] = "id=1\0do=resume\0pid=3\0end",
			  behind[] = "id=1\0user\0do=resume\0";

	CHECK_STR(order_mode(first, sizeof(first)), "resume");
	CHECK(!order_mode(behind, sizeof(behind)));
	CHECK(!order_mode(first, 8));
	CHECK(!order_mode("", 0));
}

static void the_last_value_counts(void)
{
	_cleanup_(order_clear) struct order o;
	_cleanup_(environment_clear) struct environment env = { 0 };
	struct account account = {
		.name = (char[]){ "u" }, .home = (char[]){ "/h" }, .shell = (char[]){ "/s" }
	};
	char a[] = "A=pam", g[] = "G=pam", bad[] = "=", none[] = "none";
	char *session[] = { a, g, bad, none, NULL };
	static const char *const expected[] = { "A=pam", "AB=x", "B=2", "G=gpu", "HOME=/h",
		"LOGNAME=u", "PATH=/mine", "SHELL=/s", "USER=u" };
	size_t n = 0;

	CHECK_INT(PARSE(SYSTEM "gpuenv=G=gpu\0user\0arg=x\0env=PATH=/mine\0env=A=user\0env=B=1\0"
			       "env=AB=x\0env=B=2\0end\0",
			  &o, NULL),
		0);
	CHECK_INT(environment_build(&o, &account, session, &env), 0);
	for (; env.variables[n]; n++)
		CHECK_STR(env.variables[n], n < ELEMENTSOF(expected) ? expected[n] : "too many");
	CHECK_INT(n, ELEMENTSOF(expected));
}

int main(void)
{
	TEST(takes_the_least);
	TEST(takes_everything);
	TEST(keeps_what_came_before_the_fault);
	TEST(only_dibsd_says_what_is_to_be_done);
	TEST(the_last_value_counts);
	return tap_done();
}
