/* SPDX-License-Identifier: MIT */
/*
 * One client. Birth: credentials from the kernel. Life: one call at a time; a frame is read,
 * dispatched, answered after the commit. Death: end of file, a broken frame, a full output queue.
 */
#pragma once

#include <sys/queue.h>
#include <sys/socket.h>

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
	gid_t gid;
	uid_t account; /* whose limits that counts against */
	pid_t pid;
	struct frame_reader in;
	struct frame_writer out;
	bool busy;           /* a call is being answered; nothing more is read until it is */
	bool more, oneway;   /* of that call */
	struct lease *lease; /* borrowed; that it waits for; watch->connection points back */
	struct waits *waits; /* owned; leases whose end it waits for, see wait.h; or NULL */
	bool watches_status; /* gets GetStatus again when something changes */
	bool follows_events; /* gets Events again when there are new ones */
	int64_t event_after, event_lease; /* of those: after which line, of which lease (0: all) */
	bool closing;                     /* close once everything is written */
};

/* Takes over fd on success. rank: the higher, the later it gets its turn. */
int connection_new(
	struct server *server, int fd, const struct ucred *peer, uid_t account, unsigned rank);
void connection_free(struct connection *c);

/* From now on it waits for this lease. */
void connection_attach(struct connection *c, struct lease *lease);

/* It waits for its lease no more, which goes on without it. */
void connection_detach(struct connection *c);

/* Its call never ends: it is told when something changes. */
static inline bool connection_follows(const struct connection *c)
{
	return c->watches_status || c->follows_events;
}

/* Bytes written for it that it has not read. */
size_t connection_unread(const struct connection *c);

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
