/* SPDX-License-Identifier: MIT */
/*
 * A variable that is set more than once counts as it was set last. Found by sorting, not by
 * searching: there may be tens of thousands of them.
 */
#include "exec/environment.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

struct variable {
	const char *text;
	size_t name_size, order;
};

struct variables {
	struct variable *items;
	size_t n;
};

void account_clear(struct account *account)
{
	free(account->name);
	free(account->home);
	free(account->shell);
	*account = (struct account){ 0 };
}

void environment_clear(struct environment *environment)
{
	for (size_t i = 0; i < ENVIRONMENT_BASE; i++)
		free(environment->base[i]);
	free(environment->variables);
	*environment = (struct environment){ 0 };
}

/* By name; of one name, the last first. */
static int compare(const void *a, const void *b)
{
	const struct variable *x = a, *y = b;
	int r = memcmp(x->text, y->text, MIN(x->name_size, y->name_size));

	if (r == 0 && x->name_size != y->name_size)
		r = x->name_size < y->name_size ? -1 : 1;
	return r != 0 ? r : x->order > y->order ? -1 : 1;
}

static void add(struct variables *v, const char *text)
{
	size_t size = strcspn(text, "=");

	v->items[v->n] = (struct variable){ text, size, v->n };
	v->n++;
}

static void add_all(struct variables *v, const char *const *texts)
{
	for (; texts && *texts; texts++)
		if (**texts != '=' && strchr(*texts, '='))
			add(v, *texts);
}

static size_t count(const char *const *texts)
{
	size_t n = 0;

	while (texts && texts[n])
		n++;
	return n;
}

static bool same_name(const struct variable *a, const struct variable *b)
{
	return a->name_size == b->name_size && memcmp(a->text, b->text, a->name_size) == 0;
}

/* What is left of them, in ret. */
static void take_last(struct variables *v, const char **ret)
{
	size_t n = 0;

	qsort(v->items, v->n, sizeof(*v->items), compare);
	for (size_t i = 0; i < v->n; i++)
		if (i == 0 || !same_name(&v->items[i - 1], &v->items[i]))
			ret[n++] = v->items[i].text;
	ret[n] = NULL;
}

static int make_base(const struct account *account, struct environment *env)
{
	env->base[0] = text_format("HOME=%s", account->home);
	env->base[1] = text_format("USER=%s", account->name);
	env->base[2] = text_format("LOGNAME=%s", account->name);
	env->base[3] = text_format("SHELL=%s", account->shell);
	env->base[4] = text_format("PATH=/usr/local/bin:/usr/bin:/bin");
	for (size_t i = 0; i < ENVIRONMENT_BASE; i++)
		if (!env->base[i])
			return -ENOMEM;
	return 0;
}

int environment_build(const struct order *order, const struct account *account,
	char *const *session, struct environment *ret)
{
	_cleanup_(environment_clear) struct environment env = { 0 };
	const char *const *pam = (const char *const *)session;
	size_t max = ENVIRONMENT_BASE + order->env.n + count(pam) + order->gpuenv.n;
	_cleanup_(freep) struct variable *items = calloc(max, sizeof(*items));
	struct variables all = { .items = items };

	env.variables = calloc(max + 1, sizeof(*env.variables));
	if (!items || !env.variables || make_base(account, &env) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < ENVIRONMENT_BASE; i++)
		add(&all, env.base[i]);
	add_all(&all, order->env.items);
	add_all(&all, pam);
	add_all(&all, order->gpuenv.items);
	take_last(&all, env.variables);
	*ret = env;
	env = (struct environment){ 0 };
	return 0;
}
