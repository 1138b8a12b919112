/* SPDX-License-Identifier: MIT */
#include "daemon/server.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/parse.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "daemon/listen.h"
#include "daemon/watch.h"
#include "priv/process.h"

#ifndef SO_PEERPIDFD /* linux/socket.h, since 6.5 */
#define SO_PEERPIDFD 77
#endif

#define ACCEPT_MAX     16                 /* connections a wake-up, so that others get their turn */
#define BACKLOG_MAX    (8 * 1024 * 1024)  /* bytes unread by a client that gets no more */
#define HOARD_MAX      (16 * 1024 * 1024) /* the same for all others of one user together */
#define STATUS_PUSH_US (USEC_PER_SEC / 10)
#define STATUS_WAIT_US (USEC_PER_SEC / 1000)
#define FDS_KEPT       512 /* for pidfds of leases, cgroups, database, sensor */
#define ACCEPT_REST_US USEC_PER_SEC
#define RANK_MAX       (SD_EVENT_PRIORITY_IDLE - 1)
#define RESERVED       16 /* connections kept for root, so that an administrator always gets in */

static void connection_free(struct connection *c)
{
	struct manager *m = c->server->manager;
	struct lease *lease = c->lease;

	batch_forget(m, c);
	if (lease) {
		watch_of(lease)->connection = NULL;
		watch_of(lease)->left = true;
		lease->attached = false;
		if (lease->state == LEASE_WAITING)
			lifecycle_end(
				m, lease, LEASE_END_GONE, clock_now(&m->clock), lease->uid, NULL);
	}
	LIST_REMOVE(c, link);
	c->server->n_connections--;
	sd_event_source_disable_unref(c->io);
	closep(&c->fd);
	frame_reader_clear(&c->in);
	frame_writer_clear(&c->out);
	free(c);
}

/* While a call is answered or an answer is unread, only hang-up matters: what the client sends
 * meanwhile stays in the socket, so one who does not read costs no more than one answer. */
static void update_io(struct connection *c, bool writing)
{
	uint32_t events = c->closing ? 0 : EPOLLRDHUP;

	if (writing)
		events |= EPOLLOUT;
	else if (!c->busy && !c->closing)
		events |= EPOLLIN;
	sd_event_source_set_io_events(c->io, events);
}

static void connection_next_call(struct connection *c)
{
	size_t size;
	char *text = frame_reader_next(&c->in, &size);

	c->busy = text != NULL;
	update_io(c, false);
	if (text) {
		dispatch(c->server->manager, c, text, size);
		batch_call(c->server->manager);
	}
}

static size_t unread(const struct connection *c)
{
	return c->out.size - c->out.start;
}

/* Security: do the other connections of this user leave so much unread that this one may not, too?
 * (One alone may: that is as much as one answer.) */
static bool hoards(const struct connection *c)
{
	const struct connection *other;
	size_t bytes = 0;

	LIST_FOREACH (other, &c->server->connections, link)
		if (other != c && other->uid == c->uid)
			bytes += unread(other);
	return bytes > HOARD_MAX;
}

/* Writes what can be written. False: the connection is gone. The next call may be here already, but
 * must not be taken while a batch is settled: it comes when the socket says that it is writable. */
static bool connection_flush(struct connection *c)
{
	int r = frame_writer_flush(&c->out, c->fd);

	if (r < 0 || (r == 1 && c->closing) || (r == 0 && hoards(c))) {
		connection_free(c);
		return false;
	}
	update_io(c, r == 0 || (!c->busy && c->in.size > c->in.taken));
	return true;
}

static void on_writable(struct connection *c)
{
	if (connection_flush(c) && !c->busy && c->out.size == c->out.start)
		connection_next_call(c);
}

