/* SPDX-License-Identifier: MIT */
/*
 * dibs submit: all that a job needs later is collected now, as the user and where the user is, and
 * handed to the daemon in one call. Options of the command line stand above those of "#DIBS" lines,
 * which stand above those of "#SBATCH" lines.
 */
#include "cli/submit.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/public.h"
#include "cli/quote.h"
#include "model/job.h"
#include "model/request.h"

extern char **environ;

struct submission {
	struct cli *cli;
	json_t *parameters;           /* owned */
	char *script;                 /* owned; NULL: it is a command */
	struct directives directives; /* of the script */
	struct strings notes;
};

static void submission_clear(struct submission *s)
{
	json_decref(s->parameters);
	free(s->script);
	directives_clear(&s->directives);
	strings_clear(&s->notes);
}

static int put(struct submission *s, const char *name, json_t *value, struct error *err)
{
	return cli_put(s->parameters, name, value, err);
}

/* A signal before a limit needs one. In Slurm the partition has it. */
static int drop_signal(struct submission *s, struct error *err)
{
	struct arguments *slurm = &s->directives.slurm;

	if (!slurm->values[OPT_WARN_SIGNAL] || slurm->values[OPT_TIME] ||
		s->cli->args.values[OPT_TIME])
		return 0;
	slurm->values[OPT_WARN_SIGNAL] = NULL;
	if (strings_take(&s->notes,
		    strdup("#SBATCH --signal is left out: the job has no time limit")) < 0)
		return cli_no_memory(err);
	return 0;
}

static int read_script(struct submission *s, struct error *err)
{
	struct arguments *args = &s->cli->args;
	const char *path = args->words[0];
	int r = script_read(path, JOB_SPEC_MAX, &s->script, err);

	if (r == 0)
		r = directives_read(s->script, path, &s->directives, err);
	if (r == 0)
		r = submit_merge(args, &s->directives.dibs, MERGE_BELOW, err);
	if (r == 0)
		r = drop_signal(s, err);
	if (r == 0)
		r = submit_merge(args, &s->directives.slurm, MERGE_BELOW, err);
	return r < 0 ? r : put(s, "script", json_string(s->script), err);
}

static int put_arguments(struct submission *s, struct error *err)
{
	const struct arguments *args = &s->cli->args;
	json_t *array = json_array();

	if (put(s, "arguments", array, err) < 0)
		return -ENOMEM;
	for (int i = 0; i < args->n_words; i++) {
		if (!text_is_utf8(args->words[i]))
			return error_set(err, -EINVAL, "submit.arguments",
				"'%s' is not UTF-8, as the command of a job has to be",
				args->words[i]);
		if (json_array_append_new(array, json_string(args->words[i])) < 0)
			return cli_no_memory(err);
	}
	return 0;
}

/* As people see it. */
static int put_command(struct submission *s, struct error *err)
{
	_cleanup_(freep) char *command =
		quote_command((const char *const *)s->cli->args.words, REQUEST_COMMAND_MAX);

	return put(s, "command", command ? json_string(command) : NULL, err);
}

size_t submit_size(json_t *parameters)
{
	size_t size = 0, i;
	const char *name;
	json_t *value, *item;

	json_object_foreach (parameters, name, value) {
		size += strlen(name) + 32 + json_string_length(value);
		json_array_foreach (value, i, item)
			size += sizeof("limit=") + json_string_length(item);
	}
	return size;
}

/* With PWD as it will be: programs that are no shell read it, too. */
static int put_environment(struct submission *s, struct error *err)
{
	_cleanup_(freep) char *pwd = text_format("PWD=%s", wire_text(s->parameters, "directory"));
	size_t size = submit_size(s->parameters) + (pwd ? strlen(pwd) : 0);
	json_t *array;

	if (size > JOB_SPEC_MAX)
		return error_set(err, -EINVAL, "submit.size",
			"the command has %zu bytes; a job has room for %d", size, JOB_SPEC_MAX);
	if (submit_environment(
		    environ, &s->cli->args, JOB_SPEC_MAX - size, &array, &s->notes, err) < 0)
		return -EINVAL;
	if (put(s, "environment", array, err) < 0 || !pwd ||
		json_array_insert_new(array, 0, json_string(pwd)) < 0)
		return cli_no_memory(err);
	return 0;
}

static int collect(struct submission *s, struct error *err)
{
	const struct arguments *args = &s->cli->args;
	int r = 0;

	s->parameters = json_object();
	if (!args->dashes)
		r = read_script(s, err);
	if (r == 0)
		r = submit_options(args, s->parameters, err);
	if (r == 0)
		r = put_arguments(s, err);
	if (r == 0)
		r = put_command(s, err);
	if (r == 0)
		r = submit_surroundings(args, s->parameters, err);
	return r == 0 ? put_environment(s, err) : r;
}

int submit_parameters(struct cli *cli, json_t **ret, struct strings *notes, struct error *err)
{
	_cleanup_(submission_clear) struct submission s = { .cli = cli };
	int r;

	assert(cli->args.dashes);
	r = collect(&s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s.parameters);
	*notes = s.notes;
	s.notes = (struct strings){ 0 };
	return 0;
}

static void say_notes(const struct strings *notes)
{
	for (size_t i = 0; i < notes->n; i++)
		complain(EXIT_OK, "%s", notes->items[i]);
}

static enum client_exit print_lease(struct cli *cli, json_t *lease)
{
	_cleanup_(json_decrefp) json_t *object = NULL;

	if (!cli_value(cli, OPT_JSON)) {
		printf("job %" PRId64 " queued\n", wire_int(lease, "id", 0));
		return EXIT_OK;
	}
	object = public_lease(lease, &cli->people);
	return cli_print_json(object);
}

/* As "dibs wait" does; whoever interrupts it leaves the job alone. */
static enum client_exit wait_for(struct cli *cli, json_t *lease)
{
	_cleanup_(freep) char *id = text_format("%" PRId64, wire_int(lease, "id", 0));

	if (!id)
		return complain(EXIT_FAULT, "out of memory");
	fflush(stdout);
	cli->args.values[OPT_JSON] = NULL;
	cli->args.words = (char *[]){ id, NULL };
	cli->args.n_words = 1;
	return verb_wait(cli);
}

enum client_exit verb_submit(struct cli *cli)
{
	_cleanup_(submission_clear) struct submission s = { .cli = cli };
	_cleanup_(json_decrefp) json_t *reply = NULL;
	struct error err = { 0 };
	enum client_exit exit;
	json_t *lease;

	if (collect(&s, &err) < 0)
		return complain_error(cli, EXIT_INVALID, &err);
	say_notes(&s.directives.notes);
	say_notes(&s.notes);
	exit = cli_call(cli, "org.dibs.Submit", s.parameters, &reply);
	if (exit != EXIT_OK)
		return exit;
	lease = json_object_get(reply, "lease");
	exit = print_lease(cli, lease);
	return exit == EXIT_OK && cli_value(cli, OPT_WAIT_FOR) ? wait_for(cli, lease) : exit;
}
