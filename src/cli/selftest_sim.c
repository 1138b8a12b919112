/* SPDX-License-Identifier: MIT */
/*
 * Two gates with GPUs of our own, each tried with a dibsd of our own.
 *
 * All of it lives in a PID and a mount namespace. There, /dev has only what we put into it, /proc
 * only our own processes, and the pins of device filters are on a file system of their own; so a
 * dibsd that is not as it should be cannot end processes of this machine or close its devices, and
 * whatever ends us, the kernel removes all of it with us: processes, files, and filters.
 *
 * The GPU of the last claim is /dev/urandom, because the nodes of simulated GPUs cannot be kept
 * open: no driver answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/public.h"
#include "cli/selftest.h"
#include "cli/selftest_daemon.h"
#include "cli/selftest_try.h"

#define BPFFS    "/sys/fs/bpf"
#define KILL_SEC 10 /* until a process that keeps a device must have ended; the grace is 1 s */

static const char sensor_text[] =
	"#!/bin/sh\n"
	"while :; do\n"
	"echo '{\"gpus\": [{\"uuid\": \"GPU-urandom\", \"model\": \"Test\", \"vendor\": \"nvidia\","
	" \"pci\": \"0000:01:00.0\", \"index\": 0, \"minor\": 9, \"memory_mib\": 1024,"
	" \"memory_used_mib\": 0, \"utilization\": 0, \"temperature_c\": 30, \"power_w\": 10,"
	" \"links\": [\"internal\"], \"processes\": [], \"nodes\": [\"1:9\"]}]}'\n"
	"sleep 1\n"
	"done\n";

/* --- where it lives --- */

static int make_devices(void)
{
	static const struct {
		const char *path;
		unsigned minor;
	} nodes[] = { { "/dev/null", 3 }, { "/dev/zero", 5 }, { "/dev/full", 7 },
		{ "/dev/random", 8 }, { "/dev/urandom", 9 } };

	for (size_t i = 0; i < ELEMENTSOF(nodes); i++)
		if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(1, nodes[i].minor)) < 0 ||
			chmod(nodes[i].path, 0666) < 0)
			return -errno;
	return 0;
}

static int mount_all(const char *directory)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
		mount("tmpfs", directory, "tmpfs", MS_NOSUID, "mode=0711,size=64m") < 0 ||
		mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=1m") < 0)
		return -errno;
	return make_devices();
}

static int write_sensor(const char *path)
{
	_cleanup_(closep) int fd =
		open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0755);

	if (fd < 0 || fchmod(fd, 0755) < 0)
		return -errno;
	return write_all(fd, sensor_text, strlen(sensor_text));
}

/* --- one daemon --- */

struct bench {
	struct own_daemon daemon;
	struct user holder, other;
	char node[160];
	struct scene scene;
};

static void bench_release(struct bench *bench)
{
	user_end(&bench->holder);
	user_end(&bench->other);
	own_daemon_release(&bench->daemon);
}

static int start_user(
	const struct own_daemon *daemon, struct user *user, uid_t uid, struct error *err)
{
	char name[32], slice[sizeof(daemon->sessions)] = "";
	int r = 0;

	snprintf(name, sizeof(name), "user-%u.slice", (unsigned)uid);
	if (*daemon->sessions)
		r = selftest_cgroup(daemon->sessions, name, slice, sizeof(slice));
	if (r < 0)
		return error_errno(err, r, "selftest.cgroup", "cannot make a cgroup for a user");
	return user_start(user, uid, slice, err);
}

static int prepare(struct bench *bench, const struct selftest *test, const char *name,
	const char *method, const char *sensor, struct error *err)
{
	struct own_daemon *daemon = &bench->daemon;
	char top[sizeof(daemon->sessions)];
	int r = 0;

	daemon->method = method;
	daemon->sensor = sensor;
	snprintf(daemon->directory, sizeof(daemon->directory), "%s/%s", test->directory, name);
	if (mkdir(daemon->directory, 0711) < 0 || chmod(daemon->directory, 0711) < 0)
		r = -errno;
	if (r >= 0 && *test->cgroup) {
		r = selftest_cgroup(test->cgroup, name, top, sizeof(top));
		if (r >= 0)
			r = selftest_cgroup(
				top, "sessions", daemon->sessions, sizeof(daemon->sessions));
		if (r >= 0)
			r = selftest_cgroup(top, "runs", daemon->runs, sizeof(daemon->runs));
	}
	if (r < 0)
		return error_errno(err, r, "selftest.place", "cannot make a place for dibsd");
	r = start_user(daemon, &bench->holder, test->uids[0], err);
	if (r >= 0)
		r = start_user(daemon, &bench->other, test->uids[1], err);
	return r;
}

