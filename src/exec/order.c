/* SPDX-License-Identifier: MIT */
/*
 * Who may say what is a matter of place: dibsd writes its fields before "user", and appends the
 * spec, which came from a user, behind it. So a key of dibsd behind "user" is an attempt at more
 * than a user may say, and refused as any other error is.
 */
#include "exec/order.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/parse.h"
#include "priv/supervisor.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

enum form {
	FORM_INT,
	FORM_OCTAL,
	FORM_TEXT,      /* may be empty */
	FORM_PATH,      /* absolute */
	FORM_TEXTS,     /* any number */
	FORM_VARIABLES, /* any number of NAME=VALUE */
	FORM_LIMITS,
};

enum whose { OF_DIBSD, OF_USER };

static const struct key {
	const char *name;
	size_t offset;
	enum form form;
	enum whose whose;
	bool required;
	int64_t min, max; /* of FORM_INT and FORM_OCTAL */
} keys[] = {
	{ "id", offsetof(struct order, id), FORM_INT, OF_DIBSD, true, 1, INT64_MAX },
	{ "attempt", offsetof(struct order, attempt), FORM_INT, OF_DIBSD, true, 0, UINT_MAX },
	{ "uid", offsetof(struct order, uid), FORM_INT, OF_DIBSD, true, 0, UINT32_MAX - 1 },
	{ "name", offsetof(struct order, name), FORM_TEXT, OF_DIBSD, true },
	{ "host", offsetof(struct order, host), FORM_TEXT, OF_DIBSD, true },
	{ "array", offsetof(struct order, array), FORM_INT, OF_DIBSD, false, 1, INT64_MAX },
	{ "index", offsetof(struct order, index), FORM_INT, OF_DIBSD, false, 0, INT64_MAX },
	{ "record", offsetof(struct order, record), FORM_PATH, OF_DIBSD, true },
	{ "cgroup", offsetof(struct order, cgroup), FORM_PATH, OF_DIBSD },
	{ "pam", offsetof(struct order, pam), FORM_TEXT, OF_DIBSD },
	{ "start_timeout_us", offsetof(struct order, start_timeout_us), FORM_INT, OF_DIBSD, false,
		1, DURATION_MAX_US },
	{ "processes_max", offsetof(struct order, processes_max), FORM_INT, OF_DIBSD, false, 1,
		INT64_MAX },
	{ "gpuenv", offsetof(struct order, gpuenv), FORM_VARIABLES, OF_DIBSD },
	{ "arg", offsetof(struct order, arg), FORM_TEXTS, OF_USER, true },
	{ "env", offsetof(struct order, env), FORM_VARIABLES, OF_USER },
	{ "dir", offsetof(struct order, dir), FORM_PATH, OF_USER },
	{ "out", offsetof(struct order, out), FORM_TEXT, OF_USER },
	{ "err", offsetof(struct order, err), FORM_TEXT, OF_USER },
	{ "setup", offsetof(struct order, setup), FORM_TEXT, OF_USER },
	{ "venv", offsetof(struct order, venv), FORM_TEXT, OF_USER },
	{ "script", offsetof(struct order, script), FORM_TEXT, OF_USER },
	{ "umask", offsetof(struct order, umask), FORM_OCTAL, OF_USER, false, 0, 0777 },
	{ "limit", offsetof(struct order, limits), FORM_LIMITS, OF_USER },
};

static const struct key *find_key(const char *field, const char **ret_value)
{
	for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
		*ret_value = fields_value(field, keys[i].name);
		if (*ret_value)
			return &keys[i];
	}
	return NULL;
}

/* --- values --- */

static int parse_octal(const char *s, int64_t max, int64_t *ret)
{
	int64_t value = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '7')
			return -EINVAL;
		value = value * 8 + (*s - '0');
		if (value > max)
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

static int add_text(struct texts *texts, const char *text)
{
	/* Grows at 0, 1, 3, 7 ...: there is always room for the NULL. */
	if ((texts->n & (texts->n + 1)) == 0) {
		const char **items = reallocarray(texts->items, 2 * texts->n + 2, sizeof(*items));

		if (!items)
			return -ENOMEM;
		texts->items = items;
	}
	texts->items[texts->n++] = text;
	texts->items[texts->n] = NULL;
	return 0;
}

