/* SPDX-License-Identifier: MIT */
/* Accepts clients, and gives each a process. */
#pragma once

#include <sys/types.h>

#include "mgpu/listen.h"
#include "mgpu/session.h"

#define SERVER_CLIENTS_MAX 512 /* at a time */
#define SERVER_USER_MAX    64  /* of one user */

struct server {
	const struct listener *listener; /* borrowed */
	struct session_options options;
	int signals;
	struct server_client {
		pid_t pid;
		uid_t uid;
	} clients[SERVER_CLIENTS_MAX];
	size_t n_clients;
};

/* Signals wait for server_run from now on. Negative errno with a sentence. */
int server_open(struct server *server, struct error *err);

/* Serves until SIGTERM or SIGINT; then 0. Clients that are being served stay. Negative errno with a
 * sentence. */
int server_run(struct server *server, struct error *err);
