/* SPDX-License-Identifier: MIT */
/*
 * Backpressure: while a call is answered, or its answer is not read, nothing more is taken from the
 * socket. So a client costs no more than one call and one answer, however fast it sends.
 */
#include "daemon/connection.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/api.h"
#include "daemon/api_report.h"
#include "daemon/batch.h"
#include "daemon/lifecycle.h"
#include "daemon/server.h"
#include "daemon/wait.h"
#include "daemon/watch.h"
#include "priv/process.h"

#ifndef SO_PEERPIDFD /* linux/socket.h, since 6.5 */
#define SO_PEERPIDFD 77
#endif

#define BACKLOG_MAX (8 * 1024 * 1024)  /* bytes; who leaves more unread is hung up on */
#define HOARD_MAX   (16 * 1024 * 1024) /* bytes, unread on all other connections of the user */

void connection_free(struct connection *c)
{
	struct manager *m = c->server->manager;
	struct lease *lease = c->lease;

	batch_forget(m, c);
	waits_free(c->waits);
	reports_forget(m, c);
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

void connection_attach(struct connection *c, struct lease *lease)
{
	struct watch *watch = watch_of(lease);

	c->lease = lease;
	lease->attached = true;
	watch->connection = c;
	watch->left = false;
	watch->told_position = 0;
}

void connection_detach(struct connection *c)
{
	if (c->lease)
		watch_of(c->lease)->connection = NULL;
	c->lease = NULL;
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

size_t connection_unread(const struct connection *c)
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
		if (other != c && other->account == c->account)
			bytes += connection_unread(other);
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

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct connection *c = userdata;
	ssize_t n;

	if (revents & EPOLLOUT) {
		if (connection_follows(c)) /* it missed what changed while it did not read */
			server_push_soon(c->server);
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
	if (revents == EPOLLRDHUP && c->busy && !c->lease && !connection_follows(c)) {
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
	if (final)
		connection_detach(c);
	if (text && !c->oneway &&
		(connection_unread(c) > BACKLOG_MAX ||
			frame_writer_put(&c->out, text, strlen(text)) < 0))
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

int connection_new(
	struct server *server, int fd, const struct ucred *peer, uid_t account, unsigned rank)
{
	struct connection *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->server = server;
	c->uid = peer->uid;
	c->gid = peer->gid;
	c->account = account;
	c->pid = peer->pid;
	frame_reader_init(&c->in, FRAME_REQUEST_MAX);
	frame_writer_init(&c->out, FRAME_REPLY_MAX);
	r = sd_event_add_io(
		server->manager->event, &c->io, fd, EPOLLIN | EPOLLRDHUP, on_connection, c);
	if (r >= 0)
		r = sd_event_source_set_priority(c->io, rank);
	if (r < 0) {
		sd_event_source_disable_unref(c->io);
		free(c);
		return r;
	}
	c->fd = fd;
	LIST_INSERT_HEAD(&server->connections, c, link);
	server->n_connections++;
	return 0;
}
