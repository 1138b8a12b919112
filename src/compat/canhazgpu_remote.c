/* SPDX-License-Identifier: MIT */
/*
 * The status of other hosts: ssh HOST "canhazgpu status --json" for all at once, as the original
 * does. What comes back is foreign: it is limited, parsed, and stripped to what is known.
 *
 * ssh may leave a process behind that keeps its stderr (ControlPersist), so a host is done when its
 * ssh has ended, not when the pipes have.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/text.h"
#include "compat/canhazgpu.h"

#define PATIENCE_MS 60000
#define OUTPUT_MAX  (4 << 20)
#define ERRORS_MAX  400
#define HOST_MAX    255

struct stream {
	int fd;           /* -1: at its end */
	char *data;       /* owned */
	size_t size, max; /* what comes later is thrown away */
	bool more;
};

struct asking {
	struct chg_host *host;
	pid_t pid; /* 0: it is not asked */
	int pidfd;
	struct stream out, err;
};

/* Security: it becomes an argument of ssh, which must not read it as an option. */
static bool is_host(const char *name)
{
	size_t n =
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@:-");

	return n > 0 && n <= HOST_MAX && !name[n] && *name != '-' && !strstr(name, "@-");
}

static int spawn_ssh(const char *host, int out, int err, pid_t *ret)
{
	const char *const argv[] = { "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o",
		"StrictHostKeyChecking=accept-new", "--", host, "canhazgpu status --json", NULL };
	posix_spawn_file_actions_t actions;
	int r;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	if (r == 0)
		r = posix_spawnp(ret, "ssh", &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static void set_error(struct chg_host *host, char *owned_text)
{
	if (owned_text)
		text_sanitize(owned_text);
	free(host->error);
	host->error = owned_text;
}

static void begin(struct asking *asking)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, r = 0;

	if (!is_host(asking->host->name)) {
		set_error(asking->host, strdup("this is not the name of a host"));
		return;
	}
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		r = -errno;
	else
		r = spawn_ssh(asking->host->name, out[1], err[1], &asking->pid);
	closep(&out[1]);
	closep(&err[1]);
	asking->out = (struct stream){ .fd = out[0], .max = OUTPUT_MAX };
	asking->err = (struct stream){ .fd = err[0], .max = ERRORS_MAX };
	if (r == 0) {
		asking->pidfd = (int)syscall(SYS_pidfd_open, asking->pid, 0);
		fcntl(out[0], F_SETFL, O_NONBLOCK);
		fcntl(err[0], F_SETFL, O_NONBLOCK);
		return;
	}
	asking->pid = 0;
	set_error(asking->host, text_format("cannot start ssh: %s", strerror(-r)));
}

/* What there is now. */
static void drain(struct stream *stream)
{
	char data[16384];
	ssize_t n;

	while (stream->fd >= 0) {
		size_t keep;
		char *more;

		n = read(stream->fd, data, sizeof(data));
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(stream->fd);
			stream->fd = -1;
			return;
		}
		keep = MIN((size_t)n, stream->max - stream->size);
		stream->more |= keep < (size_t)n;
		more = realloc(stream->data, stream->size + keep + 1);
		if (!more)
			continue;
		stream->data = more;
		memcpy(more + stream->size, data, keep);
		stream->size += keep;
		more[stream->size] = '\0';
	}
}

static void take_answer(struct asking *asking)
{
	_cleanup_(json_decrefp) json_t *foreign = NULL;

	if (!asking->out.more && asking->out.data)
		foreign = json_loadb(asking->out.data, asking->out.size, 0, NULL);
	asking->host->statuses = foreign ? chg_known_status(foreign) : NULL;
	if (!asking->host->statuses)
		set_error(asking->host, strdup("failed to parse JSON output"));
}

/* In place: what stands there last mostly says it. */
static char *last_line(char *text)
{
	size_t n = strlen(text);
	char *end;

	while (n > 0 && strchr("\r\n ", text[n - 1]))
		text[--n] = '\0';
	end = strrchr(text, '\n');
	return end ? end + 1 : text;
}

static void fail(struct asking *asking, int status)
{
	char *said = asking->err.data ? last_line(asking->err.data) : NULL;
	char what[64];

	if (WIFEXITED(status))
		snprintf(what, sizeof(what), "exit status %d", WEXITSTATUS(status));
	else
		snprintf(what, sizeof(what), "ssh was ended by signal %d", WTERMSIG(status));
	set_error(asking->host, said && *said ? text_format("%s: %s", what, said) : strdup(what));
}

/* Its ssh has ended, or is to end. */
static void finish(struct asking *asking, bool late)
{
	int status = 0;

	if (late)
		kill(asking->pid, SIGKILL);
	while (waitpid(asking->pid, &status, 0) < 0 && errno == EINTR)
		;
	drain(&asking->out);
	drain(&asking->err);
	if (late)
		set_error(asking->host,
			text_format("no answer within %d seconds", PATIENCE_MS / 1000));
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		take_answer(asking);
	else
		fail(asking, status);
	asking->pid = 0;
}

static void clear(struct asking *asking)
{
	closep(&asking->out.fd);
	closep(&asking->err.fd);
	closep(&asking->pidfd);
	free(asking->out.data);
	free(asking->err.data);
}

/* Three descriptors for each; those that are -1, poll passes over. */
static bool look(struct asking *askings, struct pollfd *fds, size_t n, int64_t deadline_ms)
{
	int64_t left_ms = deadline_ms - clock_monotonic_ms();
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		bool asked = askings[i].pid > 0;

		any |= asked;
		fds[3 * i] = (struct pollfd){ asked ? askings[i].out.fd : -1, POLLIN, 0 };
		fds[3 * i + 1] = (struct pollfd){ asked ? askings[i].err.fd : -1, POLLIN, 0 };
		fds[3 * i + 2] = (struct pollfd){ asked ? askings[i].pidfd : -1, POLLIN, 0 };
	}
	if (!any)
		return false;
	if (left_ms > 0 && poll(fds, 3 * n, (int)left_ms) < 0 && errno != EINTR)
		left_ms = 0;
	for (size_t i = 0; i < n; i++) {
		if (askings[i].pid == 0)
			continue;
		drain(&askings[i].out);
		drain(&askings[i].err);
		if (left_ms <= 0 || fds[3 * i + 2].revents)
			finish(&askings[i], left_ms <= 0);
	}
	return true;
}

void chg_ask_hosts(
	struct chg_host *hosts, size_t n, void (*meanwhile)(void *userdata), void *userdata)
{
	_cleanup_(freep) struct asking *askings = calloc(n + 1, sizeof(*askings));
	_cleanup_(freep) struct pollfd *fds = calloc(n + 1, 3 * sizeof(*fds));
	int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;

	if (!askings || !fds)
		return;
	for (size_t i = 0; i < n; i++) {
		askings[i] = (struct asking){
			.host = &hosts[i], .pidfd = -1, .out.fd = -1, .err.fd = -1
		};
		if (!hosts[i].statuses && !hosts[i].error)
			begin(&askings[i]);
	}
	if (meanwhile)
		meanwhile(userdata);
	while (look(askings, fds, n, deadline_ms))
		;
	for (size_t i = 0; i < n; i++)
		clear(&askings[i]);
}
