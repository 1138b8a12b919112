/* SPDX-License-Identifier: MIT */
/* mgpu_queue and mgpu_cancel. */
#include <string.h>

#include "cli/public.h"
#include "compat/mgpu.h"

#define QUEUE  "mgpu_queue"
#define CANCEL "mgpu_cancel"

/* --host and --port of the last version, with their values. Returns the first word behind them. */
static char **skip_unused(const char *program, char **words)
{
	for (; *words && (strcmp(*words, "--host") == 0 || strcmp(*words, "--port") == 0) &&
		words[1];
		words += 2)
		mgpu_say(program, "%s has no effect here", *words);
	return words;
}

static void print_jobs(json_t *jobs)
{
	json_t *job;
	size_t i;

	json_array_foreach (jobs, i, job) {
		char mem[24] = "None";

		if (wire_int(job, "mem", 0))
			snprintf(mem, sizeof(mem), "%lld", (long long)wire_int(job, "mem", 0));
		printf("ID: %s | User: %s | GPUs: %lld | Mem: %s | CMD: %s | Status: %s\n",
			wire_text(job, "id"), wire_text(job, "user"),
			(long long)wire_int(job, "gpus", 0), mem, wire_text(job, "cmd"),
			wire_text(job, "status"));
	}
}

int mgpu_queue(int argc, char **argv)
{
	_cleanup_(json_decrefp) json_t *running = NULL, *queue = NULL;
	struct cli cli = { 0 };
	struct error err = { 0 };

	if (*skip_unused(QUEUE, argv + 1)) {
		puts("Usage: mgpu_queue");
		return EXIT_FAULT;
	}
	mgpu_say_unused(QUEUE);
	if (mgpu_list(&cli, &running, &queue, &err) != EXIT_OK) {
		printf("Query failed: %s\n", err.text);
		return EXIT_FAULT;
	}
	puts("--- Running Jobs ---");
	print_jobs(running);
	puts("--- Queue ---");
	print_jobs(queue);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAULT;
}

int mgpu_cancel(int argc, char **argv)
{
	char **words = skip_unused(CANCEL, argv + 1);
	struct cli cli = { 0 };
	struct error err = { 0 };
	int64_t lease;

	if (!words[0] || words[1] || words[0][0] == '-') {
		puts("Usage: mgpu_cancel <job_id>");
		return EXIT_FAULT;
	}
	mgpu_say_unused(CANCEL);
	if (mgpu_parse_id(words[0], &lease, &err) < 0 || mgpu_end(&cli, lease, &err) != EXIT_OK) {
		puts("Cancel failed.");
		mgpu_say(CANCEL, "%s", err.text);
		return EXIT_FAULT;
	}
	puts("Job cancelled.");
	return EXIT_OK;
}