/* The status, to those who watch; not too often. */
static void push_soon(struct server *server)
{
	struct connection *c;
	int enabled = SD_EVENT_OFF;

	LIST_FOREACH (c, &server->connections, link)
		if (c->watches_status)
			break;
	if (!c || sd_event_source_get_enabled(server->status_timer, &enabled) != 0)
		return;
	sd_event_source_set_time(
		server->status_timer, (uint64_t)(server->status_pushed_us + STATUS_PUSH_US));
	sd_event_source_set_enabled(server->status_timer, SD_EVENT_ONESHOT);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct connection *c = userdata;
	ssize_t n;

	if (revents & EPOLLOUT) {
		if (c->watches_status) /* it missed what changed while it did not read */
			push_soon(c->server);
		on_writable(c);
		return 0;
	}
	if (!c->busy && !c->closing && (revents & EPOLLIN)) {
		n = frame_reader_fill(&c->in, c->fd);
		if (n == -EMSGSIZE) {
			struct verdict v = verdict_make(VERDICT_INVALID, "call.too-large",
				"the message is larger than %d bytes", FRAME_REQUEST_MAX);

			c->busy = c->closing = true;
			update_io(c, false); /* what is left to read would keep the loop awake */
			connection_refuse(c, &v);
			return 0;
		}
		if (n <= 0 && n != -EAGAIN) {
			connection_free(c);
			return 0;
		}
		connection_next_call(c);
		return 0;
	}
	if (revents == EPOLLRDHUP && c->busy && !c->lease && !c->watches_status) {
		/* It will send no more, but still reads: its answer is on the way. */
		c->closing = true;
		update_io(c, false);
	} else if (revents & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
		connection_free(c);
	}
	return 0;
}

void connection_send(struct connection *c, const char *text, bool final)
{
	if (final && c->lease) {
		watch_of(c->lease)->connection = NULL;
		c->lease = NULL;
	}
	if (text && !c->oneway &&
		(unread(c) > BACKLOG_MAX || frame_writer_put(&c->out, text, strlen(text)) < 0))
		text = NULL;
	if (!text) {
		connection_free(c);
		return;
	}
	if (final)
		c->busy = false;
	connection_flush(c);
}

void connection_reply(struct connection *c, json_t *parameters)
{
	_cleanup_(json_decrefp) json_t *owned = parameters;

	batch_reply(c->server->manager, c, owned ? message_reply(owned, false) : NULL, true);
}

void connection_refuse(struct connection *c, const struct verdict *verdict)
{
	batch_reply(c->server->manager, c, message_verdict(verdict), true);
}

void connection_fault(struct connection *c, const struct error *err)
{
	batch_reply(c->server->manager, c, message_fault(err), true);
}

void connection_error(struct connection *c, const char *name, json_t *parameters)
{
	_cleanup_(json_decrefp) json_t *owned = parameters;

	batch_reply(c->server->manager, c, message_error(name, owned), true);
}

