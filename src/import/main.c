/* SPDX-License-Identifier: MIT */
/*
 * dibs-import-canhazgpu show|import HOST:PORT DB [SOCKET]: what 'dibs admin import canhazgpu'
 * becomes. show changes nothing; neither changes anything in Redis. A password is taken from
 * $REDISCLI_AUTH, where redis-cli(1) looks, too: on a command line everybody could read it.
 */
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "dibs-config.h"
#include "import/collect.h"
#include "import/send.h"

static void print_reasons(const struct reasons *reasons)
{
	for (size_t i = 0; i < reasons->n; i++) {
		printf("  %s", reasons->items[i].text);
		if (reasons->items[i].n > 1)
			printf(" (%zu times)", reasons->items[i].n);
		putchar('\n');
	}
	if (reasons->more)
		printf("  and %zu more\n", reasons->more);
}

static void print_holds(const struct plan *plan)
{
	for (size_t i = 0; i < plan->holds.n; i++) {
		const struct plan_record *hold = &plan->holds.items[i];
		char gpus[INDICES_SIZE], until[MOMENT_SIZE];

		plan_indices(gpus, sizeof(gpus), &hold->gpus);
		term_moment(until, hold->until_us, plan->now_us);
		printf("hold of %s: GPU %s until %s%s%s\n", hold->user, gpus, until,
			hold->note ? ": " : "", hold->note ? hold->note : "");
	}
}

/* What goes on and is not a record in anybody's hands. */
static void print_left(struct cli *cli, const struct plan *plan)
{
	if (plan->runs.n == 0 && plan->waiting.total == 0)
		return;
	puts("not taken over:");
	for (size_t i = 0; i < plan->runs.n; i++) {
		const struct plan_record *run = &plan->runs.items[i];
		char gpus[INDICES_SIZE], since[MOMENT_SIZE], pids[PIDS_SIZE];

		plan_indices(gpus, sizeof(gpus), &run->gpus);
		term_moment(since, run->since_us, plan->now_us);
		send_ask_pids(cli, run, pids);
		printf("  GPU %s: a run of %s since %s, which goes on; %s can keep it with: dibs "
		       "reserve --adopt %s\n",
			gpus, run->user, since, run->user, pids);
	}
	print_reasons(&plan->waiting);
}

static const char *plural(int64_t n)
{
	return n == 1 ? "" : "s";
}

static void print_skipped(const struct plan *plan)
{
	printf("%zu skipped%s\n", plan->skipped.total, plan->skipped.total ? ":" : "");
	print_reasons(&plan->skipped);
}

static enum client_exit show(struct cli *cli, struct plan *plan)
{
	print_holds(plan);
	print_left(cli, plan);
	printf("%zu hold%s and %zu record%s would be imported, ", plan->holds.n,
		plural((int64_t)plan->holds.n), plan->history.n, plural((int64_t)plan->history.n));
	print_skipped(plan);
	return EXIT_OK;
}

static enum client_exit import(struct cli *cli, struct plan *plan)
{
	enum client_exit exit;
	struct sent sent;

	exit = send_plan(cli, plan, &sent);
	if (exit != EXIT_OK)
		return exit;
	print_left(cli, plan);
	printf("%" PRId64 " hold%s and %" PRId64 " record%s imported, %" PRId64 " known already, ",
		sent.holds, plural(sent.holds), sent.history, plural(sent.history), sent.known);
	print_skipped(plan);
	return EXIT_OK;
}

static enum client_exit read_redis(const char *host_port, const char *db, struct plan *plan)
{
	_cleanup_(redis_close) struct redis redis = { 0 };
	struct error err = { 0 };
	uint64_t number;

	if (parse_uint(db, 0, INT32_MAX, &number) < 0)
		return complain(EXIT_INVALID, "'%s' is not the number of a database of Redis", db);
	plan->now_us = clock_wall();
	if (redis_open(host_port, getenv("REDISCLI_AUTH"), (unsigned)number, &redis, &err) < 0 ||
		collect(&redis, plan, &err) < 0)
		return complain(EXIT_FAULT, "%s", err.text);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	_cleanup_(plan_clear) struct plan plan = { 0 };
	struct cli cli = { 0 };
	enum client_exit exit;

	setlocale(LC_CTYPE, "");
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return puts("dibs-import-canhazgpu " DIBS_VERSION) == EOF;
	if (argc < 4 || argc > 5 ||
		(strcmp(argv[1], "show") != 0 && strcmp(argv[1], "import") != 0))
		return (int)complain(EXIT_INVALID, "start it with: dibs admin import canhazgpu");
	cli.args.values[OPT_SOCKET] = argv[4];
	exit = read_redis(argv[2], argv[3], &plan);
	if (exit == EXIT_OK)
		exit = strcmp(argv[1], "show") == 0 ? show(&cli, &plan) : import(&cli, &plan);
	if (fflush(stdout) != 0 && exit == EXIT_OK)
		exit = complain(EXIT_FAULT, "cannot write to standard output: %m");
	return (int)exit;
}
