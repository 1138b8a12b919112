/* SPDX-License-Identifier: MIT */
/*
 * The socket and its clients. Birth: accept, count, credentials from the kernel. Life: one call at
 * a time; a frame is read, dispatched, answered after the commit. Death: end of file, a broken
 * frame, a full output queue.
 */
#pragma once

#include <sys/queue.h>
#include <sys/un.h>

#include "daemon/manager.h"
#include "policy/access.h"
#include "proto/frame.h"
#include "proto/message.h"

struct connection {
	struct server *server; /* borrowed */
	LIST_ENTRY(connection) link;
	int fd;
	sd_event_source *io;
	uid_t uid; /* SO_PEERCRED: who connected */
	pid_t pid;
	struct frame_reader in;
	struct frame_writer out;
	bool busy;           /* a call is being answered; nothing more is read until it is */
	bool more, oneway;   /* of that call */
	struct lease *lease; /* borrowed; that it waits for; watch->connection points back */
	bool watches_status; /* gets GetStatus again when something changes */
	bool closing;        /* close once everything is written */
};

struct server {
	struct manager *manager; /* borrowed */
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	sd_event_source *listener, *rest; /* rest: the listener is off until then */
	sd_event_source *status_timer; /* pushes to those who watch, at most ten times a second */
	int64_t status_pushed_us;      /* CLOCK_MONOTONIC */
	char *status[2]; /* owned; the answer of GetStatus, final and not, while nothing changes */
	LIST_HEAD(, connection) connections;
	unsigned n_connections, most; /* most: that there are descriptors for */
};

/* Binds and listens; a stale socket is replaced, a living one refused (-EADDRINUSE). Accepting
 * starts with server_start. */
int server_new(struct manager *m, const char *path, struct server **ret, struct error *err);
int server_start(struct server *server);
struct server *server_free(struct server *server);

/* Answers the call of a connection, after the commit. Each consumes its JSON argument. */
void connection_reply(struct connection *c, json_t *parameters);
void connection_refuse(struct connection *c, const struct verdict *verdict);
void connection_fault(struct connection *c, const struct error *err);
void connection_error(struct connection *c, const char *name, json_t *parameters);

/* Who calls, as the kernel says. */
struct actor connection_actor(const struct connection *c);

/* When the calling process (pid of the connection) started. -ESRCH: it is gone, or cannot be told;
 * -EPERM: it is not the caller's. */
int connection_process(const struct connection *c, uint64_t *ret_start_ticks);

/* After the commit: puts a message on the wire (NULL: there was no memory for it, hangs up). A
 * final one makes the connection ready for its next call. The connection may be gone afterwards. */
void connection_send(struct connection *c, const char *text, bool final);

/* The answer of GetStatus, borrowed until something changes; NULL without memory. Made once for all
 * who ask meanwhile. */
const char *server_status(struct server *server, bool continues);

/* Something that GetStatus shows is being changed, and has been changed (tells those who watch). */
void server_forget_status(struct server *server);
void server_status_changed(struct server *server);

/* dispatch.c: handles one frame. */
void dispatch(struct manager *m, struct connection *c, const char *text, size_t size);
