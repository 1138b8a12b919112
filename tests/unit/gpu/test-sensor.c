/* SPDX-License-Identifier: MIT */
/*
 * dibs-sensor and gpujob as programs: test-sensor SENSOR GPUJOB, with the stand-in for NVIDIA's
 * library. Everything is awaited by reading a pipe; a sensor that says nothing ends the test by its
 * alarm.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tap.h"
#include "base/text.h"
#include "gpu/sample.h"

#define DEADLINE_SEC 60
#define STATE        "gpu GPU-1\nmemory 81920 512 3\n"

static char directory[] = "/tmp/dibs-sensor-XXXXXX", state_path[64];
static const char *sensor_path, *gpujob_path;

struct child {
	pid_t pid;
	FILE *out; /* NULL = closed */
};

static void start(struct child *child, const char *path, ...)
{
	char *argv[8] = { strdup(path) };
	int out[2];
	va_list ap;

	va_start(ap, path);
	for (size_t i = 1; i < ELEMENTSOF(argv) - 1; i++) {
		const char *argument = va_arg(ap, const char *);

		if (!argument)
			break;
		argv[i] = strdup(argument);
	}
	va_end(ap);
	CHECK_INT(pipe2(out, O_CLOEXEC), 0);
	child->pid = fork();
	if (child->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDOUT_FILENO);
		execv(path, argv);
		_exit(127);
	}
	close(out[1]);
	child->out = fdopen(out[0], "re");
	for (size_t i = 0; argv[i]; i++)
		free(argv[i]);
}

static int finish(struct child *child)
{
	int status = -1;

	if (child->out)
		fclose(child->out);
	child->out = NULL;
	CHECK_INT(waitpid(child->pid, &status, 0), child->pid);
	return status;
}

/* The next sample; NULL at the end. The caller frees. */
static struct sample *next(struct child *child)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	_cleanup_(freep) char *line = NULL;
	size_t size = 0;
	ssize_t n = getline(&line, &size, child->out);

	if (n < 1)
		return NULL;
	CHECK(line[n - 1] == '\n');
	CHECK_INT(sample_decode(line, (size_t)n - 1, sample, NULL), 0);
	return TAKE_PTR(sample);
}

static void put_state(const char *text)
{
	char draft[64];
	FILE *file;

	snprintf(draft, sizeof(draft), "%s/draft", directory);
	file = fopen(draft, "we");
	fputs(text, file);
	fclose(file);
	CHECK_INT(rename(draft, state_path), 0);
}

static void tells_again_and_again(void)
{
	struct child sensor;

	start(&sensor, sensor_path, "--sim", "2xA100-80G", "--interval-ms", "5", NULL);
	for (int i = 0; i < 3; i++) {
		_cleanup_(sample_freep) struct sample *sample = next(&sensor);

		CHECK_INT(sample ? sample->n_gpus : 0, 2);
	}
	kill(sensor.pid, SIGTERM);
	CHECK(WIFSIGNALED(finish(&sensor)));
}

/* At once, and not after the interval. */
static void ends_with_its_reader(void)
{
	_cleanup_(sample_freep) struct sample *sample = NULL;
	struct child sensor;

	start(&sensor, sensor_path, "--sim", "1xA100-80G", "--interval-ms", "3600000", NULL);
	sample = next(&sensor);
	CHECK(sample != NULL);
	CHECK_INT(finish(&sensor), 0);
}

static void tells_errors_and_recovers(void)
{
	struct child sensor;
	bool failed = false, recovered = false;

	put_state("return nvmlInit_v2 9\n" STATE);
	start(&sensor, sensor_path, "--interval-ms", "5", NULL);
	for (int i = 0; i < 100 && !recovered; i++) {
		_cleanup_(sample_freep) struct sample *sample = next(&sensor);

		if (!sample)
			break;
		recovered = failed && sample->n_gpus == 1 && !sample->error[0];
		if (i == 5) {
			failed = strstr(sample->error, "driver is not loaded") != NULL;
			put_state(STATE);
		}
	}
	CHECK(failed);
	CHECK(recovered);
	kill(sensor.pid, SIGKILL);
	finish(&sensor);
}

/* Only a new process can load a new library. */
static void ends_when_the_driver_was_replaced(void)
{
	_cleanup_(sample_freep) struct sample *sample = NULL, *more = NULL;
	struct child sensor;
	int status;

	put_state("return nvmlInit_v2 18\n" STATE);
	start(&sensor, sensor_path, NULL);
	sample = next(&sensor);
	more = next(&sensor);
	CHECK(sample && strstr(sample->error, "different versions"));
	CHECK(!more);
	status = finish(&sensor);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* Reads on until the GPU has so many processes. */
static bool await_processes(struct child *sensor, size_t n)
{
	for (;;) {
		_cleanup_(sample_freep) struct sample *sample = next(sensor);

		if (!sample)
			return false;
		if (sample->n_gpus == 1 && sample->gpus[0].n_processes == n)
			return true;
	}
}

static void sees_programs_come_and_go(void)
{
	struct child sensor, job;
	int pids[3] = { 0 };

	put_state(STATE);
	start(&sensor, sensor_path, "--interval-ms", "5", NULL);
	start(&job, gpujob_path, "--gpu", "GPU-1", "--memory", "77", "--fork", "2", NULL);
	for (size_t i = 0; i < ELEMENTSOF(pids); i++)
		CHECK_INT(fscanf(job.out, " ready %d", &pids[i]), 1);
	CHECK(await_processes(&sensor, 3));
	for (size_t i = 0; i < ELEMENTSOF(pids); i++)
		if (pids[i] > 1)
			kill(pids[i], SIGKILL);
	CHECK(await_processes(&sensor, 0));
	finish(&job);
	kill(sensor.pid, SIGKILL);
	finish(&sensor);
}

static void refuses_wrong_usage(void)
{
	static const char *const bad[][2] = { { "--interval-ms", "0" }, { "--interval-ms", "1.5" },
		{ "--interval-ms", "-1" }, { "--bogus", NULL }, { "extra", NULL } };

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		struct child sensor;
		int status;

		start(&sensor, sensor_path, bad[i][0], bad[i][1], NULL);
		CHECK_INT(getc(sensor.out), EOF);
		status = finish(&sensor);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	}
}

/* gpujob leaves its entries behind: it is killed. */
static void clean_up(void)
{
	struct child rm;

	start(&rm, "/bin/rm", "-r", directory, NULL);
	finish(&rm);
}

int main(int argc, char **argv)
{
	if (argc != 3 || !mkdtemp(directory))
		return 1;
	sensor_path = argv[1];
	gpujob_path = argv[2];
	alarm(DEADLINE_SEC);
	snprintf(state_path, sizeof(state_path), "%s/state", directory);
	setenv("FAKE_NVML_STATE", state_path, 1);
	TEST(tells_again_and_again);
	TEST(ends_with_its_reader);
	TEST(tells_errors_and_recovers);
	TEST(ends_when_the_driver_was_replaced);
	TEST(sees_programs_come_and_go);
	TEST(refuses_wrong_usage);
	clean_up();
	return tap_done();
}
