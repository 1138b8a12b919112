/* SPDX-License-Identifier: MIT */
#include "daemon/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/api_report.h"
#include "daemon/batch.h"
#include "daemon/foreign.h"
#include "daemon/guard.h"
#include "daemon/health.h"
#include "daemon/hook.h"
#include "daemon/inventory.h"
#include "daemon/job.h"
#include "daemon/jobs.h"
#include "daemon/job_limits.h"
#include "daemon/lifecycle.h"
#include "daemon/lock_files.h"
#include "daemon/openers.h"
#include "daemon/prune.h"
#include "daemon/revoke.h"
#include "daemon/sensor.h"
#include "daemon/server.h"
#include "daemon/suspend.h"
#include "daemon/sim_nodes.h"
#include "daemon/usage.h"
#include "daemon/watch.h"
#include "dibs-config.h"
#include "priv/cgroup.h"

#define REATTACH_US (30 * USEC_PER_SEC) /* for clients that waited when the daemon was stopped */

static int open_config(struct manager *m, const struct manager_options *options, struct error *err)
{
	m->config_path = options->config_path ? options->config_path : CONFIG_PATH;
	return config_load(m->config_path, &m->config, err);
}

/* The state directory, and in it the lock that says: one daemon. */
static int open_state(struct manager *m, const char *path, struct error *err)
{
	_cleanup_(closep) int directory = -1;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, -errno, "state.directory", "cannot make %s", path);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return error_errno(err, -errno, "state.directory", "cannot open %s", path);
	/* Security: who can write there could hand out leases. */
	if (fstat(directory, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022))
		return error_set(err, -EPERM, "state.permissions",
			"%s must belong to the user who runs dibsd, and to nobody else: chown it, "
			"and chmod go-w",
			path);
	m->lock = openat(directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (m->lock < 0)
		return error_errno(err, -errno, "state.lock", "cannot open %s/lock", path);
	/* Of the process, not of the file (flock): a child that is about to become a supervisor
	 * would have it for a moment after we were killed, and keep the next dibsd from starting.
	 */
	if (fcntl(m->lock, F_SETLK, &lock) < 0)
		return errno != EACCES && errno != EAGAIN
			       ? error_errno(err, -errno, "state.lock", "cannot lock %s/lock", path)
			       : error_set(err, -EBUSY, "state.in-use",
					 "another dibsd uses %s; stop it first, or choose another "
					 "--state",
					 path);
	return store_open_sqlite(path, &m->store, err);
}

static int load_state(struct manager *m, struct error *err)
{
	struct clock_mark mark;
	int r;

	m->pool = pool_new();
	if (!m->pool)
		return -ENOMEM;
	r = m->store->ops->load(m->store, m->pool, &m->next_id, &mark, err);
	if (r < 0)
		return r;
	r = clock_init(&m->clock, &mark);
	if (r < 0)
		return error_errno(err, r, "clock.boot-id", "cannot read the boot id");
	m->reattach_until_us = clock_now(&m->clock) + REATTACH_US;
	return 0;
}

static int open_cgroups(struct manager *m, const char *configured, struct error *err)
{
	int r;

	if (!m->root && !configured)
		return 0;
	r = cgroup_root_open(configured, &m->cgroup_root, err);
	if (r < 0 && configured)
		return r;
	if (r < 0)
		log_warning("%s: a run lives as long as its first process alone", err->text);
	return 0;
}

static int reload(struct manager *m, struct error *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	const char *restart;
	int r = config_load(m->config_path, &config, err);

	if (r < 0)
		return r;
	restart = config_needs_restart(m->config, config);
	if (restart)
		log_warning("%s takes effect at the next start", restart);
	config_free(m->config);
	m->config = TAKE_PTR(config);
	job_limits_prepare(m);
	guard_reload(m);
	prune_start(m);
	batch_want_pass(m);
	return 0;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct manager *m = userdata;
	struct error err = { 0 };
	uint64_t now_us = 0;

	sd_event_now(m->event, CLOCK_MONOTONIC, &now_us);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_us);
	if (reload(m, &err) < 0)
		log_error("the configuration stays as it was: %s", err.text);
	else
		log_info("the configuration was read again");
	sd_notify(0, "READY=1");
	return 0;
}

static int arm_clock_watch(int fd)
{
	/* Far in the future: the timer is there to be cancelled, which tells that somebody set the
	 * clock. */
	struct itimerspec never = { .it_value.tv_sec = (time_t)1 << 40 };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
		       ? -errno
		       : 0;
}

static int on_clock_set(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct manager *m = userdata;
	uint64_t expirations;

	if (read(fd, &expirations, sizeof(expirations)) < 0 && errno == ECANCELED) {
		clock_look(&m->clock);
		batch_event(m, EVENT_CLOCK_SET, 0, EVENT_NOBODY, NULL, NULL);
	}
	return arm_clock_watch(fd);
}

static int watch_clock(struct manager *m)
{
	_cleanup_(closep) int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	int r;

	if (fd < 0 || arm_clock_watch(fd) < 0)
		return -errno;
	r = sd_event_add_io(m->event, &m->clock_set, fd, EPOLLIN, on_clock_set, m);
	if (r < 0)
		return r;
	TAKE_FD(fd);
	return sd_event_source_set_io_fd_own(m->clock_set, true);
}