/* A gate that says itself why it does not hold was not found out. */
static bool holds(const struct bench *bench)
{
	_cleanup_(json_decrefp) json_t *status = NULL;
	struct report *report = bench->scene.report;
	enum gate gate = bench->scene.gate;
	struct error err = { 0 };
	const char *problem;

	if (own_daemon_status(&bench->daemon, &status, &err) < 0) {
		gate_failed(report, gate, "%s", err.text);
		return false;
	}
	problem = wire_text(status, "guard_problem");
	if (*problem)
		gate_untried(report, gate, "%s", problem);
	else if (strcmp(wire_text(status, "guard_method"), bench->daemon.method) != 0)
		gate_failed(report, gate, "dibsd guards by '%s', not by '%s'",
			wire_text(status, "guard_method"), bench->daemon.method);
	else
		return true;
	return false;
}

static int kill_daemon(void *userdata, struct error *err)
{
	own_daemon_kill(userdata);
	return 0;
}

static int restart_daemon(void *userdata, struct error *err)
{
	return own_daemon_start(userdata, err);
}

/* After a release, whoever has the device open ends, also who does not heed TERM. */
static void try_kept(struct bench *bench)
{
	const struct scene *scene = &bench->scene;
	int64_t lease = try_reserve(scene);
	int r;

	if (lease == 0)
		return;
	r = user_keep(&bench->holder, bench->node);
	if (r < 0)
		result_set(scene->report, scene->gate, CLAIM_KEPT, OUTCOME_FAILED,
			"with a lease, uid %u could not open %s: %s", (unsigned)bench->holder.uid,
			bench->node, strerrordesc_np(-r));
	else if (!try_release(scene, lease))
		return;
	else if (user_killed(&bench->holder, KILL_SEC))
		result_set(scene->report, scene->gate, CLAIM_KEPT, OUTCOME_OK, "%s", "");
	else
		result_set(scene->report, scene->gate, CLAIM_KEPT, OUTCOME_FAILED,
			"a process still has %s open %d s after the lease ended", bench->node,
			KILL_SEC);
}

static void try_gate(
	const struct selftest *test, enum gate gate, const char *method, const char *sensor)
{
	_cleanup_(bench_release) struct bench bench = {
		.daemon = OWN_DAEMON_NONE, .holder = USER_NONE, .other = USER_NONE
	};
	struct error err = { 0 };
	char name[32];

	snprintf(name, sizeof(name), "%s%s", method, sensor ? "-kept" : "");
	bench.scene = (struct scene){ .report = test->report,
		.gate = gate,
		.socket = bench.daemon.socket,
		.gpu = bench.daemon.gpu,
		.node = bench.node,
		.holder = &bench.holder,
		.other = &bench.other,
		.kill_daemon = kill_daemon,
		.restart_daemon = restart_daemon,
		.userdata = &bench.daemon };
	if (prepare(&bench, test, name, method, sensor, &err) < 0 ||
		own_daemon_start(&bench.daemon, &err) < 0) {
		gate_failed(test->report, gate, "%s", err.text);
		return;
	}
	if (sensor)
		text_copy(bench.node, sizeof(bench.node), "/dev/urandom");
	else
		snprintf(bench.node, sizeof(bench.node), "%s/state/dev/nvidia%u",
			bench.daemon.directory, bench.daemon.minor);
	if (!holds(&bench))
		return;
	if (sensor)
		try_kept(&bench);
	else
		try_claims(&bench.scene);
}

static void try_both(const struct selftest *test, enum gate gate, const char *method)
{
	char sensor[96];

	snprintf(sensor, sizeof(sensor), "%s/sensor", test->directory);
	try_gate(test, gate, method, NULL);
	if (!*test->report->untried[gate])
		try_gate(test, gate, method, sensor);
}

static int try_all(const struct selftest *test)
{
	char sensor[96];
	int r = mount_all(test->directory);

	snprintf(sensor, sizeof(sensor), "%s/sensor", test->directory);
	umask(022);
	if (r >= 0)
		r = write_sensor(sensor);
	if (r < 0)
		return r;
	if (!*test->cgroup)
		gate_untried(test->report, GATE_FILTER, "no cgroup v2 is mounted");
	else if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		gate_untried(test->report, GATE_FILTER, "no BPF file system can be mounted: %m");
	else
		try_both(test, GATE_FILTER, "filter");
	try_both(test, GATE_ACL, "acl");
	return 0;
}

/* The first process of the PID namespace, with which all others in there end. */
static void __attribute__((noreturn)) be_first(const struct selftest *test)
{
	_exit(prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? errno : -try_all(test));
}

void selftest_simulated(const struct selftest *test)
{
	int status = 0, r = unshare(CLONE_NEWPID | CLONE_NEWNS) < 0 ? -errno : 0;
	pid_t pid = r < 0 ? -1 : fork();

	if (pid == 0)
		be_first(test);
	if (r >= 0 && (pid < 0 || waitpid(pid, &status, 0) < 0))
		r = -errno;
	else if (r >= 0 && status != 0)
		r = WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
	for (enum gate gate = GATE_FILTER; r < 0 && gate <= GATE_ACL; gate++)
		gate_failed(test->report, gate, "cannot try it in a place of its own: %s",
			strerrordesc_np(-r));
}
