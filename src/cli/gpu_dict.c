/* SPDX-License-Identifier: MIT */
/* Recursive descent, one function for each thing there is; s is where it reads. */
#include "cli/gpu_dict.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct reader {
	const char *text, *s;
	struct gpu_dict *dict;
	struct gpu_set all;
	struct error *err;
};

static int fail(struct reader *r, const char *what)
{
	return error_set(r->err, -EINVAL, "gpus.dict",
		"column %zu: %s; expected is a dict such as {'A100': [0, 1]}, and nothing is "
		"evaluated",
		(size_t)(r->s - r->text) + 1, what);
}

static char peek(struct reader *r)
{
	r->s += strspn(r->s, " \t");
	return *r->s;
}

static bool take(struct reader *r, char c)
{
	if (peek(r) != c)
		return false;
	r->s++;
	return true;
}

static int read_name(struct reader *r, struct gpu_type *type)
{
	char quote = peek(r);
	size_t n = 0;

	if (quote != '\'' && quote != '"')
		return fail(r, "no name of a type in quotes");
	for (r->s++; *r->s != quote; r->s++) {
		if (*r->s < ' ' || *r->s > '~' || strchr("\\'\"", *r->s))
			return fail(r, "no character for the name of a type");
		if (n == sizeof(type->name) - 1)
			return fail(r, "the name of a type is too long");
		type->name[n++] = *r->s;
	}
	r->s++;
	type->name[n] = '\0';
	for (unsigned i = 0; i < r->dict->n; i++)
		if (strcmp(r->dict->types[i].name, type->name) == 0)
			return fail(r, "a type a second time");
	return n > 0 ? 0 : fail(r, "an empty name");
}

static int read_number(struct reader *r, struct gpu_type *type)
{
	unsigned number = 0;

	if (peek(r) < '0' || *r->s > '9')
		return fail(r, "no number of a GPU");
	for (; *r->s >= '0' && *r->s <= '9'; r->s++) {
		number = number * 10 + (unsigned)(*r->s - '0');
		if (number >= GPU_MAX)
			return fail(r, "a number that no GPU has");
	}
	if (gpu_set_has(&r->all, number))
		return fail(r, "a GPU a second time");
	gpu_set_add(&r->all, number);
	gpu_set_add(&type->gpus, number);
	return 0;
}

/* What stands between brackets, with commas; Python allows one more at the end. */
static int read_list(struct reader *r, char open, char close,
	int (*item)(struct reader *r, struct gpu_type *type), struct gpu_type *type)
{
	if (!take(r, open))
		return fail(r, open == '{' ? "no '{'" : "no '['");
	while (!take(r, close)) {
		int error = item(r, type);

		if (error < 0)
			return error;
		if (!take(r, ',') && peek(r) != close)
			return fail(
				r, close == '}' ? "neither ',' nor '}'" : "neither ',' nor ']'");
	}
	return 0;
}

static int read_type(struct reader *r, struct gpu_type *ignored)
{
	struct gpu_type type = { 0 };
	int error = read_name(r, &type);

	if (error == 0 && !take(r, ':'))
		error = fail(r, "no ':'");
	if (error == 0)
		error = read_list(r, '[', ']', read_number, &type);
	if (error == 0 && r->dict->n == GPU_TYPES_MAX)
		error = fail(r, "too many types");
	if (error == 0)
		r->dict->types[r->dict->n++] = type;
	return error;
}

int gpu_dict_parse(const char *text, struct gpu_dict *ret, struct error *err)
{
	struct gpu_dict dict = { .n = 0 };
	struct reader r = { .text = text, .s = text, .dict = &dict, .err = err };
	int error = read_list(&r, '{', '}', read_type, NULL);

	if (error == 0 && peek(&r))
		error = fail(&r, "something behind the dict");
	if (error == 0)
		*ret = dict;
	return error;
}
