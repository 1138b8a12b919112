/* SPDX-License-Identifier: MIT */
/*
 * Getting back to a dibsd that was restarted or upgraded: inotify on the directory of the socket
 * tells when it is back, and a growing timeout covers what inotify cannot see (the socket was made
 * but nobody listens yet, the directory itself was replaced).
 */
#pragma once

struct comeback {
	int inotify;    /* readable when something happened there; -1 = there is none */
	int timeout_ms; /* to try again at the latest */
};

/* path: of the socket, as client_connect takes it. Never fails. */
void comeback_begin(struct comeback *comeback, const char *path);
void comeback_end(struct comeback *comeback);

/* inotify is readable, or the timeout is over: what holds for the next attempt. */
void comeback_note(struct comeback *comeback);

/* Waits until it is worth an attempt. */
void comeback_pause(struct comeback *comeback);
