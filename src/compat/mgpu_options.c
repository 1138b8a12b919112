/* SPDX-License-Identifier: MIT */
#include "compat/mgpu_options.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"

#define ID        "usage.value"
#define LIMIT_MAX (DURATION_MAX_US / USEC_PER_SEC)

#define ALONE                                                                                      \
	"dibs shares the GPUs of this machine alone; ask for some of them with --gpus N, on each " \
	"machine by itself, or use Slurm"

static const struct {
	const char *name;
	bool value; /* it takes one */
} table[] = {
	[MGPU_GPUS] = { "gpus", true },
	[MGPU_GPU_IDS] = { "gpu-ids", true },
	[MGPU_MEM] = { "mem", true },
	[MGPU_TIME_LIMIT] = { "time-limit", true },
	[MGPU_PRIORITY] = { "priority", true },
	[MGPU_ENV_SETUP_CMD] = { "env-setup-cmd", true },
	[MGPU_INTERACTIVE] = { "interactive" },
	[MGPU_BACKGROUND] = { "background" },
	[MGPU_NODES] = { "nodes", true },
	[MGPU_GPUS_PER_NODE] = { "gpus-per-node", true },
	[MGPU_NODELIST] = { "nodelist", true },
	[MGPU_EXCLUDE] = { "exclude", true },
	[MGPU_NODE_GPU_IDS] = { "node-gpu-ids", true },
	[MGPU_DISTRIBUTED] = { "distributed" },
	[MGPU_MPI] = { "mpi" },
	[MGPU_HELP] = { "help" },
	[MGPU_HOST] = { "host", true },
	[MGPU_PORT] = { "port", true },
	[MGPU_MASTER_HOST] = { "master-host", true },
	[MGPU_MASTER_PORT] = { "master-port", true },
	[MGPU_SESSION_TIMEOUT] = { "session-timeout", true },
	[MGPU_CONNECTION_TIMEOUT] = { "connection-timeout", true },
	[MGPU_MAX_WAIT_TIME] = { "max-wait-time", true },
	[MGPU_MAX_CONSECUTIVE_TIMEOUTS] = { "max-consecutive-timeouts", true },
	[MGPU_VERBOSE] = { "verbose" },
};

_Static_assert(ELEMENTSOF(table) == MGPU_OPTION_MAX, "each option has its row");

/* --- words --- */

/* "--name", "--name=value", "--name value". Returns how many words it took. */
static int parse_option(struct mgpu_options *o, char **words, struct error *err)
{
	const char *name = words[0] + 2;
	size_t length = strcspn(name, "=");
	const char *value = name[length] ? name + length + 1 : NULL;

	for (size_t i = 0; strncmp(words[0], "--", 2) == 0 && i < MGPU_OPTION_MAX; i++) {
		if (strlen(table[i].name) != length || strncmp(table[i].name, name, length) != 0)
			continue;
		if (!table[i].value && value)
			return error_set(
				err, -EINVAL, "usage.option", "--%s takes no value", table[i].name);
		if (table[i].value && !value && !words[1])
			return error_set(
				err, -EINVAL, "usage.option", "--%s needs a value", table[i].name);
		o->values[i] = !table[i].value ? "" : value ? value : words[1];
		return table[i].value && !value ? 2 : 1;
	}
	return error_set(err, -EINVAL, "usage.option", "there is no option '%s'", words[0]);
}

int mgpu_options_parse(char **argv, struct mgpu_options *ret, struct error *err)
{
	char **word = argv + 1;
	int r;

	*ret = (struct mgpu_options){ 0 };
	for (; *word && (*word)[0] == '-' && strcmp(*word, "--") != 0; word += r) {
		r = parse_option(ret, word, err);
		if (r < 0)
			return r;
	}
	ret->words = word + (*word && strcmp(*word, "--") == 0);
	while (ret->words[ret->n_words])
		ret->n_words++;
	if (ret->n_words == 0 && !ret->values[MGPU_HELP])
		return error_set(err, -EINVAL, "usage.words", "there is no command");
	return 0;
}

/* --- what they mean --- */

static int read_number(const struct mgpu_options *o, enum mgpu_option i, uint64_t max, int64_t *ret,
	struct error *err)
{
	uint64_t n;

	if (!o->values[i])
		return 0;
	if (parse_uint(o->values[i], 1, max, &n) < 0)
		return error_set(err, -EINVAL, ID,
			"--%s takes a whole number of at least 1, not '%s'", table[i].name,
			o->values[i]);
	*ret = (int64_t)n;
	return 0;
}

static int read_priority(const struct mgpu_options *o, int64_t *ret, struct error *err)
{
	const char *text = o->values[MGPU_PRIORITY];
	bool negative = text && *text == '-';
	uint64_t n;

	if (!text)
		return 0;
	if (parse_uint(text + (negative || *text == '+'), 0, INT32_MAX, &n) < 0)
		return error_set(
			err, -EINVAL, ID, "--priority takes a whole number, not '%s'", text);
	*ret = negative ? -(int64_t)n : (int64_t)n;
	return 0;
}

