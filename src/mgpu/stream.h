/* SPDX-License-Identifier: MIT */
/* The output of a job as messages of Multi-GPU Scheduler: lines of {"type": "output", "data": ...}.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

struct stream {
	int fd;
	char rest[4]; /* the beginning of a character that is not whole yet */
	size_t n_rest;
};

/* For struct log_sink, which keeps a struct stream as its userdata. What is not UTF-8 becomes '?'.
 * -EPIPE when nobody reads it any more, or another negative errno. */
int stream_put(void *userdata, const char *text, size_t n);

/* How many bytes the character at s has of the n that there are; 0: it goes on behind them, -1: it
 * is none. */
int stream_character(const char *s, size_t n);

/* Sends what is held back, then {"type": "completion", ...}. */
int stream_end(struct stream *stream, const char *id, int code);

/* Sends one object; with fd >= 0 so that nothing that is sent later is received together with it: a
 * descriptor beside the bytes is a barrier (unix(7)), which recv(2) drops. */
int stream_send(int socket, json_t *object, const char *end, int fd);
