/* SPDX-License-Identifier: MIT */
/*
 * A program that uses GPUs, as far as the fake NVML can tell: it is in the process lists of its
 * GPUs from the moment it prints "ready PID" until it ends. FAKE_NVML_STATE says where
 * (fake-nvml-state.h).
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "start-ticks.h"

static const char help[] =
	"Usage: gpujob [OPTION]...\n"
	"  --gpu UUIDS     comma separated (default: $CUDA_VISIBLE_DEVICES)\n"
	"  --memory MIB    on each of them; \"na\" is what some drivers tell (512)\n"
	"  --mps           as a client of MPS\n"
	"  --graphics      as a program that draws\n"
	"  --ignore-term   survives SIGTERM\n"
	"  --fork N        so many children do the same\n"
	"  --double-fork   goes on as a daemon; what was started ends at once\n"
	"  --setsid        goes on in a session of its own\n";

struct job {
	const char *gpus, *memory, *kind;
	int children;
	int ignore_term, double_fork, setsid;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void register_on(const struct job *job, const char *uuid, int number)
{
	const char *state = getenv("FAKE_NVML_STATE");
	char directory[400], path[450], draft[450];
	FILE *file;

	snprintf(directory, sizeof(directory), "%s.processes", state ? state : "");
	umask(0);
	mkdir(directory, 01777); /* whoever comes first */
	snprintf(path, sizeof(path), "%s/%d.%d", directory, (int)getpid(), number);
	snprintf(draft, sizeof(draft), "%s/.%d.%d", directory, (int)getpid(), number);
	file = fopen(draft, "we");
	if (!file)
		fail(draft);
	fprintf(file, "%s %d %llu %s %s\n", uuid, (int)getpid(), start_ticks(getpid()), job->memory,
		job->kind);
	if (fclose(file) != 0 || rename(draft, path) != 0)
		fail(path);
}

static void work(const struct job *job)
{
	char *gpus = strdup(job->gpus), *cursor = gpus, *uuid;

	for (int number = 0; gpus && (uuid = strsep(&cursor, ",")); number++)
		register_on(job, uuid, number);
	free(gpus);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	for (;;)
		pause();
}

static void leave_parent(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (child > 0)
		_exit(0);
}

static void parse_options(struct job *job, int argc, char **argv)
{
	const struct option options[] = {
		{ "gpu", required_argument, NULL, 'g' },
		{ "memory", required_argument, NULL, 'm' },
		{ "mps", no_argument, NULL, 'p' },
		{ "graphics", no_argument, NULL, 'd' },
		{ "ignore-term", no_argument, &job->ignore_term, 1 },
		{ "fork", required_argument, NULL, 'f' },
		{ "double-fork", no_argument, &job->double_fork, 1 },
		{ "setsid", no_argument, &job->setsid, 1 },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'g')
			job->gpus = optarg;
		else if (c == 'm')
			job->memory = optarg;
		else if (c == 'p')
			job->kind = "mps";
		else if (c == 'd')
			job->kind = "graphics";
		else if (c == 'f')
			job->children = (int)strtol(optarg, NULL, 10);
		else if (c != 0) {
			fputs(help, stderr);
			exit(2);
		}
	}
	if (!job->gpus) {
		fprintf(stderr, "gpujob: no GPU is visible\n");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct job job = { getenv("CUDA_VISIBLE_DEVICES"), "512", "compute" };

	parse_options(&job, argc, argv);
	if (job.ignore_term)
		signal(SIGTERM, SIG_IGN);
	if (job.double_fork) {
		leave_parent();
		setsid();
		leave_parent();
	}
	/* Not possible for the leader of a process group. */
	if (job.setsid && setsid() < 0) {
		leave_parent();
		setsid();
	}
	for (int i = 0; i < job.children; i++)
		if (fork() == 0)
			work(&job);
	work(&job);
}
