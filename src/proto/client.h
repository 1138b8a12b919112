/* SPDX-License-Identifier: MIT */
/* The client's side of the socket. Blocking; no library but jansson, so that commands start fast.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "proto/frame.h"

#define CLIENT_SOCKET_DEFAULT "/run/dibs/socket"

/* The exit codes of the command line. */
enum client_exit {
	EXIT_OK = 0,
	EXIT_FAULT = 1,
	EXIT_INVALID = 2,
	EXIT_REFUSED = 3,
	EXIT_NOT_FREE = 4,
	EXIT_UNREACHABLE = 5,
};

struct client {
	int fd;
	struct frame_reader reader;
};

/* Where the socket is. path: what the user said, or NULL: then $DIBS_SOCKET, else the default. */
const char *client_path(const char *path);

/* path: as above. -ENOENT/-ECONNREFUSED (no daemon), -EACCES (may not),
 * each with what to do about it in err. The socket is close-on-exec. */
int client_connect(struct client *client, const char *path, struct error *err);
void client_close(struct client *client);

/*
 * Sends a call; parameters is borrowed and may be NULL. -EMSGSIZE when it is over the limit of the
 * daemon. That the daemon hung up is no failure here: client_receive tells, and has its last words
 * first.
 */
int client_send(struct client *client, const char *method, json_t *parameters, bool more,
	struct error *err);

/*
 * The next reply. Returns 0 and the parameters in *ret (owned by the caller), with *ret_continues;
 * or the daemon's error as -EREMOTEIO, whose text is in err and whose exit code is in *ret_exit;
 * -ECONNRESET when the daemon went away. ret_exit is also set for every other failure
 * (EXIT_UNREACHABLE or EXIT_FAULT).
 */
int client_receive(struct client *client, json_t **ret, bool *ret_continues,
	enum client_exit *ret_exit, struct error *err);

/* Connect, send, receive one reply, close: returns an exit code, EXIT_OK with *ret owned by the
 * caller. EXIT_UNREACHABLE also if there is no reply for CALL_PATIENCE_SEC. */
#define CALL_PATIENCE_SEC 30
enum client_exit client_call(
	const char *path, const char *method, json_t *parameters, json_t **ret, struct error *err);
