/* SPDX-License-Identifier: MIT */
/*
 * dibs-sensor: reads the GPUs and tells one line a sample to its standard output.
 *
 * It is a process of its own because drivers crash, hang and leak, and because nothing of NVIDIA's
 * is to run as root inside the daemon, which kills it when it is silent for too long. So it tells
 * every interval, also when there is nothing but an error to tell; only the attempts
 * to open the hardware again become rarer. It ends with its reader or its parent.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "dibs-config.h"
#include "gpu/backend.h"
#include "gpu/command.h"

#define INTERVAL_DEFAULT_MS 1000
#define INTERVAL_MAX_MS     3600000
#define BACK_OFF_MAX        32 /* intervals between two attempts */

struct sensor {
	const struct backend *backend;
	struct backend_options options; /* borrowed from the command line */
	int interval_ms;
	void *context; /* owned; NULL = not open */
	struct sample *sample;
	unsigned back_off; /* intervals between the last two attempts; 0 = the last succeeded */
	unsigned pause;    /* intervals without an attempt that are left */
};

static const char help[] =
	"Usage: dibs-sensor [--sim SPEC | --exec PROGRAM] [--sysroot DIR] [--interval-ms N]\n"
	"Reads the GPUs of this machine and writes one line of JSON a sample; run by dibsd.\n"
	"\n"
	"  --sim SPEC        simulated GPUs, as 8xA100-80G or 4xH100-80G,4xV100-32G\n"
	"  --exec PROGRAM    ask this program, which writes lines as the sensor does\n"
	"  --sysroot DIR     read proc, sys and dev below it: a captured tree\n"
	"  --interval-ms N   milliseconds between samples (1000)\n"
	"  --help, --version\n";

/* Returns 0 to go on, 1 when all is done, or a negative errno. */
static int parse_options(struct sensor *sensor, int argc, char **argv)
{
	static const struct option options[] = {
		{ "sim", required_argument, NULL, 's' },
		{ "exec", required_argument, NULL, 'e' },
		{ "sysroot", required_argument, NULL, 'r' },
		{ "interval-ms", required_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	uint64_t interval;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 's':
			sensor->backend = &backend_sim;
			sensor->options.argument = optarg;
			break;
		case 'e':
			sensor->backend = &backend_exec;
			sensor->options.argument = optarg;
			break;
		case 'r':
			sensor->options.sysroot = optarg;
			break;
		case 'i':
			if (parse_uint(optarg, 1, INTERVAL_MAX_MS, &interval) < 0) {
				fprintf(stderr, "dibs-sensor: --interval-ms takes 1 to %d\n",
					INTERVAL_MAX_MS);
				return -EINVAL;
			}
			sensor->interval_ms = (int)interval;
			break;
		case 'h':
			fputs(help, stdout);
			return 1;
		case 'V':
			puts("dibs-sensor " DIBS_VERSION);
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "dibs-sensor: takes no arguments; see --help\n");
		return -EINVAL;
	}
	return 0;
}

/* A backend that knows them better has filled them in. */
static void read_commands(const char *sysroot, struct sample *sample)
{
	for (unsigned i = 0; i < sample->n_gpus; i++)
		for (size_t j = 0; j < sample->gpus[i].n_processes; j++) {
			struct gpu_process *p = &sample->gpus[i].processes[j];

			if (!p->command[0])
				command_read(sysroot, p->pid, p->command, sizeof(p->command));
		}
}

static int try_sample(struct sensor *sensor, struct error *err)
{
	int r = 0;

	sample_clear(sensor->sample);
	if (!sensor->context)
		r = sensor->backend->open(&sensor->options, &sensor->context, err);
	if (r >= 0)
		r = sensor->backend->read(sensor->context, sensor->sample, err);
	if (r >= 0)
		read_commands(sensor->options.sysroot, sensor->sample);
	return r;
}

/* Fills the sample: with GPUs, or with the reason why there are none. */
static int take_sample(struct sensor *sensor)
{
	struct error err = { 0 };
	int r;

	if (sensor->pause > 0) {
		sensor->pause--;
		return 0;
	}
	r = try_sample(sensor, &err);
	if (r >= 0) {
		sensor->back_off = 0;
		return 0;
	}
	sample_clear(sensor->sample);
	text_copy(sensor->sample->error, sizeof(sensor->sample->error), err.text);
	sensor->backend->close(sensor->context);
	sensor->context = NULL;
	sensor->back_off = sensor->back_off ? MIN(sensor->back_off * 2, (unsigned)BACK_OFF_MAX) : 1;
	sensor->pause = sensor->back_off - 1;
	return r;
}

static int tell(const struct sample *sample)
{
	_cleanup_(freep) char *json = sample_encode(sample);
	_cleanup_(freep) char *line = json ? text_format("%s\n", json) : NULL;

	return line ? write_all(STDOUT_FILENO, line, strlen(line)) : -ENOMEM;
}

static void wait_for_next(const struct sensor *sensor)
{
	/* An idle poll of a pipe ends when its reader is gone. */
	struct pollfd reader = { .fd = STDOUT_FILENO };

	if (sensor->context && sensor->backend->wait)
		sensor->backend->wait(sensor->context, sensor->interval_ms);
	else
		poll(&reader, 1, sensor->interval_ms);
}

int main(int argc, char **argv)
{
	struct sensor sensor = { .backend = &backend_hardware, .interval_ms = INTERVAL_DEFAULT_MS };
	int r = parse_options(&sensor, argc, argv), told;

	if (r != 0)
		return r < 0 ? 2 : 0;
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sensor.sample = sample_new();
	if (!sensor.sample)
		return 1;
	for (;;) {
		r = take_sample(&sensor);
		told = tell(sensor.sample);
		if (told < 0 || r == BACKEND_STALE)
			break;
		wait_for_next(&sensor);
	}
	sensor.backend->close(sensor.context);
	sample_free(sensor.sample);
	return told == -EPIPE ? 0 : 1;
}
