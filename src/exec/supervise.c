/* SPDX-License-Identifier: MIT */
/*
 * Stays root, outside of the cgroup of its job, and does nothing for the user but to wait: what
 * touches a name that the user has given is done by the child, as the user (exec/launch.c).
 *
 * With a cgroup, dibsd ends the job through it, and the supervisor may die without harm to the job.
 * Without, it is the only handle on the job: it hands signals on, and the job dies with it.
 */
#include "exec/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/pattern.h"
#include "base/text.h"
#include "exec/launch.h"
#include "exec/oom.h"
#include "exec/session.h"
#include "priv/record.h"

#define OOM_ADJ          "/proc/self/oom_score_adj"
#define OOM_OURS         "-900"
#define NOFILE_DEFAULT   1024
#define CLOSE_TIMEOUT_US (30 * USEC_PER_SEC)

struct supervisor {
	struct order order;
	bool root;
	int tell, record, cgroup; /* owned; -1 = none */
	struct watchdog watchdog;
	struct account account;
	struct session session;
	struct environment environment;
	struct rlimits limits;   /* of the child */
	mode_t umask;            /* of the child */
	char oom_adj[16];        /* of the child; empty = as ours */
	char *logs[LAUNCH_LOGS]; /* owned */
	struct launched job;
	uint64_t kills; /* oom_kills() before it started */
};

static void supervisor_release(struct supervisor *s)
{
	environment_clear(&s->environment);
	account_clear(&s->account);
	order_clear(&s->order);
	for (size_t i = 0; i < LAUNCH_LOGS; i++) {
		free(s->logs[i]);
		closep(&s->job.logs[i]);
	}
	closep(&s->cgroup);
	closep(&s->record);
	closep(&s->tell);
}

/* --- preparation --- */

/* A supervisor is small, and what it knows is lost with it. Not ours to decide without root. */
static void protect(struct supervisor *s)
{
	char before[sizeof(s->oom_adj)];

	if (read_file_at(AT_FDCWD, OOM_ADJ, before, sizeof(before)) > 0 &&
		write_file_at(AT_FDCWD, OOM_ADJ, OOM_OURS) == 0)
		text_copy(s->oom_adj, sizeof(s->oom_adj), before);
}

