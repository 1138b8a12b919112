/* SPDX-License-Identifier: MIT */
/*
 * With processes in a cgroup of our own, a device that really opens (the end of a pty), and the
 * fake of NVIDIA's utility. $CUDAJOB and $CUDA_CHECKPOINT say where these are.
 */
#include "exec/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "priv/freezer.h"
#include "priv/cgroup.h"
#include "priv/fields.h"

#define DEADLINE_MS 20000
#define PIDS        4

static char *root, *cgroup, *directory, *tool, *rules, *device;
static unsigned major_number, minor_number;

/* --- a job --- */

struct job {
	int out; /* of all its processes */
	pid_t pids[PIDS];
	unsigned n;
};

/* The next "WORD PID" of its processes; the pid, or 0 if there is none for so long. */
static pid_t await(struct job *job, const char *word)
{
	struct pollfd readable = { .fd = job->out, .events = POLLIN };
	char line[64];
	size_t n = 0, skip = strlen(word);

	while (n < sizeof(line) - 1 && poll(&readable, 1, DEADLINE_MS) > 0 &&
		read(job->out, line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
	if (strncmp(line, word, skip) != 0) {
		printf("# \"%s\" is not \"%s\"\n", line, word);
		return 0;
	}
	return (pid_t)strtol(line + skip, NULL, 10);
}

static void job_start(struct job *job, unsigned processes, const char *option)
{
	char number[16];
	int ends[2];
	pid_t child;

	*job = (struct job){ .out = -1, .n = processes };
	snprintf(number, sizeof(number), "%u", processes);
	CHECK(pipe2(ends, O_CLOEXEC) == 0 && cgroup_create(cgroup) == 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		cgroup_attach(cgroup, getpid());
		dup2(ends[1], STDOUT_FILENO);
		execl(getenv("CUDAJOB"), "cudajob", "--device", device, "--processes", number,
			option, NULL);
		_exit(127);
	}
	close(ends[1]);
	job->out = ends[0];
	for (unsigned i = 0; i < processes; i++)
		CHECK((job->pids[i] = await(job, "ready")) > 0);
}

static void job_end(struct job *job)
{
	int64_t end = clock_monotonic_ms() + DEADLINE_MS;

	cgroup_kill(cgroup);
	while (waitpid(-1, NULL, 0) > 0)
		;
	while (cgroup_remove(cgroup) == -EBUSY && clock_monotonic_ms() < end)
		poll(NULL, 0, 10);
	close(job->out);
	unlink(rules);
}

static void set_rules(const char *text)
{
	_cleanup_(closep) int fd = open(rules, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(write_all(fd, text, strlen(text)) == 0);
}

/* --- what is done to it --- */

struct answer {
	int r;
	struct error err;
};

static struct answer order(const char *verb, const struct job *job, int64_t timeout_us)
{
	static struct checkpoint what;
	struct fields_writer w = { 0 };
	struct answer answer = { 0 };
	char node[32];

	snprintf(node, sizeof(node), "%u:%u", major_number, minor_number);
	fields_put(&w, "do", verb);
	fields_put(&w, "cgroup", cgroup);
	fields_put(&w, "tool", tool);
	fields_put(&w, "node", node);
	for (unsigned i = 0; strcmp(verb, "suspend") == 0 && i < job->n; i++)
		fields_put_int(&w, "pid", job->pids[i]);
	fields_put_int(&w, "timeout_us", timeout_us);
	fields_put(&w, "end", NULL);
	answer.r = checkpoint_parse(w.text, w.size, &what, &answer.err);
	if (answer.r >= 0)
		answer.r = checkpoint_do(&what, &answer.err);
	if (answer.r < 0)
		printf("# %s: %s\n", verb, answer.err.text);
	fields_writer_clear(&w);
	return answer;
}

static bool events_say(const char *text)
{
	_cleanup_(freep) char *path = text_format("%s/cgroup.events", cgroup);
	char events[256];

	return read_file_at(AT_FDCWD, path, events, sizeof(events)) > 0 && strstr(events, text);
}

static bool is_marked(void)
{
	_cleanup_(closep) int dir = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pids[PIDS];

	return freezer_read_mark(dir, pids, PIDS) != -ENODATA;
}

/* How many descriptors of the device its processes have. */
static unsigned count_open(const struct job *job)
{
	unsigned n = 0;

	for (unsigned i = 0; i < job->n; i++)
		for (int fd = 0; fd < 32; fd++) {
			_cleanup_(freep) char *path =
				text_format("/proc/%d/fd/%d", (int)job->pids[i], fd);
			struct stat st;

			n += stat(path, &st) == 0 && S_ISCHR(st.st_mode) &&
			     st.st_rdev == makedev(major_number, minor_number);
		}
	return n;
}

static void check_runs(const struct job *job)
{
	CHECK(events_say("frozen 0"));
	CHECK_INT(count_open(job), job->n);
	CHECK(!is_marked());
}

static void suspends_and_resumes(void)
{
	struct job job;

	job_start(&job, 3, NULL);
	CHECK_INT(order("suspend", &job, DEADLINE_MS * 1000).r, 0);
	CHECK(events_say("frozen 1"));
	CHECK_INT(count_open(&job), 0);
	CHECK(is_marked());
	/* All are locked before one is checkpointed. */
	for (unsigned i = 0; i < job.n; i++)
		CHECK(await(&job, "locked") > 0);
	for (unsigned i = 0; i < job.n; i++)
		CHECK(await(&job, "checkpointed") > 0);
	CHECK_INT(order("resume", &job, DEADLINE_MS * 1000).r, 0);
	for (unsigned i = 0; i < job.n; i++)
		CHECK(await(&job, "locked") > 0);
	for (unsigned i = 0; i < job.n; i++)
		CHECK(await(&job, "running") > 0);
	check_runs(&job);
	job_end(&job);
}

static void who_uses_no_gpu_is_only_frozen(void)
{
	struct checkpoint what = { .cgroup = cgroup, .timeout_us = DEADLINE_MS * 1000 };
	struct job job;
	struct error err;

	job_start(&job, 1, NULL);
	CHECK_INT(checkpoint_do(&what, &err), 0);
	CHECK(events_say("frozen 1"));
	what.resume = true;
	CHECK_INT(checkpoint_do(&what, &err), 0);
	CHECK(events_say("frozen 0"));
	job_end(&job);
}

/* One that the sensor has not seen yet. */
static void who_was_not_named_is_found(void)
{
	struct job job, named;

	job_start(&job, 2, NULL);
	named = job;
	named.n = 1;
	CHECK_INT(order("suspend", &named, DEADLINE_MS * 1000).r, 0);
	CHECK_INT(count_open(&job), 0);
	CHECK_INT(order("resume", &named, DEADLINE_MS * 1000).r, 0);
	check_runs(&job);
	job_end(&job);
}

/* Whatever fails: all run as before, and the sentence says which it was. */
static void check_failure(const char *rule, const char *why, int64_t timeout_us)
{
	struct job job;
	struct answer answer;
	_cleanup_(freep) char *text = NULL;

	job_start(&job, 2, NULL);
	text = text_format("%s %d the reason\n", rule, (int)job.pids[1]);
	set_rules(text);
	answer = order("suspend", &job, timeout_us);
	CHECK(answer.r < 0 && answer.r != -ENOTRECOVERABLE);
	CHECK(strstr(answer.err.text, why));
	check_runs(&job);
	job_end(&job);
}

static void every_failure_is_led_back(void)
{
	check_failure("fail get-state", "the reason", DEADLINE_MS * 1000);
	check_failure("fail lock", "the reason", DEADLINE_MS * 1000);
	check_failure("fail checkpoint", "the reason", DEADLINE_MS * 1000);
	check_failure("lie checkpoint", "still has a GPU open", DEADLINE_MS * 1000);
}

static void what_hangs_is_led_back(void)
{
	check_failure("hang lock", "took too long", 1500000);
	check_failure("hang checkpoint", "took too long", 1500000);
}

static void who_computes_on_is_not_locked(void)
{
	struct job job;
	struct answer answer;

	job_start(&job, 1, "--busy");
	answer = order("suspend", &job, 1500000);
	CHECK(answer.r < 0 && answer.r != -ENOTRECOVERABLE);
	CHECK(strstr(answer.err.text, "timed out"));
	check_runs(&job);
	job_end(&job);
}

static void an_heir_keeps_the_gpu(void)
{
	struct job job;
	struct answer answer;

	job_start(&job, 1, "--heir");
	answer = order("suspend", &job, DEADLINE_MS * 1000);
	CHECK_INT(answer.r, -EBUSY);
	CHECK(strstr(answer.err.text, "no process that cuda-checkpoint knows"));
	check_runs(&job);
	job_end(&job);
}

static void what_cannot_be_undone_is_said(void)
{
	struct job job;
	struct answer answer;
	_cleanup_(freep) char *text = NULL;

	job_start(&job, 2, NULL);
	text = text_format("fail checkpoint %d first\nfail unlock %d second\n", (int)job.pids[0],
		(int)job.pids[1]);
	set_rules(text);
	answer = order("suspend", &job, DEADLINE_MS * 1000);
	CHECK_INT(answer.r, -ENOTRECOVERABLE);
	CHECK(strstr(answer.err.text, "first") && strstr(answer.err.text, "second"));
	CHECK(is_marked());
	/* Later it can be. */
	unlink(rules);
	CHECK_INT(order("resume", &job, DEADLINE_MS * 1000).r, 0);
	check_runs(&job);
	job_end(&job);
}

/* The gate is shut, say. */
static void a_restore_that_fails_is_said(void)
{
	struct job job;
	struct answer answer;

	job_start(&job, 1, NULL);
	CHECK_INT(order("suspend", &job, DEADLINE_MS * 1000).r, 0);
	set_rules("fail restore * no device\n");
	answer = order("resume", &job, DEADLINE_MS * 1000);
	CHECK(answer.r < 0);
	CHECK(strstr(answer.err.text, "no device"));
	CHECK(is_marked());
	job_end(&job);
}

static void call_tool(const char *action, pid_t pid)
{
	char number[16];
	pid_t child;

	snprintf(number, sizeof(number), "%d", (int)pid);
	child = fork();
	if (child == 0) {
		execl(tool, tool, "--action", action, "--pid", number, NULL);
		_exit(127);
	}
	waitpid(child, NULL, 0);
}

/* We were killed at any point of a suspend, or of a resume. */
static void what_is_half_done_is_led_back(void)
{
	static const char *const steps[] = { "lock", "checkpoint", "freeze" };

	for (size_t done = 0; done <= ELEMENTSOF(steps); done++) {
		_cleanup_(closep) int dir = -1;
		struct job job;

		job_start(&job, 2, NULL);
		dir = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CHECK(freezer_mark(dir, job.pids, job.n) == 0);
		for (size_t i = 0; i < done; i++)
			if (i < 2)
				call_tool(steps[i], job.pids[0]);
			else
				CHECK_INT(
					freezer_set(dir, true, clock_monotonic_ms() + DEADLINE_MS),
					0);
		CHECK_INT(order("resume", &job, DEADLINE_MS * 1000).r, 0);
		check_runs(&job);
		/* Again, and there is nothing to do. */
		CHECK_INT(order("resume", &job, DEADLINE_MS * 1000).r, 0);
		check_runs(&job);
		job_end(&job);
	}
}

static void one_at_a_time(void)
{
	_cleanup_(freep) char *path = text_format("%s/cgroup.kill", cgroup);
	_cleanup_(closep) int lock = -1;
	struct answer answer;
	struct job job;

	job_start(&job, 1, NULL);
	lock = open(path, O_WRONLY | O_CLOEXEC);
	if (lock < 0) /* before Linux 5.14 */
		lock = open(cgroup, O_RDONLY | O_CLOEXEC);
	CHECK(flock(lock, LOCK_EX) == 0);
	answer = order("suspend", &job, 100000);
	CHECK_INT(answer.r, -ETIMEDOUT);
	check_runs(&job);
	job_end(&job);
}

static void strangers_are_not_touched(void)
{
	struct job job;
	struct answer answer;

	job_start(&job, 1, NULL);
	cgroup_attach(root, job.pids[0]);
	answer = order("suspend", &job, DEADLINE_MS * 1000);
	CHECK_INT(answer.r, -EPERM);
	cgroup_attach(cgroup, job.pids[0]);
	check_runs(&job);
	job_end(&job);
}

static void who_has_ended_does_not_matter(void)
{
	struct pollfd ended = { .events = POLLIN };
	struct job job;

	job_start(&job, 2, NULL);
	ended.fd = pidfd_open(job.pids[1], 0);
	kill(job.pids[1], SIGKILL);
	CHECK_INT(poll(&ended, 1, DEADLINE_MS), 1);
	close(ended.fd);
	CHECK_INT(order("suspend", &job, DEADLINE_MS * 1000).r, 0);
	CHECK_INT(order("resume", &job, DEADLINE_MS * 1000).r, 0);
	job_end(&job);
}

static void a_tool_of_others_is_not_run(void)
{
	struct job job;
	struct answer answer;

	job_start(&job, 1, NULL);
	CHECK(chmod(tool, 0757) == 0);
	answer = order("suspend", &job, DEADLINE_MS * 1000);
	CHECK_INT(answer.r, -EPERM);
	CHECK(chmod(tool, 0755) == 0 && chown(tool, 65534, 65534) == 0);
	answer = order("suspend", &job, DEADLINE_MS * 1000);
	CHECK_INT(answer.r, -EPERM);
	CHECK(chown(tool, 0, 0) == 0 && chmod(tool, 0755) == 0);
	check_runs(&job);
	job_end(&job);
}

static void bad_orders_are_refused(void)
{
	static const struct {
		const char *text;
		size_t size;
	} bad[] = {
#define ORDER(text) { text, sizeof(text) }
		ORDER("do=suspend"),
		ORDER("do=suspend\0cgroup=/x"),
		ORDER("do=suspend\0cgroup=x\0timeout_us=5"),
		ORDER("do=suspend\0cgroup=/x\0timeout_us=5\0pid=-1"),
		ORDER("do=suspend\0cgroup=/x\0timeout_us=5\0pid=1x"),
		ORDER("do=suspend\0cgroup=/x\0timeout_us=5\0node=195"),
		ORDER("do=suspend\0cgroup=/x\0timeout_us=-5"),
		{ "do=suspend\0cgroup=/x\0timeout_us=5\0pid=1", 39 },
#undef ORDER
	};
	static struct checkpoint what;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		CHECK_INT(checkpoint_parse(bad[i].text, bad[i].size, &what, NULL), -EINVAL);
}

/* --- where --- */

static bool copy_tool(void)
{
	_cleanup_(closep) int from = open(getenv("CUDA_CHECKPOINT"), O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int to = open(tool, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	ssize_t n = 1;

	while (n > 0)
		n = sendfile(to, from, NULL, 1 << 20);
	return n == 0 && fchmod(to, 0755) == 0;
}

static bool make_device(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC); /* open until we end */
	struct stat st;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return false;
	device = strdup(ptsname(master));
	if (!device || stat(device, &st) < 0)
		return false;
	major_number = major(st.st_rdev);
	minor_number = minor(st.st_rdev);
	return true;
}

static bool make_places(void)
{
	char template[] = "/tmp/dibs-checkpoint-XXXXXX";
	_cleanup_(freep) char *mount = NULL;

	if (geteuid() != 0 || cgroup_mount(&mount) < 0 || !mkdtemp(template))
		return false;
	root = text_format("%s/dibs-test-%d", mount, (int)getpid());
	cgroup = text_format("%s/job", root);
	directory = strdup(template);
	tool = text_format("%s/cuda-checkpoint", directory);
	rules = text_format("%s.rules", tool);
	return cgroup_create(root) == 0 && copy_tool() && make_device();
}

int main(void)
{
	TEST(bad_orders_are_refused);
	if (!make_places()) {
		printf("ok %d - with processes # SKIP needs root and a cgroup2 mount\n",
			++tap_count);
		return tap_done();
	}
	TEST(suspends_and_resumes);
	TEST(who_uses_no_gpu_is_only_frozen);
	TEST(who_was_not_named_is_found);
	TEST(every_failure_is_led_back);
	TEST(what_hangs_is_led_back);
	TEST(who_computes_on_is_not_locked);
	TEST(an_heir_keeps_the_gpu);
	TEST(what_cannot_be_undone_is_said);
	TEST(a_restore_that_fails_is_said);
	TEST(what_is_half_done_is_led_back);
	TEST(one_at_a_time);
	TEST(strangers_are_not_touched);
	TEST(who_has_ended_does_not_matter);
	TEST(a_tool_of_others_is_not_run);
	cgroup_remove(root);
	unlink(tool);
	rmdir(directory);
	return tap_done();
}
