/* SPDX-License-Identifier: MIT */
/* Which lease "dibs gpus" is about, and its GPUs for people and programs. */
#include <inttypes.h>

#include "base/clock.h"
#include "cli/gpu.h"
#include "cli/gpu_words.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "cli/table.h"

/* "41 (GPU 0,1), 43 (GPU 5)" */
static void put_mine(struct cell *cell, json_t *leases)
{
	const char *comma = "";
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease) {
		char gpus[LEASE_GPUS_SIZE], number[JOB_NUMBER_SIZE];

		if (!lease_is_mine(lease))
			continue;
		lease_gpus(gpus, lease);
		job_number(number, lease);
		cell_printf(cell, "%s%s (GPU %s)", comma, number, gpus);
		comma = ", ";
	}
}

/* Root may ask for anybody's: it is who sudo makes of the holder. */
static enum client_exit lease_by_id(struct cli *cli, json_t *leases, const char *text, json_t **ret)
{
	enum client_exit exit;
	json_t *lease;
	int64_t id;

	exit = job_find(cli, text, &id);
	if (exit != EXIT_OK)
		return exit;
	lease = lease_find(leases, id);
	if (!lease)
		return complain(EXIT_INVALID, "there is no lease %" PRId64 ", or it has ended", id);
	if (geteuid() != 0 && wire_int(lease, "uid", -1) != getuid())
		return complain(EXIT_REFUSED, "lease %" PRId64 " is not yours", id);
	if (json_array_size(json_object_get(lease, "gpus")) == 0)
		return complain(EXIT_NOT_FREE, "lease %" PRId64 " still waits for its GPUs", id);
	*ret = lease;
	return EXIT_OK;
}

static enum client_exit only_lease(json_t *leases, json_t **ret)
{
	struct cell mine = { 0 };
	json_t *lease, *found = NULL;
	size_t i, n = 0;

	json_array_foreach (leases, i, lease)
		if (lease_is_mine(lease)) {
			found = lease;
			n++;
		}
	if (n == 0)
		return complain(EXIT_INVALID, "you have no GPU; 'dibs reserve' takes one");
	put_mine(&mine, leases);
	if (n > 1)
		return complain(EXIT_INVALID, "you have %zu leases, say which: %s", n, mine.text);
	*ret = found;
	return EXIT_OK;
}

static enum client_exit choose_lease(struct cli *cli, json_t *leases, json_t **ret)
{
	const char *text = cli->args.words[0];

	if (!text)
		text = getenv("DIBS_LEASE");
	return text && *text ? lease_by_id(cli, leases, text, ret) : only_lease(leases, ret);
}

/* Those of the lease: a new array, owned by the caller. */
static json_t *gpus_of(json_t *lease, json_t *gpus)
{
	json_t *mine = json_array(), *index, *gpu;
	size_t i, k;

	json_array_foreach (json_object_get(lease, "gpus"), i, index)
		json_array_foreach (gpus, k, gpu)
			if (wire_int(gpu, "index", -1) == json_integer_value(index))
				json_array_append(mine, gpu);
	return mine;
}

static void fill_model(struct cell *cell, const struct view *view, json_t *gpu)
{
	cell_printf(cell, "%s", wire_text(gpu, "model"));
}

static void fill_uuid(struct cell *cell, const struct view *view, json_t *gpu)
{
	cell_printf(cell, "%s", wire_text(gpu, "uuid"));
}

static const struct column columns[] = {
	{ "GPU", COLUMN_RIGHT, gpu_fill_index },
	{ "UUID", 0, fill_uuid },
	{ "MODEL", COLUMN_CUT, fill_model },
};

static enum client_exit print_table(struct cli *cli, json_t *lease, json_t *gpus)
{
	struct view view = { &cli->term, &cli->people, clock_wall() };
	_cleanup_(freep) char *text = lease_sentence(lease, view.now_us);

	if (!text)
		return complain(EXIT_FAULT, "out of memory");
	term_fit(&cli->term, text);
	printf("%s\n\n", text);
	return table_draw(stdout, &view, columns, ELEMENTSOF(columns), gpus) < 0
		       ? complain(EXIT_FAULT, "out of memory")
		       : EXIT_OK;
}

/* All of the line or nothing, so that half a command line is never run. */
static enum client_exit print_words(struct cli *cli, json_t *lease, json_t *gpus)
{
	_cleanup_(freep) char *line = NULL;
	enum opt form = OPT_UUID;
	enum client_exit exit;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		return complain(EXIT_FAULT, "out of memory");
	while (!cli_value(cli, form))
		form++;
	exit = gpu_words(out, form, lease, gpus);
	if (fclose(out) != 0)
		return complain(EXIT_FAULT, "out of memory");
	if (exit == EXIT_OK)
		puts(line);
	return exit;
}

static unsigned count_forms(struct cli *cli)
{
	static const enum opt forms[] = { OPT_JSON, OPT_UUID, OPT_INDEX, OPT_DOCKER, OPT_CDI };
	unsigned n = 0;

	for (size_t i = 0; i < ELEMENTSOF(forms); i++)
		n += cli_value(cli, forms[i]) != NULL;
	return n;
}

enum client_exit verb_gpus(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *reply = NULL, *gpus = NULL, *object = NULL;
	enum client_exit exit;
	json_t *lease;

	if (count_forms(cli) > 1)
		return complain(
			EXIT_INVALID, "--uuid, --index, --docker, --cdi, --json: give one of them");
	exit = cli_call(cli, "org.dibs.GetStatus", NULL, &reply);
	if (exit == EXIT_OK)
		exit = choose_lease(cli, json_object_get(reply, "leases"), &lease);
	if (exit != EXIT_OK)
		return exit;
	gpus = gpus_of(lease, json_object_get(reply, "gpus"));
	if (json_array_size(gpus) != json_array_size(json_object_get(lease, "gpus")))
		return complain(EXIT_FAULT, "dibsd does not say what the GPUs of the lease are");
	if (cli_value(cli, OPT_JSON)) {
		object = public_gpus(lease, gpus, &cli->people);
		return cli_print_json(object);
	}
	return count_forms(cli) ? print_words(cli, lease, gpus) : print_table(cli, lease, gpus);
}
