/* SPDX-License-Identifier: MIT */
/*
 * Nothing of the client is read before this process is the user's, so that all it can reach is what
 * the user can reach; and dibsd hears the user, not root. There is no framing: a request is whole
 * when it is a JSON value. The time for it is an alarm, which ends the process.
 */
#include "mgpu/session.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/public.h"
#include "mgpu/demand.h"
#include "mgpu/stream.h"
#include "priv/become.h"

#define REQUEST_MAX (256 * 1024) /* bytes */
#define REQUEST_SEC 10           /* until it is whole */
#define ANSWER_SEC  120          /* until it is answered; to follow a job has no limit */

struct session {
	int fd;
	struct cli cli;
};

/* --- who we are --- */

static int take_groups(int fd)
{
	_cleanup_(freep) gid_t *groups = NULL;
	socklen_t size = 0;

	/* Without room it tells how much it takes. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0)
		return setgroups(0, NULL) < 0 ? -errno : 0;
	if (errno != ERANGE)
		return -errno;
	groups = malloc(size);
	if (!groups)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return -errno;
	return setgroups(size / sizeof(*groups), groups) < 0 ? -errno : 0;
}

/* Security: user, group and groups are those that the kernel noted when the client connected. */
static int become(int fd, const struct ucred *peer)
{
	int r = take_groups(fd);

	if (r == 0)
		r = become_user(peer->uid, peer->gid);
	if (r == 0 && peer->uid != 0)
		r = become_check(peer->uid, peer->gid);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r;
}

/* What a login has, as little of it as there is: what root started us with is not the user's. */
static int make_environment(struct error *err)
{
	const char *lang = getenv("LANG");
	_cleanup_(freep) char *copy = strdup(lang ? lang : "C.UTF-8");
	const struct passwd *pw = getpwuid(getuid());

	if (!copy || clearenv() != 0)
		return cli_no_memory(err);
	if (!pw)
		return error_set(
			err, -EINVAL, "mgpu.user", "uid %u is not known here", (unsigned)getuid());
	if (setenv("HOME", pw->pw_dir, 1) < 0 || setenv("USER", pw->pw_name, 1) < 0 ||
		setenv("LOGNAME", pw->pw_name, 1) < 0 ||
		setenv("SHELL", *pw->pw_shell ? pw->pw_shell : "/bin/sh", 1) < 0 ||
		setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1) < 0 ||
		setenv("LANG", copy, 1) < 0)
		return cli_no_memory(err);
	return 0;
}