static int find_account(struct supervisor *s, struct error *err)
{
	const struct passwd *user;
	uid_t uid = (uid_t)s->order.uid;

	s->watchdog.doing = "looking up its user";
	if (!s->root && uid != geteuid())
		return error_set(err, -EPERM, "supervise.uid",
			"it is for uid %u, and only root can start it", uid);
	errno = 0;
	user = getpwuid(uid);
	if (!user && (errno == EIO || errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return error_errno(err, -errno, "supervise.user", "cannot look up uid %u", uid);
	if (!user)
		return error_set(err, -ENOENT, "supervise.user",
			"its user, uid %u, does not exist any more", uid);
	s->account.name = strdup(user->pw_name);
	s->account.home = strdup(*user->pw_dir ? user->pw_dir : "/");
	s->account.shell = strdup(*user->pw_shell ? user->pw_shell : "/bin/sh");
	s->account.gid = user->pw_gid;
	if (!s->account.name || !s->account.home || !s->account.shell)
		return error_set(err, -ENOMEM, "supervise.memory", "out of memory");
	return 0;
}

/* PAM changes limits and umask of who calls it: they are the child's, ours are put back. The groups
 * are set before, since modules add to them, and kept: root needs none. */
static int open_session(struct supervisor *s, struct error *err)
{
	struct rlimits ours;
	int r = rlimits_cap(RLIMIT_NOFILE, NOFILE_DEFAULT, false);

	if (r >= 0)
		r = rlimits_get(&ours);
	if (r < 0)
		return error_errno(err, r, "supervise.limits", "cannot read its limits");
	umask(022);
	s->watchdog.doing = "looking up its groups";
	if (s->root && initgroups(s->account.name, s->account.gid) < 0)
		return error_errno(err, -errno, "supervise.groups", "cannot set its groups");
	session_isolate((uid_t)s->order.uid, s->account.gid);
	s->watchdog.doing = "opening its PAM session";
	if (s->root && s->order.pam)
		r = session_open(&s->session, s->order.pam, s->account.name, err);
	s->umask = umask(022);
	if (s->order.umask >= 0)
		s->umask = (mode_t)s->order.umask;
	if (rlimits_get(&s->limits) < 0)
		return error_errno(err, -errno, "supervise.limits", "cannot read its limits");
	rlimits_set(&ours); /* in a container without CAP_SYS_RESOURCE we live with them */
	return r;
}

static int open_cgroup(struct supervisor *s, struct error *err)
{
	if (!s->order.cgroup)
		return 0;
	s->cgroup = open(s->order.cgroup, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->cgroup < 0)
		return error_errno(err, -errno, "supervise.cgroup", "cannot open its cgroup %s",
			s->order.cgroup);
	s->kills = oom_kills(s->cgroup);
	return 0;
}

static const char *directory(const struct supervisor *s)
{
	return s->order.dir ? s->order.dir : s->account.home;
}

static int name_log(struct supervisor *s, const char *pattern, char **ret, struct error *err)
{
	const struct pattern_values values = { .id = s->order.id,
		.array = s->order.array,
		.index = s->order.index,
		.user = s->account.name,
		.name = s->order.name,
		.host = s->order.host };
	char name[PATH_MAX];
	int r = pattern_expand(pattern, &values, name, sizeof(name), err);

	if (r < 0)
		return r;
	*ret = *name == '/' ? strdup(name) : text_format("%s/%s", directory(s), name);
	return *ret ? 0 : error_set(err, -ENOMEM, "supervise.memory", "out of memory");
}

static int name_logs(struct supervisor *s, struct error *err)
{
	const char *fallback = s->order.array ? PATTERN_ELEMENT : PATTERN_JOB;
	int r = name_log(s, s->order.out ? s->order.out : fallback, &s->logs[0], err);

	if (r < 0 || !s->order.err)
		return r;
	r = name_log(s, s->order.err, &s->logs[1], err);
	if (r >= 0 && strcmp(s->logs[0], s->logs[1]) == 0) {
		free(s->logs[1]);
		s->logs[1] = NULL;
	}
	return r;
}

static int prepare(struct supervisor *s, struct error *err)
{
	int r = find_account(s, err);

	if (r >= 0)
		r = name_logs(s, err);
	if (r >= 0)
		r = open_cgroup(s, err);
	if (r >= 0)
		r = open_session(s, err);
	if (r < 0)
		return r;
	if (environment_build(&s->order, &s->account, s->session.environment, &s->environment) < 0)
		return error_set(err, -ENOMEM, "supervise.memory", "out of memory");
	return 0;
}

static int start(struct supervisor *s, struct error *err)
{
	const struct launch what = {
		.order = &s->order,
		.account = &s->account,
		.environment = s->environment.variables,
		.limits = &s->limits,
		.directory = directory(s),
		.logs = { s->logs[0], s->logs[1] },
		.umask = s->umask,
		.cgroup = s->cgroup,
		.oom_adj = *s->oom_adj ? s->oom_adj : NULL,
		.change_user = s->root,
		.dies_with_us = s->cgroup < 0,
		.record = s->record,
		.tell = s->tell,
	};

	return launch(&what, &s->watchdog, &s->job, err);
}

/* --- while it runs --- */

static const int signals_handed_on[] = { SIGTERM, SIGCONT, SIGUSR1, SIGUSR2, SIGINT, SIGHUP,
	SIGQUIT };

static void do_nothing(int sig)
{
}

/* What reaches us before there is a job is for nobody. By handlers, which exec resets: what is
 * blocked or ignored would stay so in what PAM modules start. */
static void disregard_signals(void)
{
	struct sigaction action = { .sa_handler = do_nothing, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < ELEMENTSOF(signals_handed_on); i++)
		sigaction(signals_handed_on[i], &action, NULL);
	action.sa_flags = 0;
	sigaction(SIGPIPE, &action, NULL);
	sigaction(SIGXFSZ, &action, NULL);
}

/* What reaches us from now on is for the job: none is lost. */
static void block_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	for (size_t i = 0; i < ELEMENTSOF(signals_handed_on); i++)
		sigaddset(ret, signals_handed_on[i]);
	sigprocmask(SIG_BLOCK, ret, NULL);
}

static void await_end(const struct supervisor *s, const sigset_t *signals, siginfo_t *ret)
{
	for (;;) {
		int sig;

		*ret = (siginfo_t){ 0 };
		if (waitid(P_PID, (id_t)s->job.pid, ret, WEXITED | WNOHANG) == 0 && ret->si_pid)
			return;
		sig = sigwaitinfo(signals, NULL);
		if (sig > 0 && sig != SIGCHLD && s->cgroup < 0)
			kill(-s->job.pid, sig);
	}
}

static void record_memory(const struct supervisor *s, bool failed)
{
	uint64_t kills = oom_kills(s->cgroup);

	if (kills > s->kills) {
		record_write(s->record,
			"memory out of memory: the kernel killed %" PRIu64 " of its processes",
			kills - s->kills);
		return;
	}
	for (size_t i = 0; failed && i < LAUNCH_LOGS; i++)
		if (s->job.logs[i] >= 0 &&
			oom_log_tells_in_time(s->job.logs[i], s->job.offsets[i])) {
			record_write(s->record, "memory out of memory on a GPU: its log says that "
						"CUDA had none left");
			return;
		}
}

static int record_end(const struct supervisor *s, const siginfo_t *end)
{
	bool exited = end->si_code == CLD_EXITED;
	int r;

	record_memory(s, !exited || end->si_status != 0);
	r = record_write(s->record, exited ? "exit %d" : "signal %d", end->si_status);
	if (r < 0)
		log_error("job %" PRId64 ": cannot record its end: %s", s->order.id,
			strerrordesc_np(-r));
	return r;
}

/* --- all of it --- */

static int run(struct supervisor *s, struct error *err)
{
	sigset_t signals;
	siginfo_t end;
	int r;

	disregard_signals();
	r = watchdog_init(&s->watchdog, err);
	if (r < 0)
		return r;
	s->watchdog.record = s->record;
	watchdog_arm(&s->watchdog, s->order.start_timeout_us);
	protect(s);
	r = prepare(s, err);
	block_signals(&signals);
	if (r >= 0)
		r = start(s, err);
	watchdog_arm(&s->watchdog, 0);
	s->watchdog.child = 0;
	if (r < 0)
		return r;
	r = record_write(s->record, "running %d", (int)s->job.pid);
	if (r < 0)
		log_error("job %" PRId64 ": cannot record its start: %s", s->order.id,
			strerrordesc_np(-r));
	write_all(s->tell, "running\n", 8);
	await_end(s, &signals, &end);
	return record_end(s, &end);
}

/* The end is on record: dibsd need not wait for what follows. */
static void finish(struct supervisor *s)
{
	closep(&s->tell);
	s->tell = -1;
	if (!s->session.pam)
		return;
	s->watchdog.record = -1;
	watchdog_arm(&s->watchdog, CLOSE_TIMEOUT_US);
	session_close(&s->session);
	watchdog_arm(&s->watchdog, 0);
}

/* If who ordered it is gone, another one may have been started meanwhile, and have done the work:
 * its record is deleted by then, and would be ours to make. */
static bool is_awaited(const struct supervisor *s)
{
	struct pollfd tell = { .fd = s->tell };

	return poll(&tell, 1, 0) <= 0 || !(tell.revents & (POLLERR | POLLHUP));
}

/* An order that cannot be followed is told in the record, if it says where that is. */
static int begin(struct supervisor *s, const char *bytes, size_t size, struct error *why)
{
	struct error err = { 0 };
	int r = order_parse(bytes, size, &s->order, why);

	signal(SIGPIPE, SIG_IGN); /* whoever is told may die before we do */
	if (!is_awaited(s))
		return -EPIPE;
	if (s->order.record)
		s->record = record_create(s->order.record, &err);
	if (s->record < 0) {
		log_error("%s", s->order.record ? err.text : why->text);
		return -EIO;
	}
	write_all(s->tell, "record\n", 7);
	return r;
}

int supervise(const char *bytes, size_t size, int tell)
{
	_cleanup_(supervisor_release) struct supervisor s = { .root = geteuid() == 0,
		.tell = tell,
		.record = -1,
		.cgroup = -1,
		.job.logs = { -1, -1 } };
	struct error err = { 0 };
	int r = begin(&s, bytes, size, &err);

	if (r >= 0)
		r = run(&s, &err);
	if (r < 0 && s.record >= 0 && err.id) {
		text_sanitize(err.text);
		text_cut(err.text, RECORD_SENTENCE_SIZE - 1);
		record_write(s.record, "failed %s", err.text);
	}
	finish(&s);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
