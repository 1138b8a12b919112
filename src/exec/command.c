/* SPDX-License-Identifier: MIT */
/*
 * The shell text below is ours and constant. What the user says comes to it as arguments: the setup
 * ($1), the virtual environment ($2), the command. Both are evaluated where there are no arguments,
 * since a sourced file sees those of who sources it: in bash behind "set --" (in a function,
 * "declare" would be local), elsewhere in a function, as there are no arrays.
 */
#include "exec/command.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define BASH "/bin/bash"
#define SH   "/bin/sh"

#define OR_FAIL(what)                                                                   \
	" || { set -- $?; printf 'dibs: the " what " failed with status %s\\n' \"$1\" " \
	">&2; exit \"$1\"; }\n"

static const char bash_text[] =
	"__dibs=(\"$@\"); set --\n"
	"[ -z \"${__dibs[0]}\" ] || eval \"${__dibs[0]}\"" OR_FAIL(
		"setup") "[ -z \"${__dibs[1]}\" ] || . "
			 "\"${__dibs[1]}/bin/activate\"" OR_FAIL("virtual "
								 "environment") "exec"
										" -- "
										"\"${"
										"__"
										"dibs"
										"[@]:"
										"2}"
										"\""
										"\n";

static const char sh_text[] =
	"__dibs_setup=$1 __dibs_venv=$2; shift 2\n"
	"__dibs_set_up() { eval \"$__dibs_setup\"; }\n"
	"__dibs_activate() { . \"$__dibs_venv/bin/activate\"; }\n"
	"[ -z \"$__dibs_setup\" ] || __dibs_set_up" OR_FAIL("setup") "[ -z "
								     "\"$__dibs_venv\" "
								     "] || "
								     "__dibs_"
								     "activate" OR_FAIL("virtual "
											"environme"
											"nt") "exe"
											      "c "
											      "\"$"
											      "@\""
											      "\n";

/* *ret stays NULL if there is nothing to activate. */
static int find_venv(
	const struct order *order, const struct account *account, char **ret, struct error *err)
{
	_cleanup_(freep) char *venv = NULL, *activate = NULL;

	if (order->venv && !*order->venv)
		return 0;
	/* With a slash in it: "." would search PATH for others. */
	venv = order->venv ? text_format("%s%s", *order->venv == '/' ? "" : "./", order->venv)
			   : text_format("%s/venv", account->home);
	activate = venv ? text_format("%s/bin/activate", venv) : NULL;
	if (!activate)
		return error_set(err, -ENOMEM, "command.memory", "out of memory");
	if (access(activate, R_OK) == 0)
		*ret = TAKE_PTR(venv);
	else if (order->venv)
		return error_errno(err, -errno, "command.venv",
			"its virtual environment cannot be read: %s", activate);
	return 0;
}

int command_build(const struct order *order, const struct account *account, struct command *ret,
	struct error *err)
{
	_cleanup_(command_clear) struct command command = { 0 };
	bool bash = access(BASH, X_OK) == 0;
	size_t n = 0;
	int r = find_venv(order, account, &command.venv, err);

	if (r < 0)
		return r;
	command.argv = calloc(order->arg.n + 7, sizeof(*command.argv));
	if (!command.argv)
		return error_set(err, -ENOMEM, "command.memory", "out of memory");
	command.file = order->script ? COMMAND_SCRIPT_PATH : order->arg.items[0];
	if (order->setup || command.venv) {
		command.argv[n++] = bash ? BASH : SH;
		command.argv[n++] = "-c";
		command.argv[n++] = bash ? bash_text : sh_text;
		command.argv[n++] = "dibs"; /* $0 */
		command.argv[n++] = order->setup ? order->setup : "";
		command.argv[n++] = command.venv ? command.venv : "";
		command.argv[n++] = command.file;
		command.file = command.argv[0];
	} else {
		command.argv[n++] = order->arg.items[0];
	}
	for (size_t i = 1; i < order->arg.n; i++)
		command.argv[n++] = order->arg.items[i];
	*ret = command;
	command = (struct command){ 0 };
	return 0;
}

void command_clear(struct command *command)
{
	free(command->argv);
	free(command->venv);
	*command = (struct command){ 0 };
}
