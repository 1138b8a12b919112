/* SPDX-License-Identifier: MIT */
/* What all verbs say in the same way. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>

#include "base/text.h"
#include "cli/public.h"

/* Of the process, as its standard error is: who complains has no context at hand. */
static struct manner *manner_now;

void cli_set_manner(struct manner *manner)
{
	manner_now = manner;
}

struct manner *cli_manner(void)
{
	return manner_now;
}

static void say(enum client_exit exit, char *text)
{
	text_sanitize(text);
	if (manner_now)
		manner_now->complain(manner_now, exit, text);
	else
		fprintf(stderr, "dibs: %s\n", text);
}

enum client_exit complain(enum client_exit exit, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(exit, text);
	return exit;
}

enum client_exit complain_error(struct cli *cli, enum client_exit exit, const struct error *err)
{
	char text[1024];

	people_rename(&cli->people, text, sizeof(text), err->text);
	say(exit, text);
	return exit;
}

enum client_exit cli_call(struct cli *cli, const char *method, json_t *parameters, json_t **ret)
{
	struct error err = { 0 };
	enum client_exit exit =
		client_call(cli_value(cli, OPT_SOCKET), method, parameters, ret, &err);

	return exit == EXIT_OK ? exit : complain_error(cli, exit, &err);
}

int cli_no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "cli.memory", "out of memory");
}

int cli_put(json_t *object, const char *name, json_t *value, struct error *err)
{
	return json_object_set_new(object, name, value) < 0 ? cli_no_memory(err) : 0;
}

enum client_exit cli_print_json(json_t *json)
{
	if (!json || json_dumpf(json, stdout, JSON_INDENT(2)) < 0)
		return complain(
			EXIT_FAULT, "cannot print JSON: out of memory, or the output is closed");
	putchar('\n');
	return EXIT_OK;
}

enum client_exit cli_print_leases(
	struct cli *cli, json_t *leases, json_t *(*fn)(json_t *wire, struct people *people))
{
	_cleanup_(json_decrefp) json_t *array = public_each(leases, &cli->people, fn);

	return cli_print_json(array);
}
