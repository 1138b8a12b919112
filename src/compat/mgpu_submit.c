/* SPDX-License-Identifier: MIT */
/*
 * Jobs of Multi-GPU Scheduler as jobs of dibs. There, a command was joined by blanks and given to a
 * login shell, in the home directory of the user. Here its words stay what they are; only one that
 * stands alone is a line for a shell. So that --env-setup-cmd finds what a login sets up (conda,
 * modules), the files of a login are read before it, in the same shell.
 */
#include "compat/mgpu.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>

#include "base/text.h"
#include "cli/public.h"
#include "cli/submit.h"
#include "model/request.h"

#define ID       "mgpu.job"
#define NICE_MAX 100
#define LOG      ".mgpu_job_%8j.log"

/* What is no letter of a path or an option, and so something for a shell. */
#define SHELL_CHARACTERS " \t\n;&|<>()$`\\\"'*?[]{}~#!"

static const char login[] = "if [ -r /etc/profile ]; then . /etc/profile; fi\n"
			    "if [ -r ~/.bash_profile ]; then . ~/.bash_profile\n"
			    "elif [ -r ~/.bash_login ]; then . ~/.bash_login\n"
			    "elif [ -r ~/.profile ]; then . ~/.profile; fi\n";

/* The words of the command line of dibs, and the texts that its options point to. */
struct order {
	const struct mgpu_job *job;
	const char *home;     /* borrowed */
	bool line;            /* its one word is for a shell */
	char **words;         /* owned, but for what is in it */
	char *output, *setup; /* owned */
	char size[32], time[32], nice[8], name[64];
};

static void order_clear(struct order *order)
{
	free(order->words);
	free(order->output);
	free(order->setup);
}

/* "NAME=value", which a shell would not take for a command. */
static bool is_assignment(const char *word)
{
	if (!isalpha((unsigned char)*word) && *word != '_')
		return false;
	while (isalnum((unsigned char)*word) || *word == '_')
		word++;
	return *word == '=';
}

static int make_words(struct order *o, struct error *err)
{
	static const char *const shells[] = { "/bin/bash", "/bin/sh" };
	const struct mgpu_job *job = o->job;
	size_t n = 0;

	o->words = calloc((size_t)job->n_words + 3, sizeof(*o->words));
	if (!o->words)
		return cli_no_memory(err);
	o->line = job->n_words == 1 && (job->remote || strpbrk(job->words[0], SHELL_CHARACTERS));
	if (o->line) {
		o->words[n++] = (char *)shells[access(shells[0], X_OK) == 0 ? 0 : 1];
		o->words[n++] = (char *)"-c";
	} else if (is_assignment(job->words[0])) {
		o->words[n++] = (char *)"env";
	}
	memcpy(o->words + n, job->words, (size_t)job->n_words * sizeof(*o->words));
	return 0;
}

/* What a line begins with, without directories; empty if that is nothing to call it by. */
static void make_name(struct order *o)
{
	_cleanup_(freep) char *line = strdup(o->job->words[0]);
	char *first = line ? text_strip(line) : NULL, *slash;

	if (!first)
		return;
	first[strcspn(first, SHELL_CHARACTERS)] = '\0';
	slash = strrchr(first, '/');
	text_copy(o->name, sizeof(o->name), slash ? slash + 1 : first);
}

/* A pattern in which the home directory means itself. */
static int make_output(struct order *o, struct error *err)
{
	char *end = o->output = malloc(strlen(o->home) * 2 + sizeof("/" LOG));

	if (!end)
		return cli_no_memory(err);
	for (const char *s = o->home; *s; s++) {
		if (*s == '%')
			*end++ = '%';
		*end++ = *s;
	}
	memcpy(end, "/" LOG, sizeof("/" LOG));
	return 0;
}

static int make_setup(struct order *o, struct error *err)
{
	if (!o->job->setup && !o->job->remote)
		return 0;
	o->setup = text_format("%s%s", login, o->job->setup ? o->job->setup : ":");
	return o->setup ? 0 : cli_no_memory(err);
}

static void give(struct arguments *args, enum opt opt, const char *value)
{
	args->values[opt] = value;
	if (options[opt].again == OPTION_REPEATED && args->n_given < ARGUMENTS_GIVEN_MAX)
		args->given[args->n_given++] = (struct given){ opt, value };
}

/* Its output is to be read while it runs, so it must not be kept in buffers. */
static void give_environment(struct arguments *args, const struct mgpu_job *job)
{
	static const char *const one_machine[] = { "RANK=0", "WORLD_SIZE=1",
		"MASTER_ADDR=localhost", "MASTER_PORT=29500" };

	give(args, OPT_ENV, "PYTHONUNBUFFERED=1");
	for (size_t i = 0; job->distributed && i < ELEMENTSOF(one_machine); i++)
		give(args, OPT_ENV, one_machine[i]);
}

