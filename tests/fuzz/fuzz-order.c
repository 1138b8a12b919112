/* SPDX-License-Identifier: MIT */
/* Orders for the supervisor, which reads them as root. What is taken is whole and in bounds. */
#include <string.h>

#include "base/pattern.h"
#include "exec/environment.h"
#include "exec/order.h"
#include "fuzz.h"

static void check_texts(const struct texts *texts, int variables)
{
	for (size_t i = 0; i < texts->n; i++) {
		REQUIRE(texts->items[i]);
		REQUIRE(!variables || (strchr(texts->items[i], '=') && *texts->items[i] != '='));
	}
	REQUIRE(!texts->items || !texts->items[texts->n]);
}

static void check_order(const struct order *o)
{
	REQUIRE(o->id > 0 && o->attempt >= 0 && o->uid >= 0 && o->uid < UINT32_MAX);
	REQUIRE(o->name && o->host && o->record && *o->record == '/');
	REQUIRE(!o->cgroup || *o->cgroup == '/');
	REQUIRE(!o->dir || *o->dir == '/');
	REQUIRE(o->start_timeout_us > 0 && o->processes_max >= 0);
	REQUIRE(o->umask >= -1 && o->umask <= 0777);
	REQUIRE(o->arg.n > 0 && o->limits.given < 1u << RLIM_NLIMITS);
	check_texts(&o->arg, 0);
	check_texts(&o->env, 1);
	check_texts(&o->gpuenv, 1);
}

static void check_environment(const struct order *o)
{
	_cleanup_(environment_clear) struct environment env = { 0 };
	char u[] = "u", home[] = "/";
	const struct account account = { .name = u, .home = home, .shell = home };
	size_t n = 0;

	REQUIRE(environment_build(o, &account, NULL, &env) == 0);
	while (env.variables[n])
		n++;
	REQUIRE(n >= ENVIRONMENT_BASE && n <= ENVIRONMENT_BASE + o->env.n + o->gpuenv.n);
}

static void check_log(const struct order *o)
{
	const struct pattern_values values = { .id = o->id,
		.array = o->array,
		.index = o->index,
		.user = "u",
		.name = o->name,
		.host = o->host };
	char name[256];

	if (pattern_expand(o->out ? o->out : PATTERN_JOB, &values, name, sizeof(name), NULL) == 0)
		REQUIRE(*name || (o->out && *o->out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(order_clear) struct order order;
	struct error err = { 0 };

	if (order_parse((const char *)data, size, &order, &err) < 0) {
		REQUIRE(err.id && *err.text);
		return 0;
	}
	REQUIRE(!err.id && memcmp(data + size - 4, "end", 4) == 0);
	REQUIRE(!order_mode((const char *)data, size));
	check_order(&order);
	check_environment(&order);
	check_log(&order);
	return 0;
}
