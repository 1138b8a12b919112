/* SPDX-License-Identifier: MIT */
/*
 * The first byte is how much arrives at once, the rest is a stream. What the reader hands out, and
 * the writer sends on, must be that stream up to its last NUL or its first message over the limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"
#include "fuzz.h"
#include "proto/frame.h"

#define LIMIT      64
#define STREAM_MAX 16384 /* fits into a pipe and a socket */

static const uint8_t *stream;
static size_t stream_size, seen;

/* Takes what is whole, compares, and passes it on. */
static void take(struct frame_reader *reader, struct frame_writer *writer, int out)
{
	size_t size;
	char *message;

	while ((message = frame_reader_next(reader, &size))) {
		REQUIRE(size < LIMIT && message[size] == '\0');
		REQUIRE(seen + size < stream_size);
		REQUIRE(memcmp(message, stream + seen, size + 1) == 0);
		seen += size + 1;
		if (frame_writer_put(writer, message, size) == 0)
			continue;
		REQUIRE(frame_writer_flush(writer, out) == 1);
		REQUIRE(frame_writer_put(writer, message, size) == 0);
	}
}

/* Everything that was written, in one piece. */
static void compare_written(int in)
{
	uint8_t written[STREAM_MAX + 1];
	ssize_t n = recv(in, written, sizeof(written), MSG_DONTWAIT);

	REQUIRE(n == (ssize_t)seen || (n < 0 && seen == 0));
	REQUIRE(seen == 0 || memcmp(written, stream, seen) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(frame_reader_clear) struct frame_reader reader;
	_cleanup_(frame_writer_clear) struct frame_writer writer;
	int ends[2], sockets[2];
	size_t fed = 0;
	ssize_t r = 0;

	frame_reader_init(&reader, LIMIT);
	frame_writer_init(&writer, 2 * LIMIT);
	if (size < 1 || size > STREAM_MAX)
		return 0;
	stream = data + 1;
	stream_size = size - 1;
	seen = 0;
	REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
	while (fed < stream_size && r != -EMSGSIZE) {
		size_t n = MIN((size_t)data[0] + 1, stream_size - fed);

		REQUIRE(write(ends[1], stream + fed, n) == (ssize_t)n);
		fed += n;
		while ((r = frame_reader_fill(&reader, ends[0])) > 0)
			take(&reader, &writer, sockets[0]);
		take(&reader, &writer, sockets[0]);
		REQUIRE(r == -EAGAIN || r == -EMSGSIZE);
	}
	if (r == -EMSGSIZE)
		REQUIRE(stream_size - seen >= LIMIT && !memchr(stream + seen, '\0', LIMIT));
	else
		REQUIRE(!memchr(stream + seen, '\0', stream_size - seen));
	REQUIRE(frame_writer_flush(&writer, sockets[0]) == 1);
	compare_written(sockets[1]);
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(sockets[i]);
	}
	return 0;
}