/* Security: they may be root's terminal, and standard input is handed to clients as a barrier. */
static int leave_terminal(void)
{
	_cleanup_(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	return 0;
}

/* --- what is asked --- */

static bool may_be_whole(const char *text, size_t n)
{
	while (n > 0 && strchr(" \t\r\n", text[n - 1]))
		n--;
	return n > 0 && text[n - 1] == '}';
}

/* 0, -EAGAIN: there is more of it to come, -EINVAL. */
static int parse(const char *text, size_t n, bool last, json_t **ret, struct error *err)
{
	json_error_t json_error;

	if (!last && !may_be_whole(text, n))
		return -EAGAIN;
	*ret = json_loadb(text, n, 0, &json_error);
	if (json_is_object(*ret))
		return 0;
	if (!*ret && !last && json_error_code(&json_error) == json_error_premature_end_of_input)
		return -EAGAIN;
	json_decref(*ret);
	*ret = NULL;
	return error_set(err, -EINVAL, "mgpu.request", "this is not one JSON object");
}

static int read_request(int fd, json_t **ret, struct error *err)
{
	_cleanup_(freep) char *text = malloc(REQUEST_MAX);
	size_t size = 0;
	int r = -EAGAIN;

	if (!text)
		return cli_no_memory(err);
	while (r == -EAGAIN && size < REQUEST_MAX) {
		ssize_t n = recv(fd, text + size, REQUEST_MAX - size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		size += (size_t)MAX(n, 0);
		r = parse(text, size, n <= 0, ret, err);
	}
	if (r == -EAGAIN)
		return error_set(err, -EMSGSIZE, "mgpu.request", "a request may have %d KiB",
			REQUEST_MAX / 1024);
	return r;
}

/* --- answers --- */

/* Takes object, which may be NULL for lack of memory. */
static void answer(const struct session *s, json_t *object, int barrier)
{
	stream_send(s->fd, object, "", barrier);
	json_decref(object);
}

static void refuse(const struct session *s, const char *text)
{
	answer(s, json_pack("{ss ss ss}", "status", "fail", "job_id", "", "msg", text), -1);
}

/* Whoever goes away leaves the job alone, as does the end of this process. */
static void follow(struct session *s, int64_t lease, const char *id)
{
	struct stream stream = { .fd = s->fd };
	const struct log_sink out = { s->fd, stream_put, &stream };
	int code;

	alarm(0);
	code = mgpu_follow(&s->cli, lease, &out);
	if (code >= 0)
		stream_end(&stream, id, code);
}

static void submit(struct session *s, const struct demand *demand)
{
	_cleanup_(json_decrefp) json_t *lease = NULL;
	_cleanup_(strings_clear) struct strings notes = { 0 };
	struct error err = { 0 };
	char id[MGPU_ID_SIZE];

	if (mgpu_submit(&s->cli, &demand->job, &lease, &notes, &err) != EXIT_OK) {
		refuse(s, err.text);
		return;
	}
	mgpu_id(id, wire_int(lease, "id", 0));
	if (!demand->interactive) {
		answer(s, json_pack("{ss ss}", "status", "ok", "job_id", id), -1);
		return;
	}
	answer(s, json_pack("{ss ss sb}", "status", "ok", "job_id", id, "interactive", 1),
		STDIN_FILENO);
	follow(s, wire_int(lease, "id", 0), id);
}

static void queue(struct session *s)
{
	json_t *running = NULL, *waiting = NULL;
	struct error err = { 0 };

	if (mgpu_list(&s->cli, &running, &waiting, &err) != EXIT_OK)
		refuse(s, err.text);
	else
		answer(s,
			json_pack(
				"{ss so so}", "status", "ok", "queue", waiting, "running", running),
			-1);
}

static void cancel(struct session *s, int64_t lease)
{
	struct error err = { 0 };

	if (mgpu_end(&s->cli, lease, &err) == EXIT_OK)
		answer(s, json_pack("{ss}", "status", "ok"), -1);
	else
		refuse(s, err.text);
}

/* What is not read when the socket is closed takes the answer with it. Bounded by the alarm. */
static void drain(int fd)
{
	char text[4096];

	while (recv(fd, text, sizeof(text), 0) > 0)
		;
}

static void serve(struct session *s, const struct demand *demand)
{
	switch (demand->kind) {
	case DEMAND_SUBMIT:
		submit(s, demand);
		return;
	case DEMAND_QUEUE:
		queue(s);
		return;
	case DEMAND_CANCEL:
		cancel(s, demand->lease);
		return;
	}
}

int session_run(int fd, const struct ucred *peer, const struct session_options *how)
{
	struct session s = { .fd = fd };
	_cleanup_(demand_clear) struct demand demand = { 0 };
	_cleanup_(json_decrefp) json_t *json = NULL;
	struct error err = { 0 };

	alarm(REQUEST_SEC);
	if (become(fd, peer) < 0 || leave_terminal() < 0) {
		session_turn_away(fd, "cannot become the user who asks");
		return EXIT_FAULT;
	}
	s.cli.args.values[OPT_SOCKET] = how->dibsd;
	/* Security: such uids are at will of who has subordinate ones; none is waited for. */
	if (make_environment(&err) < 0) {
		refuse(&s, err.text);
		return EXIT_INVALID;
	}
	if (read_request(fd, &json, &err) < 0 ||
		demand_read(json, how->max_job_sec, &demand, &err) < 0) {
		refuse(&s, err.text);
		shutdown(fd, SHUT_WR);
		drain(fd);
		return EXIT_INVALID;
	}
	alarm(ANSWER_SEC);
	serve(&s, &demand);
	return EXIT_OK;
}

void session_turn_away(int fd, const char *text)
{
	_cleanup_(freep) char *message =
		text_format("{\"status\": \"fail\", \"msg\": \"%s\"}", text);

	if (message)
		send(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}
