/* SPDX-License-Identifier: MIT */
#include "daemon/sensor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/program.h"
#include "base/text.h"
#include "daemon/batch.h"
#include "daemon/idle.h"
#include "daemon/inventory.h"
#include "daemon/service_user.h"
#include "dibs-config.h"
#include "gpu/sample.h"
#include "priv/spawn.h"

#define PAUSE_MIN_US (1 * USEC_PER_SEC) /* before a new start; doubled each time it fails */
#define PAUSE_MAX_US (60 * USEC_PER_SEC)
#define PACE         4 /* lines that are taken in an interval, at most */
#define NOBODY       65534
#define REAP_MS      1000 /* a killed sensor that hangs in a driver may take forever to end */

struct sensor {
	struct manager *manager; /* borrowed */
	const char *sim;         /* borrowed; NULL = real GPUs */
	char *program;           /* owned */
	uid_t uid;
	gid_t gid;
	pid_t pid; /* 0 = none runs */
	int pidfd, fd;
	sd_event_source *output, *exit, *silence, *restart;
	sd_event_source *pace; /* until the next line is taken; the output is not read meanwhile */
	char *line;            /* owned; what was read of the line that is being read */
	size_t size, allocated;
	int64_t pause_us;
	bool paused, ready;
	bool renewed;                     /* was killed so that another starts */
	char last_error[GPU_REASON_SIZE]; /* the latest that was logged */
	struct sample *sample;            /* owned; reused */
};

/* Whether to serve is not the sensor's to decide: no GPUs is an answer too. */
static void become_ready(struct sensor *sensor, bool complete)
{
	if (sensor->ready)
		return;
	sensor->ready = true;
	manager_ready(sensor->manager, complete);
}

static int take_line(struct sensor *sensor, const char *line, size_t size)
{
	struct error err = { 0 };

	sample_clear(sensor->sample);
	if (sample_decode(line, size, sensor->sample, &err) < 0) {
		log_error("the sensor sent a line that is not a sample: %s", err.text);
		return -EBADMSG;
	}
	if (strcmp(sensor->sample->error, sensor->last_error) != 0) {
		text_copy(sensor->last_error, sizeof(sensor->last_error), sensor->sample->error);
		if (sensor->last_error[0])
			log_warning("the sensor cannot read any GPU: %s", sensor->last_error);
	}
	/* One that tells an error and ends is started ever more rarely. */
	if (!sensor->sample->error[0])
		sensor->pause_us = PAUSE_MIN_US;
	sd_event_source_set_time_relative(
		sensor->silence, (uint64_t)sensor->manager->config->sensor_deadline_us);
	inventory_take(sensor->manager, sensor->sample);
	become_ready(sensor, !sensor->sample->error[0]);
	return 0;
}

/* Whatever else it sent is not read; its exit follows. */
static void distrust(struct sensor *sensor)
{
	kill(sensor->pid, SIGKILL);
	sd_event_source_set_enabled(sensor->output, SD_EVENT_OFF);
	sd_event_source_set_enabled(sensor->pace, SD_EVENT_OFF);
}

/* Returns 1 if there was a whole line, 0 if there is more to be read. */
static int take_first_line(struct sensor *sensor)
{
	char *end = sensor->size > 0 ? memchr(sensor->line, '\n', sensor->size) : NULL;
	size_t size = end ? (size_t)(end - sensor->line) : 0;
	int r;

	if (!end)
		return 0;
	r = take_line(sensor, sensor->line, size);
	sensor->size -= size + 1;
	memmove(sensor->line, end + 1, sensor->size);
	return r < 0 ? r : 1;
}

/* Security: one that sends without end must not keep the loop from all else, nor fill the journal;
 * it has to wait. */
static void go_on(struct sensor *sensor)
{
	int r = take_first_line(sensor);

	if (r < 0)
		distrust(sensor);
	if (r < 0 || sensor->renewed)
		return;
	sd_event_source_set_enabled(sensor->output, r > 0 ? SD_EVENT_OFF : SD_EVENT_ON);
	if (r == 0)
		return;
	sd_event_source_set_time_relative(
		sensor->pace, (uint64_t)sensor->manager->config->sensor_interval_us / PACE);
	sd_event_source_set_enabled(sensor->pace, SD_EVENT_ONESHOT);
}

