/* SPDX-License-Identifier: MIT */
/*
 * Both directions keep one contiguous buffer that doubles up to the limit. Whole messages are
 * handed out in place, so that parsing copies nothing, and what was handed out or written stays
 * where it is until room is needed: moving the rest up after each message would make a flood of
 * tiny ones quadratic. A buffer that has become empty shrinks back, because a daemon keeps
 * thousands of idle connections.
 */
#include "proto/frame.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"

#define BUFFER_START 512 /* bytes, room for most calls; also what an idle connection keeps */

static int buffer_grow(char **buffer, size_t *allocated, size_t need, size_t limit)
{
	size_t size = MIN(MAX(MAX(need, *allocated * 2), BUFFER_START), limit);
	char *grown;

	if (need <= *allocated)
		return 0;
	grown = realloc(*buffer, size);
	if (!grown)
		return -ENOMEM;
	*buffer = grown;
	*allocated = size;
	return 0;
}

static void buffer_shrink(char **buffer, size_t *allocated)
{
	if (*allocated <= BUFFER_START)
		return;
	free(*buffer);
	*buffer = NULL;
	*allocated = 0;
}

void frame_reader_init(struct frame_reader *reader, size_t limit)
{
	*reader = (struct frame_reader){ .limit = limit };
}

void frame_reader_clear(struct frame_reader *reader)
{
	free(reader->buffer);
	frame_reader_init(reader, reader->limit);
}

/* Moves what was not handed out to the front. */
static void reader_compact(struct frame_reader *reader)
{
	if (reader->taken > 0) {
		reader->size -= reader->taken;
		reader->scanned -= reader->taken;
		memmove(reader->buffer, reader->buffer + reader->taken, reader->size);
		reader->taken = 0;
	}
	if (reader->size == 0)
		buffer_shrink(&reader->buffer, &reader->allocated);
}

/* Is a whole message there? If so, its NUL is at scanned. */
static bool reader_scan(struct frame_reader *reader)
{
	size_t left = reader->size - reader->scanned;
	char *end = left > 0 ? memchr(reader->buffer + reader->scanned, '\0', left) : NULL;

	reader->scanned = end ? (size_t)(end - reader->buffer) : reader->size;
	return end;
}

ssize_t frame_reader_fill(struct frame_reader *reader, int fd)
{
	ssize_t n;
	int r;

	reader_compact(reader);
	if (reader->size == reader->limit)
		return reader_scan(reader) ? -ENOBUFS : -EMSGSIZE;
	r = buffer_grow(&reader->buffer, &reader->allocated, reader->size + 1, reader->limit);
	if (r < 0)
		return r;
	do
		n = read(fd, reader->buffer + reader->size, reader->allocated - reader->size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	reader->size += (size_t)n;
	if (reader->size == reader->limit && !reader_scan(reader))
		return -EMSGSIZE;
	return n;
}

char *frame_reader_next(struct frame_reader *reader, size_t *ret_size)
{
	char *message;

	if (!reader_scan(reader)) {
		reader_compact(reader);
		return NULL;
	}
	message = reader->buffer + reader->taken;
	*ret_size = reader->scanned - reader->taken;
	reader->taken = ++reader->scanned;
	return message;
}

void frame_writer_init(struct frame_writer *writer, size_t limit)
{
	*writer = (struct frame_writer){ .limit = limit };
}

void frame_writer_clear(struct frame_writer *writer)
{
	free(writer->buffer);
	frame_writer_init(writer, writer->limit);
}

int frame_writer_put(struct frame_writer *writer, const char *message, size_t size)
{
	size_t waiting = writer->size - writer->start;
	int r;

	if (size >= writer->limit - waiting)
		return -ENOBUFS;
	if (writer->start > 0 && size >= writer->allocated - writer->size) {
		memmove(writer->buffer, writer->buffer + writer->start, waiting);
		writer->start = 0;
		writer->size = waiting;
	}
	r = buffer_grow(&writer->buffer, &writer->allocated, waiting + size + 1, writer->limit);
	if (r < 0)
		return r;
	memcpy(writer->buffer + writer->size, message, size);
	writer->size += size;
	writer->buffer[writer->size++] = '\0';
	return 0;
}

int frame_writer_flush(struct frame_writer *writer, int fd)
{
	while (writer->start < writer->size) {
		ssize_t n = send(fd, writer->buffer + writer->start, writer->size - writer->start,
			MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		writer->start += (size_t)n;
	}
	writer->start = writer->size = 0;
	buffer_shrink(&writer->buffer, &writer->allocated);
	return 1;
}
