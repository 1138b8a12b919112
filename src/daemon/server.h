/* SPDX-License-Identifier: MIT */
/*
 * The listener: who is let in, how many at a time, and what those get who watch the status.
 */
#pragma once

#include <sys/queue.h>
#include <sys/un.h>

#include "daemon/manager.h"

struct connection;

struct server {
	struct manager *manager; /* borrowed */
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	sd_event_source *listener, *rest; /* rest: the listener is off until then */
	sd_event_source *status_timer; /* pushes to those who watch, at most ten times a second */
	int64_t status_pushed_us;      /* CLOCK_MONOTONIC */
	int64_t status_pause_us;       /* until the next push */
	char *status[2]; /* owned; the answer of GetStatus, final and not, while nothing changes */
	LIST_HEAD(, connection) connections;
	unsigned n_connections, most; /* most: that there are descriptors for */
};

/* Binds and listens; a stale socket is replaced, a living one refused (-EADDRINUSE). Accepting
 * starts with server_start. */
int server_new(struct manager *m, const char *path, struct server **ret, struct error *err);
int server_start(struct server *server);
struct server *server_free(struct server *server);

/* The answer of GetStatus, borrowed until something changes; NULL without memory. Made once for all
 * who ask meanwhile. */
const char *server_status(struct server *server, bool continues);

/* Something that GetStatus shows is being changed, and has been changed (tells those who watch). */
void server_forget_status(struct server *server);
void server_status_changed(struct server *server);

/* Tells those who watch, a moment later: not too often. */
void server_push_soon(struct server *server);