static void give_options(struct order *o, struct arguments *args)
{
	const struct mgpu_job *job = o->job;

	give(args, OPT_CHDIR, o->home);
	give(args, OPT_OUTPUT, o->output);
	if (job->gpus)
		give(args, OPT_GPUS, job->gpus);
	if (job->gpu_ids)
		give(args, OPT_GPU, job->gpu_ids);
	if (o->setup)
		give(args, OPT_ENV_SETUP, o->setup);
	if (job->setup)
		give(args, OPT_NO_VENV, "");
	if (*o->name)
		give(args, OPT_NAME, o->name);
	if (job->mem_mib) {
		snprintf(o->size, sizeof(o->size), "%" PRId64 "M", job->mem_mib);
		give(args, OPT_MEM, o->size);
	}
	if (job->limit_sec) {
		snprintf(o->time, sizeof(o->time), "%" PRId64 "s", job->limit_sec);
		give(args, OPT_TIME, o->time);
		give(args, OPT_ON_LIMIT, "requeue");
	}
	if (job->priority) {
		snprintf(o->nice, sizeof(o->nice), "%d",
			(int)-MAX(MIN(job->priority, NICE_MAX), -NICE_MAX));
		give(args, OPT_NICE, o->nice);
	}
	give_environment(args, job);
}

/* As people see it: a line is what they typed already. */
static int put_command(json_t *parameters, const char *line, struct error *err)
{
	_cleanup_(freep) char *command = strdup(line);

	if (!command)
		return cli_no_memory(err);
	text_cut(command, REQUEST_COMMAND_MAX);
	return cli_put(parameters, "command", json_string(command), err);
}

static int find_home(const char **ret, struct error *err)
{
	const struct passwd *pw = getpwuid(getuid());

	if (!pw || pw->pw_dir[0] != '/')
		return error_set(err, -EINVAL, ID, "you have no home directory to start in");
	*ret = pw->pw_dir;
	return 0;
}

/* The parameters of org.dibs.Submit. */
static int make_parameters(struct cli *cli, const struct mgpu_job *job, json_t **ret,
	struct strings *notes, struct error *err)
{
	_cleanup_(order_clear) struct order o = { .job = job };
	_cleanup_(json_decrefp) json_t *parameters = NULL;
	const char *socket = cli_value(cli, OPT_SOCKET);
	struct arguments *args = &cli->args;
	int r = find_home(&o.home, err);

	if (r == 0)
		r = make_words(&o, err);
	if (r == 0)
		r = make_output(&o, err);
	if (r == 0)
		r = make_setup(&o, err);
	if (r < 0)
		return r;
	if (o.line)
		make_name(&o);
	*args = (struct arguments){ .verb = verb_find(verbs, "submit"), .dashes = true };
	for (args->words = o.words; o.words[args->n_words];)
		args->n_words++;
	give_options(&o, args);
	r = submit_parameters(cli, &parameters, notes, err);
	*args = (struct arguments){ .values[OPT_SOCKET] = socket };
	if (r == 0 && o.line)
		r = put_command(parameters, job->words[0], err);
	if (r < 0)
		return r;
	if (job->remote) {
		json_object_del(parameters, "limits");
		json_object_del(parameters, "umask");
	}
	*ret = TAKE_PTR(parameters);
	return 0;
}

/* --- handing it in --- */

/* Where shares are not allowed, it has whole GPUs that have as much memory. */
static int want_whole_gpus(json_t *parameters)
{
	json_t *size = json_object_get(parameters, "share_mib");

	return json_object_set(parameters, "min_memory_mib", size) < 0 ||
			       json_object_del(parameters, "share_mib") < 0
		       ? -ENOMEM
		       : 0;
}

/* As it is; if that is refused and there is a share in it, without. */
static enum client_exit submit_shared_or_whole(
	struct cli *cli, json_t *parameters, json_t **ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *whole = json_copy(parameters);
	enum client_exit exit = mgpu_call(cli, "org.dibs.Submit", parameters, ret, err);

	if (exit != EXIT_REFUSED || !json_object_get(parameters, "share_mib"))
		return exit;
	if (!whole || want_whole_gpus(whole) < 0) {
		cli_no_memory(err);
		return EXIT_FAULT;
	}
	return mgpu_call(cli, "org.dibs.Submit", whole, ret, err);
}

static bool is_pushing(json_t *parameters)
{
	return wire_int(parameters, "nice", 0) < 0;
}

enum client_exit mgpu_submit(struct cli *cli, const struct mgpu_job *job, json_t **ret_lease,
	struct strings *notes, struct error *err)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	enum client_exit exit;

	if (make_parameters(cli, job, &parameters, notes, err) < 0)
		return EXIT_INVALID;
	exit = submit_shared_or_whole(cli, parameters, &reply, err);
	if (exit == EXIT_REFUSED && is_pushing(parameters)) {
		json_object_del(parameters, "nice");
		exit = submit_shared_or_whole(cli, parameters, &reply, err);
		if (exit == EXIT_OK &&
			strings_take(notes, strdup("only administrators can put a job before those "
						   "of others; its priority is 0")) < 0)
			return exit; /* as it is in the queue, memory or not */
	}
	if (exit == EXIT_OK)
		*ret_lease = json_incref(json_object_get(reply, "lease"));
	return exit;
}
