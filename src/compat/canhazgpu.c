/* SPDX-License-Identifier: MIT */
/*
 * The face canhazgpu: its commands, and what they have in common.
 *
 * An error is said once, on standard error, without a page of usage behind it. Every failure is
 * exit status 1, as there; "run" ends with that of its command.
 */
#include "compat/canhazgpu.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "dibs-config.h"

static int web(struct chg *chg)
{
	return chg_fail("there is no web page on this machine; see 'canhazgpu status', or 'dibs "
			"status --watch' for what stays up to date");
}

static int supervisor(struct chg *chg)
{
	return chg_fail("nothing needs to supervise a run any more: dibsd does");
}

const struct chg_command chg_commands[] = {
	{ "admin", "Say how many GPUs there are; end all reservations",
		"dibs finds the GPUs itself: --gpus is compared with what is there. With --force, "
		"all\nreservations of all users are ended, which is for administrators.",
		.run = chg_admin },
	{ "queue", "Show who waits for GPUs", NULL, .run = chg_queue },
	{ "release", "Give reserved GPUs back",
		"Without --gpu-ids: all that you have reserved. With it: what you have reserved, "
		"and what you\nrun, on these GPUs. A run that loses its last GPU is ended.",
		.run = chg_release },
	{ "report", "Sum up who had how many GPU hours", NULL, .run = chg_report },
	{ "reserve", "Reserve GPUs for a time",
		"Prints what to set so that programs use just these GPUs.", .run = chg_reserve },
	{ "run", "Reserve GPUs, run a command on them, give them back",
		"The command finds its GPUs in CUDA_VISIBLE_DEVICES. Flags stand before the '--'.",
		.command = true, .run = chg_run },
	{ "status", "Show the GPUs, and who has them", NULL, .run = chg_show_status },
	{ "supervisor", "", NULL, .hidden = true, .run = supervisor },
	{ "web", "Say where the web page is", NULL, .run = web },
	{ 0 },
};

int chg_fail(const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	text_vprint(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_sanitize(text);
	fflush(stdout);
	fprintf(stderr, "Error: %s\n", text);
	return 1;
}

int chg_fail_error(struct chg *chg, const struct error *err)
{
	char text[1024];

	people_rename(&chg->cli.people, text, sizeof(text), err->text);
	return chg_fail("%s", text);
}

static void complain_plainly(struct manner *manner, enum client_exit exit, const char *text)
{
	chg_fail("%s", text);
}

json_t *chg_call(struct chg *chg, const char *method, json_t *parameters)
{
	json_t *reply = NULL;

	return cli_call(&chg->cli, method, parameters, &reply) == EXIT_OK ? reply : NULL;
}

static int start(struct chg *chg, int argc, char **argv)
{
	struct error err = { 0 };

	if (chg_parse(chg, argc, argv, &err) < 0)
		return chg_fail_error(chg, &err);
	if (chg_is(chg, CHG_SHOW_VERSION) && !chg->command) {
		puts("canhazgpu version " CHG_VERSION " (dibs " DIBS_VERSION ")");
		return 0;
	}
	if (chg_is(chg, CHG_HELP) || !chg->command) {
		chg_print_help(chg);
		return 0;
	}
	if (chg->command->hidden)
		return chg->command->run(chg);
	if (chg_read_environment(chg, &err) < 0 || chg_read_config(chg, &err) < 0)
		return chg_fail_error(chg, &err);
	chg_name_unused(chg);
	return chg->command->run(chg);
}

int canhazgpu_main(int argc, char **argv)
{
	struct manner manner = { complain_plainly };
	_cleanup_(chg_clear) struct chg chg = { 0 };
	int status;

	cli_set_manner(&manner);
	status = start(&chg, argc, argv);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0)
		status = chg_fail("cannot write to standard output: %m");
	cli_set_manner(NULL);
	return status;
}