static int on_pace(sd_event_source *source, uint64_t usec, void *userdata)
{
	go_on(userdata);
	return 0;
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct sensor *sensor = userdata;
	ssize_t n;

	if (sensor->size == sensor->allocated) {
		size_t larger = MAX(sensor->allocated * 2, (size_t)16384);
		char *line = larger > SAMPLE_LINE_MAX ? NULL : realloc(sensor->line, larger);

		if (!line) {
			log_error("the sensor sent a line of more than %zu bytes", sensor->size);
			distrust(sensor);
			return 0;
		}
		sensor->line = line;
		sensor->allocated = larger;
	}
	n = read(fd, sensor->line + sensor->size, sensor->allocated - sensor->size);
	if (n > 0) {
		sensor->size += (size_t)n;
		go_on(sensor);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		sd_event_source_set_enabled(source, SD_EVENT_OFF); /* its exit follows */
	}
	return 0;
}

static void forget_process(struct sensor *sensor)
{
	sensor->output = sd_event_source_disable_unref(sensor->output);
	sensor->exit = sd_event_source_disable_unref(sensor->exit);
	sd_event_source_set_enabled(sensor->silence, SD_EVENT_OFF);
	sd_event_source_set_enabled(sensor->pace, SD_EVENT_OFF);
	closep(&sensor->fd);
	closep(&sensor->pidfd);
	sensor->fd = sensor->pidfd = -1;
	sensor->pid = 0;
	sensor->size = 0;
}

static void schedule_restart(struct sensor *sensor)
{
	sd_event_source_set_time_relative(sensor->restart, (uint64_t)sensor->pause_us);
	sd_event_source_set_enabled(sensor->restart, SD_EVENT_ONESHOT);
	sensor->pause_us = MIN(sensor->pause_us * 2, PAUSE_MAX_US);
}

static int on_exit_of_sensor(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct sensor *sensor = userdata;
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return 0;
	forget_process(sensor);
	if (sensor->paused)
		return 0;
	if (sensor->renewed) {
		sd_event_source_set_time_relative(sensor->restart, 0);
		return sd_event_source_set_enabled(sensor->restart, SD_EVENT_ONESHOT);
	}
	log_warning("the sensor ended (%s %d); it is started again",
		info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	schedule_restart(sensor);
	become_ready(sensor, false);
	return 0;
}

/* Kills it, and waits a moment for its end; if it does not come, on_exit_of_sensor goes on. */
static int end_process(struct sensor *sensor)
{
	struct pollfd ended = { .fd = sensor->pidfd, .events = POLLIN };

	if (sensor->pid == 0)
		return 0;
	kill(sensor->pid, SIGKILL);
	if (poll(&ended, 1, REAP_MS) <= 0) {
		log_warning("the sensor was killed, but hangs in the kernel");
		return -EBUSY;
	}
	waitid(P_PIDFD, (id_t)sensor->pidfd, &(siginfo_t){ 0 }, WEXITED | WNOHANG);
	forget_process(sensor);
	return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sensor *sensor = userdata;

	become_ready(sensor, false);
	if (sensor->pid > 0) {
		log_warning("the sensor was silent for too long; it is killed");
		kill(sensor->pid, SIGKILL);
	}
	return 0;
}

static int start(struct sensor *sensor, struct error *err)
{
	char interval[32];
	const char *exec = sensor->manager->config->sensor_exec;
	const char *argv[] = { sensor->program, "--interval-ms", interval,
		sensor->sim ? "--sim"
		: exec      ? "--exec"
			    : NULL,
		sensor->sim ? sensor->sim : exec, NULL };
	static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	_cleanup_(closep) int reader = -1, writer = -1;
	struct spawn what = { .argv = argv, .env = env, .uid = sensor->uid, .gid = sensor->gid };
	int fds[2], r;

	snprintf(interval, sizeof(interval), "%" PRId64,
		sensor->manager->config->sensor_interval_us / 1000);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, -errno, "sensor.pipe", "cannot make a pipe");
	reader = fds[0];
	writer = fds[1];
	fcntl(reader, F_SETFL, O_NONBLOCK);
	what.stdout_fd = writer;
	sensor->renewed = false;
	r = spawn(&what, &sensor->pid, err);
	if (r < 0)
		return r;
	sensor->pidfd = r;
	sensor->fd = TAKE_FD(reader);
	r = sd_event_add_io(
		sensor->manager->event, &sensor->output, sensor->fd, EPOLLIN, on_output, sensor);
	if (r >= 0)
		r = sd_event_add_io(sensor->manager->event, &sensor->exit, sensor->pidfd, EPOLLIN,
			on_exit_of_sensor, sensor);
	if (r >= 0) /* the last lines first, then the exit */
		r = sd_event_source_set_priority(sensor->exit, SD_EVENT_PRIORITY_NORMAL + 1);
	if (r < 0)
		return error_errno(err, r, "sensor.watch", "cannot watch the sensor");
	sd_event_source_set_time_relative(
		sensor->silence, (uint64_t)sensor->manager->config->sensor_deadline_us);
	return sd_event_source_set_enabled(sensor->silence, SD_EVENT_ONESHOT);
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sensor *sensor = userdata;
	struct error err = { 0 };

	if (sensor->paused || sensor->pid > 0)
		return 0;
	if (start(sensor, &err) < 0) {
		log_error("cannot start the sensor: %s", err.text);
		schedule_restart(sensor);
	}
	return 0;
}