static int open_loop(struct manager *m, struct error *err)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD };
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		sigaddset(&mask, signals[i]);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	r = sd_event_default(&m->event);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(m->event, NULL, SIGHUP, on_reload, m);
	if (r >= 0)
		r = watch_clock(m);
	if (r >= 0)
		r = sd_event_set_watchdog(m->event, true);
	if (r >= 0)
		r = batch_new(m, &m->batch);
	return r < 0 ? error_errno(err, r, "loop", "cannot make the event loop") : 0;
}

static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int open_all(struct manager *m, const struct manager_options *options, struct error *err)
{
	const char *state, *socket, *cgroup_root;
	int r = open_config(m, options, err);

	if (r < 0)
		return r;
	m->sim = options->sim != NULL;
	state = options->state_directory ? options->state_directory : m->config->state_directory;
	socket = options->socket ? options->socket : m->config->socket;
	cgroup_root = options->cgroup_root ? options->cgroup_root : m->config->cgroup_root;
	m->state = strdup(state);
	if (!m->state)
		return -ENOMEM;
	raise_limits();
	gethostname(m->host, sizeof(m->host) - 1);
	r = open_loop(m, err);
	if (r >= 0)
		r = open_state(m, state, err);
	if (r >= 0)
		r = load_state(m, err);
	if (r >= 0)
		r = usage_new(m, &m->usage, err);
	if (r >= 0)
		r = open_cgroups(m, cgroup_root, err);
	if (r >= 0)
		job_limits_prepare(m);
	if (r >= 0)
		r = server_new(m, socket, &m->server, err);
	if (r >= 0)
		r = sensor_new(m, options->sim, &m->sensor, err);
	if (r >= 0)
		r = guard_new(m, &m->guard, err);
	if (r >= 0)
		r = revoke_new(m, &m->revoke);
	if (r >= 0)
		r = foreign_new(&m->foreign);
	if (r >= 0)
		r = hook_new(m, &m->hook);
	if (r >= 0)
		r = openers_new(m, &m->openers);
	if (r >= 0)
		r = jobs_new(m, &m->jobs, err);
	if (r >= 0)
		r = reports_new(m, &m->reports);
	if (r >= 0)
		r = prune_new(m);
	if (r < 0)
		return r;
	r = watch_init(m);
	if (r >= 0)
		r = lifecycle_reconcile(m);
	if (r < 0)
		return error_errno(err, r, "reconcile", "cannot take up the leases");
	batch_event(m, EVENT_STARTED, 0, EVENT_NOBODY, NULL, DIBS_VERSION);
	return sensor_start(m->sensor, err);
}

int manager_new(const struct manager_options *options, struct manager **ret, struct error *err)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->root = geteuid() == 0;
	m->lock = -1;
	r = open_all(m, options, err);
	if (r < 0)
		return err->id ? r : error_errno(err, r, "start", "cannot start");
	*ret = TAKE_PTR(m);
	return 0;
}

void manager_ready(struct manager *m, bool complete)
{
	int r;

	batch_flush(m); /* GPUs are about to change their slots */
	if (complete)
		inventory_forget_absent(m);
	m->serving = true;
	if (m->sim && m->root)
		sim_nodes_make(m);
	guard_start(m);
	lock_files_start(m);
	job_start_all(m);
	prune_start(m);
	r = health_start(m);
	if (r >= 0)
		r = server_start(m->server);
	if (r < 0) {
		log_error("cannot serve %s: %s", m->server->path, strerrordesc_np(-r));
		sd_event_exit(m->event, r);
		return;
	}
	log_info("dibsd %s is ready: %u GPUs, socket %s%s", DIBS_VERSION, m->pool->n_gpus,
		m->server->path, m->cgroup_root ? "" : ", without cgroups");
	sd_notifyf(0, "READY=1\nSTATUS=%u GPUs", m->pool->n_gpus);
}

int manager_run(struct manager *m, struct error *err)
{
	int r = sd_event_loop(m->event);

	sd_notify(0, "STOPPING=1");
	usage_stop(m);
	return r < 0 ? error_errno(err, r, "loop", "the event loop failed") : 0;
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	server_free(m->server);
	sensor_free(m->sensor);
	guard_free(m->guard);
	revoke_free(m->revoke);
	foreign_free(m->foreign);
	health_free(m->health);
	hook_free(m->hook);
	lock_files_free(m->lock_files);
	openers_free(m->openers);
	suspends_free(m->suspends);
	jobs_free(m->jobs);
	reports_free(m->reports);
	usage_free(m->usage);
	for (size_t i = 0; m->pool && i < m->pool->n_leases; i++)
		watch_free(m->pool->leases[i]);
	watch_cgroups_free(m);
	batch_free(m->batch);
	pool_free(m->pool);
	if (m->store)
		m->store->ops->close(m->store);
	closep(&m->lock);
	sd_event_source_disable_unref(m->deadline);
	sd_event_source_disable_unref(m->clock_set);
	sd_event_source_disable_unref(m->prune);
	sd_event_unref(m->event);
	config_free(m->config);
	free(m->cgroup_root);
	free(m->state);
	rate_clear(&m->rate);
	accounts_clear(&m->accounts);
	free(m);
	return NULL;
}