static bool is_here(const char *name, const char *host)
{
	size_t n = strcspn(host, ".");

	return strcmp(name, host) == 0 || strcmp(name, "localhost") == 0 ||
	       (strlen(name) == n && strncmp(name, host, n) == 0);
}

/* One machine of whatever name is this one: names were given by who ran the scheduler. */
static int note_node(const char *name, const char *host, struct strings *notes, struct error *err)
{
	if (is_here(name, host))
		return 0;
	if (strings_take(notes, text_format("'%s' is taken for this machine, %s", name, host)) < 0)
		return cli_no_memory(err);
	return 0;
}

static int read_nodes(
	const struct mgpu_options *o, const char *host, struct strings *notes, struct error *err)
{
	const char *list = o->values[MGPU_NODELIST];
	int64_t nodes = 1;

	if (read_number(o, MGPU_NODES, INT32_MAX, &nodes, err) < 0)
		return -EINVAL;
	if (nodes > 1)
		return error_set(err, -EINVAL, ID, "--nodes %s: " ALONE, o->values[MGPU_NODES]);
	if (list && strchr(list, ','))
		return error_set(err, -EINVAL, ID, "--nodelist %s: " ALONE, list);
	return list ? note_node(list, host, notes, err) : 0;
}

static int check_exclude(const struct mgpu_options *o, const char *host, struct error *err)
{
	_cleanup_(freep) char *list =
		strdup(o->values[MGPU_EXCLUDE] ? o->values[MGPU_EXCLUDE] : "");
	char *cursor = list, *name;

	while (list && (name = text_next(&cursor)))
		if (*name && is_here(name, host))
			return error_set(err, -EINVAL, ID,
				"--exclude %s: that is this machine, and there is no other", name);
	return list ? 0 : cli_no_memory(err);
}

/* "node1:0,1" */
static int read_node_gpu_ids(const struct mgpu_options *o, const char *host, struct mgpu_job *ret,
	struct strings *notes, struct error *err)
{
	const char *text = o->values[MGPU_NODE_GPU_IDS];
	const char *colon = text ? strchr(text, ':') : NULL;
	_cleanup_(freep) char *name = NULL;

	if (!text)
		return 0;
	if (!colon || colon == text || !colon[1])
		return error_set(err, -EINVAL, ID,
			"--node-gpu-ids takes a machine and its GPUs as node1:0,1, not '%s'", text);
	if (strchr(text, ';'))
		return error_set(err, -EINVAL, ID, "--node-gpu-ids %s: " ALONE, text);
	ret->gpu_ids = colon + 1;
	name = strndup(text, (size_t)(colon - text));
	return name ? note_node(name, host, notes, err) : cli_no_memory(err);
}

/* As many as were said in one of the ways there are. */
static int read_gpus(const struct mgpu_options *o, struct mgpu_job *ret, struct error *err)
{
	bool nodes = o->values[MGPU_NODES] || o->values[MGPU_NODELIST];

	ret->gpus = o->values[MGPU_GPUS];
	if (!ret->gpu_ids)
		ret->gpu_ids = o->values[MGPU_GPU_IDS];
	if (!ret->gpus && !ret->gpu_ids)
		ret->gpus = o->values[MGPU_GPUS_PER_NODE];
	if (!ret->gpus && !ret->gpu_ids && nodes)
		ret->gpus = "1";
	if (!ret->gpus && !ret->gpu_ids)
		return error_set(err, -EINVAL, "usage.option",
			"say how many GPUs (--gpus 1), or which ones (--gpu-ids 0,1)");
	return 0;
}

static int note_unused(const struct mgpu_options *o, struct strings *notes, struct error *err)
{
	if (o->values[MGPU_MPI] &&
		strings_take(notes, strdup("--mpi: the command is started once; let it be one of "
					   "mpirun")) < 0)
		return cli_no_memory(err);
	for (size_t i = MGPU_UNUSED; i < MGPU_VERBOSE; i++)
		if (o->values[i] && strings_take(notes, text_format("--%s has no effect here",
								table[i].name)) < 0)
			return cli_no_memory(err);
	return 0;
}

int mgpu_options_read(const struct mgpu_options *given, const char *host, struct mgpu_job *ret,
	struct strings *notes, struct error *err)
{
	struct mgpu_job job = {
		.setup = given->values[MGPU_ENV_SETUP_CMD],
		.distributed = given->values[MGPU_DISTRIBUTED],
		.words = given->words,
		.n_words = given->n_words,
	};
	int r = read_nodes(given, host, notes, err);

	if (r == 0)
		r = check_exclude(given, host, err);
	if (r == 0)
		r = read_node_gpu_ids(given, host, &job, notes, err);
	if (r == 0)
		r = read_gpus(given, &job, err);
	if (r == 0)
		r = read_number(given, MGPU_MEM, INT32_MAX, &job.mem_mib, err);
	if (r == 0)
		r = read_number(given, MGPU_TIME_LIMIT, LIMIT_MAX, &job.limit_sec, err);
	if (r == 0)
		r = read_priority(given, &job.priority, err);
	if (r == 0)
		r = note_unused(given, notes, err);
	if (r == 0)
		*ret = job;
	return r;
}
