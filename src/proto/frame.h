/* SPDX-License-Identifier: MIT */
/*
 * Varlink framing: messages end with a NUL byte. A reader collects bytes until one is whole, and
 * gives up on a message larger than its limit; nothing is allocated beyond that.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FRAME_REQUEST_MAX (384 * 1024)       /* bytes, what a daemon reads */
#define FRAME_REPLY_MAX   (64 * 1024 * 1024) /* bytes, what a client reads */

struct frame_reader {
	char *buffer; /* owned */
	size_t size, allocated, limit;
	size_t taken;   /* bytes of messages that were handed out; dropped when room is needed */
	size_t scanned; /* no NUL between taken and here */
};

void frame_reader_init(struct frame_reader *reader, size_t limit);
void frame_reader_clear(struct frame_reader *reader);

/*
 * Reads what is there, once. Returns the bytes read, 0 at the end, -EAGAIN, -EMSGSIZE when the
 * message and its NUL are over the limit, -ENOBUFS when the buffer is full of messages that nobody
 * took, or another negative errno. Never buffers more than limit bytes.
 */
ssize_t frame_reader_fill(struct frame_reader *reader, int fd);

/* The next whole message (NUL-terminated), valid until the next call on this reader; NULL if there
 * is none yet. *ret_size is without the NUL. */
char *frame_reader_next(struct frame_reader *reader, size_t *ret_size);

/* What waits to be written: a queue of bytes with a limit. */
struct frame_writer {
	char *buffer;       /* owned */
	size_t start, size; /* the bytes from start up to size wait */
	size_t allocated, limit;
};

void frame_writer_init(struct frame_writer *writer, size_t limit);
void frame_writer_clear(struct frame_writer *writer);

/* Appends one message and its NUL. -ENOBUFS over the limit, -ENOMEM. Nothing is appended on
 * failure. */
int frame_writer_put(struct frame_writer *writer, const char *message, size_t size);

/* Writes what the socket takes (MSG_NOSIGNAL). 1 = all written, 0 = some is left (wait for
 * EPOLLOUT), or negative errno. */
int frame_writer_flush(struct frame_writer *writer, int fd);