static bool in_group(const struct connection *c, gid_t gid)
{
	_cleanup_(freep) gid_t *groups = NULL;
	socklen_t size = 0;
	struct ucred peer;
	socklen_t peer_size = sizeof(peer);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) == 0 && peer.gid == gid)
		return true;
	/* Without room it tells how much it takes. */
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return false;
	groups = malloc(size);
	if (!groups || getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof(*groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

struct actor connection_actor(const struct connection *c)
{
	const struct manager *m = c->server->manager;

	/* Security: an administrator is root, whoever runs a daemon of their own, or who was in the
	 * admin group when the kernel made this connection. */
	return (struct actor){
		.uid = c->uid,
		.admin = c->uid == 0 || c->uid == geteuid() ||
			 (m->config->admin_group != (gid_t)-1 &&
				 in_group(c, m->config->admin_group)),
	};
}

/* A pidfd of the process that connected. -ENOPROTOOPT: this kernel has none to give. */
static int peer_pidfd(const struct connection *c)
{
	socklen_t size = sizeof(int);
	int fd;

	return getsockopt(c->fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) < 0 ? -errno : fd;
}

int connection_process(const struct connection *c, uint64_t *ret_start_ticks)
{
	_cleanup_(closep) int fd = -1;
	uint64_t start_ticks;
	int r;

	if (c->pid <= 0)
		return -ESRCH;
	/* Security: the pidfd of the peer names the process that connected, even if it ended and
	 * its pid was taken over. Whatever goes wrong with it means that the process is gone; only
	 * before 6.5 is there nothing but the pid. */
	fd = peer_pidfd(c);
	if (fd < 0 && fd != -ENOPROTOOPT)
		return -ESRCH;
	r = process_start_ticks(c->pid, &start_ticks);
	if (r < 0)
		return r;
	/* Security: what is a lease's gets moved and killed, so nobody offers for it what they
	 * could not kill by themselves. */
	r = process_check_owner(c->pid, c->uid);
	if (r < 0)
		return r;
	if (fd >= 0 && poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) != 0)
		return -ESRCH;
	*ret_start_ticks = start_ticks;
	return 0;
}

static unsigned connections_of(const struct server *server, uid_t uid)
{
	struct connection *c;
	unsigned n = 0;

	LIST_FOREACH (c, &server->connections, link)
		n += c->uid == uid;
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

static bool has_room(const struct server *server, int fd, uid_t uid)
{
	const struct config *config = server->manager->config;
	unsigned most = MIN(config->connections, server->most);

	/* Security: what one uid or all together can open is bounded; root keeps a way in. */
	if (uid != 0 && server->n_connections + RESERVED >= most) {
		turn_away(fd, "limit.connections", "dibsd has too many clients; try again later");
		return false;
	}
	if (uid != 0 && connections_of(server, uid) >= config->connections_per_user) {
		turn_away(fd, "limit.connections-per-user",
			"you have too many connections to dibsd; end some of your clients first");
		return false;
	}
	return true;
}

static void connection_new(struct server *server, int accepted)
{
	_cleanup_(closep) int fd = accepted;
	struct connection *c;
	struct ucred peer;
	socklen_t size = sizeof(peer);

	/* Security: the only source of identity. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
		!has_room(server, fd, peer.uid))
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->server = server;
	c->uid = peer.uid;
	c->pid = peer.pid;
	frame_reader_init(&c->in, FRAME_REQUEST_MAX);
	frame_writer_init(&c->out, FRAME_REPLY_MAX);
	/* Security: the second connection of a user comes after the first of everybody, and so on;
	 * who has many calls with them delays mostly themselves. */
	if (sd_event_add_io(server->manager->event, &c->io, fd, EPOLLIN | EPOLLRDHUP, on_connection,
		    c) < 0 ||
		sd_event_source_set_priority(
			c->io, MIN(connections_of(server, c->uid), (unsigned)RANK_MAX)) < 0) {
		sd_event_source_disable_unref(c->io);
		free(c);
		return;
	}
	c->fd = TAKE_FD(fd);
	LIST_INSERT_HEAD(&server->connections, c, link);
	server->n_connections++;
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
		connection_new(server, fd);
	}
	return 0;
}

const char *server_status(struct server *server, bool continues)
{
	char **text = &server->status[continues];
	_cleanup_(json_decrefp) json_t *status = NULL;

	if (*text)
		return *text;
	status = api_status(server->manager);
	*text = status ? message_reply(status, continues) : NULL;
	return *text;
}

void server_forget_status(struct server *server)
{
	for (size_t i = 0; i < ELEMENTSOF(server->status); i++) {
		free(server->status[i]);
		server->status[i] = NULL;
	}
}

static int on_status_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	struct connection *c, *next;

	if (batch_pending(server->manager)) { /* a moment later; settling alone pushes nothing */
		sd_event_source_set_time_relative(source, STATUS_WAIT_US);
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	for (c = LIST_FIRST(&server->connections); c; c = next) {
		next = LIST_NEXT(c, link);
		if (!c->watches_status || unread(c) > 0)
			continue; /* who has not read the last one gets none on top of it */
		connection_send(c, server_status(server, true), false);
	}
	sd_event_now(server->manager->event, CLOCK_MONOTONIC, &usec);
	server->status_pushed_us = (int64_t)usec;
	return 0;
}

void server_status_changed(struct server *server)
{
	server_forget_status(server);
	push_soon(server);
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
		if (c->lease)
			watch_of(c->lease)->connection = NULL;
		c->lease = NULL;
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
