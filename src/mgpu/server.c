/* SPDX-License-Identifier: MIT */
/* This process reads nothing from clients, and waits for none: what they say is for the process
 * that is theirs. */
#include "mgpu/server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "priv/become.h"

#define ACCEPT_MAX 16 /* a wake-up, so that ended processes are seen to */
#define REST_MS    1000

static size_t clients_of(const struct server *s, uid_t uid)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_clients; i++)
		n += s->clients[i].uid == uid;
	return n;
}

/* Security: root has a way in. */
static bool has_room(const struct server *s, int fd, uid_t uid)
{
	if (s->n_clients == SERVER_CLIENTS_MAX ||
		(uid != 0 && s->n_clients + SERVER_USER_MAX >= SERVER_CLIENTS_MAX)) {
		session_turn_away(fd, "there are too many clients; try again later");
		return false;
	}
	if (clients_of(s, uid) >= SERVER_USER_MAX) {
		session_turn_away(fd, "you have too many clients here; end some of them first");
		return false;
	}
	return true;
}

static _Noreturn void run_client(struct server *s, int fd, const struct ucred *peer)
{
	close(s->listener->fd);
	close(s->signals);
	become_default_signals();
	_exit(session_run(fd, peer, &s->options));
}

static void welcome(struct server *s, int accepted)
{
	_cleanup_(closep) int fd = accepted;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	pid_t pid;

	/* Security: the only source of identity. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || !has_room(s, fd, peer.uid))
		return;
	pid = fork();
	if (pid == 0)
		run_client(s, fd, &peer);
	if (pid < 0) {
		log_warning("cannot start a process for a client: %m");
		session_turn_away(fd, "there is no process for you; try again later");
		return;
	}
	s->clients[s->n_clients++] = (struct server_client){ pid, peer.uid };
}

/* Returns false if that fails and would fail again at once. */
static bool accept_some(struct server *s)
{
	for (int i = 0; i < ACCEPT_MAX; i++) {
		int fd = accept4(s->listener->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0) {
			welcome(s, fd);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return true;
		log_warning("cannot accept a client: %m");
		return false;
	}
	return true;
}

static void forget(struct server *s, pid_t pid)
{
	for (size_t i = 0; i < s->n_clients; i++)
		if (s->clients[i].pid == pid) {
			s->clients[i] = s->clients[--s->n_clients];
			return;
		}
}

static void reap(struct server *s)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		forget(s, pid);
}

/* Returns false if it is time to end. */
static bool note_signals(struct server *s)
{
	struct signalfd_siginfo info;
	bool go_on = true;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info))
		go_on &= info.ssi_signo == SIGCHLD;
	reap(s);
	return go_on;
}

int server_open(struct server *s, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0)
		return error_errno(err, -errno, "server.signals", "cannot take signals");
	return 0;
}

int server_run(struct server *server, struct error *err)
{
	struct pollfd fds[] = { { .events = POLLIN }, { .events = POLLIN } };
	bool rests = false;

	fds[0].fd = server->signals;
	for (;;) {
		fds[1].fd = rests ? -1 : server->listener->fd;
		fds[1].revents = 0;
		if (poll(fds, ELEMENTSOF(fds), rests ? REST_MS : -1) < 0 && errno != EINTR)
			return error_errno(err, -errno, "server.poll", "cannot wait for clients");
		if (!note_signals(server))
			break;
		rests = fds[1].revents && !accept_some(server);
	}
	close(server->signals);
	return 0;
}
