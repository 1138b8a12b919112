/* SPDX-License-Identifier: MIT */
/*
 * The status is pushed to all who watch it by one timer, at most ten times a second, and only when
 * nothing is pending: what they see is on disk. Its text is made once for all of them.
 */
#include "daemon/server.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/connection.h"
#include "daemon/listen.h"

#define ACCEPT_MAX     16 /* connections a wake-up, so that others get their turn */
#define STATUS_PUSH_US (USEC_PER_SEC / 10)
#define STATUS_SHARE   10 /* at most one part in so many of the time goes into pushing it */
#define STATUS_WAIT_US USEC_PER_MSEC
#define FDS_KEPT       512 /* for pidfds of leases, cgroups, database, sensor */
#define ACCEPT_REST_US USEC_PER_SEC
#define RANK_MAX       (SD_EVENT_PRIORITY_IDLE - 1)
#define RESERVED       16 /* connections kept for root, so that an administrator always gets in */

static unsigned connections_of(const struct server *server, uid_t account)
{
	struct connection *c;
	unsigned n = 0;

	LIST_FOREACH (c, &server->connections, link)
		n += c->account == account;
	return n;
}

/* One sentence for a client that cannot be served; it may not fit, then the client sees the end of
 * file. */
static void turn_away(int fd, const char *id, const char *text)
{
	struct verdict v = verdict_make(VERDICT_REFUSED, id, "%s", text);
	_cleanup_(freep) char *message = message_verdict(&v);

	if (message)
		send(fd, message, strlen(message) + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool has_room(const struct server *server, int fd, uid_t account)
{
	const struct config *config = server->manager->config;
	unsigned most = MIN(config->connections, server->most);

	/* Security: what one uid or all together can open is bounded; root keeps a way in. */
	if (account != 0 && server->n_connections + RESERVED >= most) {
		turn_away(fd, "limit.connections", "dibsd has too many clients; try again later");
		return false;
	}
	if (account != 0 && connections_of(server, account) >= config->connections_per_user) {
		turn_away(fd, "limit.connections-per-user",
			"you have too many connections to dibsd; end some of your clients first");
		return false;
	}
	return true;
}

static void welcome(struct server *server, int accepted)
{
	_cleanup_(closep) int fd = accepted;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	uid_t account;
	unsigned rank;

	/* Security: the only source of identity. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	account = account_of(&server->manager->accounts, ACCOUNT_FILE, peer.uid);
	if (!has_room(server, fd, account))
		return;
	/* Security: the second connection of a user comes after the first of everybody, and so on;
	 * who has many calls with them delays mostly themselves. */
	rank = MIN(connections_of(server, account), (unsigned)RANK_MAX);
	if (connection_new(server, fd, &peer, account, rank) >= 0)
		TAKE_FD(fd);
}

/* The client who cannot be accepted still knocks; answering at once would fail again, for ever. */
static void rest(struct server *server)
{
	log_warning("cannot accept a client: %m");
	sd_event_source_set_enabled(server->listener, SD_EVENT_OFF);
	sd_event_source_set_time_relative(server->rest, ACCEPT_REST_US);
	sd_event_source_set_enabled(server->rest, SD_EVENT_ONESHOT);
}

static int on_rested(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	return sd_event_source_set_enabled(server->listener, SD_EVENT_ON);
}

static int on_listener(sd_event_source *source, int listener, uint32_t revents, void *userdata)
{
	struct server *server = userdata;

	for (int i = 0; i < ACCEPT_MAX; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				rest(server);
			break;
		}
		welcome(server, fd);
	}
	return 0;
}

const char *server_status(struct server *server, bool continues)
{
	char **text = &server->status[continues];

	if (!*text)
		*text = api_status(server->manager, continues);
	return *text;
}

void server_forget_status(struct server *server)
{
	for (size_t i = 0; i < ELEMENTSOF(server->status); i++) {
		free(server->status[i]);
		server->status[i] = NULL;
	}
}

void server_push_soon(struct server *server)
{
	struct connection *c;
	int enabled = SD_EVENT_OFF;

	LIST_FOREACH (c, &server->connections, link)
		if (connection_follows(c))
			break;
	if (!c || sd_event_source_get_enabled(server->status_timer, &enabled) != 0)
		return;
	sd_event_source_set_time(server->status_timer,
		(uint64_t)(server->status_pushed_us + server->status_pause_us));
	sd_event_source_set_enabled(server->status_timer, SD_EVENT_ONESHOT);
}

static int on_status_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	int64_t begin_us = clock_cpu();
	struct connection *c, *next;
	bool more = false;

	if (batch_pending(server->manager)) { /* a moment later; settling alone pushes nothing */
		sd_event_source_set_time_relative(source, STATUS_WAIT_US);
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	for (c = LIST_FIRST(&server->connections); c; c = next) {
		next = LIST_NEXT(c, link);
		if (connection_unread(c) > 0)
			continue; /* who has not read the last one gets none on top of it */
		if (c->follows_events)
			more |= api_events_push(server->manager, c);
		else if (c->watches_status)
			connection_send(c, server_status(server, true), false);
	}
	server->status_pushed_us = clock_monotonic_ms() * USEC_PER_MSEC;
	server->status_pause_us = MAX(STATUS_PUSH_US, STATUS_SHARE * (clock_cpu() - begin_us));
	if (more)
		server_push_soon(server);
	return 0;
}

void server_status_changed(struct server *server)
{
	server_forget_status(server);
	server_push_soon(server);
}

/* How many connections there are descriptors for. */
static unsigned connections_possible(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > UINT_MAX)
		return UINT_MAX;
	return (unsigned)MAX(limit.rlim_cur / 2, limit.rlim_cur - MIN(limit.rlim_cur, FDS_KEPT));
}

int server_new(struct manager *m, const char *path, struct server **ret, struct error *err)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->manager = m;
	server->fd = -1;
	server->most = connections_possible();
	LIST_INIT(&server->connections);
	*ret = server;
	r = listen_open(m->config, path, &server->fd, err);
	if (r < 0)
		return r;
	snprintf(server->path, sizeof(server->path), "%s", path);
	r = sd_event_add_time(
		m->event, &server->status_timer, CLOCK_MONOTONIC, 0, 0, on_status_timer, server);
	if (r >= 0)
		r = sd_event_source_set_enabled(server->status_timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(
			m->event, &server->rest, CLOCK_MONOTONIC, 0, 0, on_rested, server);
	return r < 0 ? r : sd_event_source_set_enabled(server->rest, SD_EVENT_OFF);
}

int server_start(struct server *server)
{
	return sd_event_add_io(server->manager->event, &server->listener, server->fd, EPOLLIN,
		on_listener, server);
}

struct server *server_free(struct server *server)
{
	struct connection *c;

	if (!server)
		return NULL;
	/* The requests of those who wait stay in the store: their clients come back to the next
	 * daemon. */
	while ((c = LIST_FIRST(&server->connections))) {
		connection_detach(c);
		connection_free(c);
	}
	sd_event_source_disable_unref(server->listener);
	sd_event_source_disable_unref(server->status_timer);
	sd_event_source_disable_unref(server->rest);
	server_forget_status(server);
	if (server->fd >= 0) {
		if (server->path[0])
			unlink(server->path);
		close(server->fd);
	}
	free(server);
	return NULL;
}