static int parse_value(
	const struct key *key, const char *value, struct order *order, struct error *err)
{
	void *target = (char *)order + key->offset;
	uint64_t number;
	int r;

	switch (key->form) {
	case FORM_INT:
		r = parse_uint(value, (uint64_t)key->min, (uint64_t)key->max, &number);
		if (r >= 0)
			*(int64_t *)target = (int64_t)number;
		return r;
	case FORM_OCTAL:
		return parse_octal(value, key->max, target);
	case FORM_PATH:
		if (*value != '/')
			return -EINVAL;
		*(const char **)target = value;
		return 0;
	case FORM_TEXT:
		*(const char **)target = value;
		return 0;
	case FORM_VARIABLES:
		if (*value == '=' || !strchr(value, '='))
			return -EINVAL;
		return add_text(target, value);
	case FORM_TEXTS:
		return add_text(target, value);
	case FORM_LIMITS:
		return rlimits_parse(target, value, err);
	}
	return -EINVAL;
}

/* --- the whole --- */

struct parser {
	struct order *order;
	bool users; /* "user" has been */
	bool seen[ELEMENTSOF(keys)];
};

static bool may_repeat(const struct key *key)
{
	return key->form == FORM_TEXTS || key->form == FORM_VARIABLES || key->form == FORM_LIMITS;
}

static int parse_field(struct parser *p, const char *field, struct error *err)
{
	const char *value;
	const struct key *key = find_key(field, &value);
	struct error why = { 0 };
	int r;

	if (!key)
		return error_set(err, -EBADMSG, "order.unknown", "unknown field %.*s",
			(int)MIN(strcspn(field, "="), (size_t)40), field);
	/* Security: what a user says is never taken for what dibsd says. */
	if ((key->whose == OF_USER) != p->users)
		return error_set(err, -EBADMSG, "order.place", "field %s stands where it must not",
			key->name);
	if (p->seen[key - keys] && !may_repeat(key))
		return error_set(
			err, -EBADMSG, "order.repeated", "field %s is repeated", key->name);
	p->seen[key - keys] = true;
	r = parse_value(key, value, p->order, &why);
	if (r == -ENOMEM)
		return error_errno(err, r, "order.memory", "cannot read it");
	if (r < 0)
		return error_set(err, -EBADMSG, "order.value", "field %s is not of its form%s%s",
			key->name, why.id ? ": " : "", why.text);
	return 0;
}

static int check_complete(const struct parser *p, struct error *err)
{
	for (size_t i = 0; i < ELEMENTSOF(keys); i++)
		if (keys[i].required && !p->seen[i])
			return error_set(err, -EBADMSG, "order.missing", "field %s is missing",
				keys[i].name);
	if (!p->users)
		return error_set(err, -EBADMSG, "order.missing", "field user is missing");
	return 0;
}

static int parse_fields(struct parser *p, const char *bytes, size_t size, struct error *err)
{
	const char *cursor = bytes, *end = bytes + size, *field;
	int r;

	while ((field = fields_next(&cursor, end))) {
		if (strcmp(field, "end") == 0)
			break;
		if (strcmp(field, "user") == 0 && !p->users) {
			p->users = true;
			continue;
		}
		r = parse_field(p, field, err);
		if (r < 0)
			return r;
	}
	if (!field)
		return error_set(err, -EBADMSG, "order.short", "it is cut short");
	if (cursor != end)
		return error_set(err, -EBADMSG, "order.surplus", "there is more behind its end");
	return check_complete(p, err);
}

int order_parse(const char *bytes, size_t size, struct order *ret, struct error *err)
{
	struct parser p = { .order = ret };
	int r;

	*ret = (struct order){ .umask = -1, .start_timeout_us = ORDER_START_TIMEOUT_US };
	r = parse_fields(&p, bytes, size, err);
	return r < 0 ? error_prefix(err, r, "the order of dibsd is damaged") : 0;
}

void order_clear(struct order *order)
{
	free(order->gpuenv.items);
	free(order->arg.items);
	free(order->env.items);
	*order = (struct order){ 0 };
}

/* Security: behind "user" nobody says what is to be done. */
const char *order_mode(const char *bytes, size_t size)
{
	const char *end = bytes + size, *field, *value = NULL;

	while (!value && (field = fields_next(&bytes, end)) && strcmp(field, "user") != 0)
		value = fields_value(field, "do");
	return value;
}

int order_read(int fd, char **ret, size_t *ret_size, struct error *err)
{
	_cleanup_(freep) char *bytes = NULL;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	/* Security: what was checked cannot change, and reading it cannot block. */
	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0)
		return error_set(err, -EBADMSG, "order.seal", "the order is no sealed memfd");
	if (st.st_size > SUPERVISOR_ORDER_MAX)
		return error_set(err, -EBADMSG, "order.size", "the order is larger than %d bytes",
			SUPERVISOR_ORDER_MAX);
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return error_set(err, -ENOMEM, "order.memory", "out of memory");
	if (pread(fd, bytes, (size_t)st.st_size, 0) != st.st_size)
		return error_set(err, -EBADMSG, "order.read", "the order cannot be read");
	*ret = TAKE_PTR(bytes);
	*ret_size = (size_t)st.st_size;
	return 0;
}