int sensor_pause(struct sensor *sensor, struct error *err)
{
	if (!sensor->paused)
		log_info("the sensor is paused; no lease starts until it is resumed");
	sensor->paused = true;
	idle_look(sensor->manager, false); /* nothing is known of idleness until it is resumed */
	sd_event_source_set_enabled(sensor->restart, SD_EVENT_OFF);
	sd_event_source_set_enabled(sensor->silence, SD_EVENT_OFF);
	if (end_process(sensor) < 0)
		return error_set(err, -EBUSY, "sensor.hangs",
			"the sensor is paused, but its process %d hangs in the kernel and may "
			"still hold the driver; look again with 'ps -p %d'",
			(int)sensor->pid, (int)sensor->pid);
	return 0;
}

void sensor_resume(struct sensor *sensor)
{
	if (!sensor->paused)
		return;
	sensor->paused = false;
	sensor->pause_us = PAUSE_MIN_US;
	on_restart(sensor->restart, 0, sensor);
	batch_want_pass(sensor->manager);
}

void sensor_restart(struct sensor *sensor)
{
	if (sensor->pid == 0)
		return; /* one is about to start, when it may */
	sensor->renewed = true;
	distrust(sensor);
}

bool sensor_paused(const struct sensor *sensor)
{
	return sensor->paused;
}

uid_t sensor_user(const struct sensor *sensor)
{
	return sensor->uid == NOBODY ? (uid_t)-1 : sensor->uid;
}

int sensor_new(struct manager *m, const char *sim, struct sensor **ret, struct error *err)
{
	struct sensor *sensor = calloc(1, sizeof(*sensor));
	int r;

	if (!sensor)
		return -ENOMEM;
	*ret = sensor;
	sensor->manager = m;
	sensor->sim = sim;
	sensor->fd = sensor->pidfd = -1;
	sensor->pause_us = PAUSE_MIN_US;
	sensor->program = program_path("../sensor/dibs-sensor", DIBS_LIBEXECDIR "/dibs-sensor");
	sensor->sample = sample_new();
	if (!sensor->program || !sensor->sample)
		return -ENOMEM;
	service_user(m, &sensor->uid, &sensor->gid);
	r = sd_event_add_time_relative(
		m->event, &sensor->silence, CLOCK_BOOTTIME, 0, 0, on_silence, sensor);
	if (r >= 0)
		r = sd_event_add_time_relative(
			m->event, &sensor->restart, CLOCK_BOOTTIME, 0, 0, on_restart, sensor);
	if (r >= 0)
		r = sd_event_add_time_relative(
			m->event, &sensor->pace, CLOCK_BOOTTIME, 0, 0, on_pace, sensor);
	if (r >= 0)
		r = sd_event_source_set_enabled(sensor->pace, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_enabled(sensor->restart, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_source_set_enabled(sensor->silence, SD_EVENT_OFF);
	return r < 0 ? error_errno(err, r, "sensor.timer", "cannot make a timer") : 0;
}

int sensor_start(struct sensor *sensor, struct error *err)
{
	return start(sensor, err);
}

struct sensor *sensor_free(struct sensor *sensor)
{
	if (!sensor)
		return NULL;
	end_process(sensor);
	forget_process(sensor);
	sd_event_source_disable_unref(sensor->silence);
	sd_event_source_disable_unref(sensor->restart);
	sd_event_source_disable_unref(sensor->pace);
	sample_free(sensor->sample);
	free(sensor->line);
	free(sensor->program);
	free(sensor);
	return NULL;
}
