/* SPDX-License-Identifier: MIT */
#include "proto/frame.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/macro.h"

static void pair(int fds[2])
{
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

static void a_message_split_anywhere_is_whole(void)
{
	static const char bytes[] = "{\"method\":\"a.B\"}\0{}";

	for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
		_cleanup_(frame_reader_clear) struct frame_reader reader;
		size_t size = 0;
		char *message;
		int fds[2];

		pair(fds);
		frame_reader_init(&reader, 64);
		write_all(fds[0], bytes, cut);
		CHECK_INT(frame_reader_fill(&reader, fds[1]), cut > 0 ? (ssize_t)cut : -EAGAIN);
		message = frame_reader_next(&reader, &size);
		if (cut < 17)
			CHECK(!message);
		else
			CHECK_STR(message, "{\"method\":\"a.B\"}");
		write_all(fds[0], bytes + cut, sizeof(bytes) - cut);
		close(fds[0]);
		if (cut < sizeof(bytes))
			CHECK_INT(frame_reader_fill(&reader, fds[1]), sizeof(bytes) - cut);
		if (cut < 17) {
			message = frame_reader_next(&reader, &size);
			CHECK_STR(message, "{\"method\":\"a.B\"}");
			CHECK_INT(size, 16);
		}
		message = frame_reader_next(&reader, &size);
		CHECK_STR(message, "{}");
		CHECK_INT(size, 2);
		CHECK(!frame_reader_next(&reader, &size));
		CHECK_INT(frame_reader_fill(&reader, fds[1]), 0);
		close(fds[1]);
	}
}

static void many_arrive_at_once_and_none_is_lost(void)
{
	/* An empty message is one too: the parser refuses it. */
	static const char *const expected[] = { "one", "", "three" };
	_cleanup_(frame_reader_clear) struct frame_reader reader;
	size_t size;
	int fds[2];

	pair(fds);
	frame_reader_init(&reader, FRAME_REQUEST_MAX);
	write_all(fds[0], "one\0\0three\0half", 15);
	CHECK_INT(frame_reader_fill(&reader, fds[1]), 15);
	for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
		CHECK_STR(frame_reader_next(&reader, &size), expected[i]);
		CHECK_INT(size, strlen(expected[i]));
	}
	CHECK(!frame_reader_next(&reader, &size));
	write_all(fds[0], "", 1);
	CHECK_INT(frame_reader_fill(&reader, fds[1]), 1);
	CHECK_STR(frame_reader_next(&reader, &size), "half");
	close(fds[0]);
	close(fds[1]);
}

static void a_message_over_the_limit_is_refused(void)
{
	_cleanup_(frame_reader_clear) struct frame_reader reader;
	size_t size;
	int fds[2];

	pair(fds);
	frame_reader_init(&reader, 8);
	write_all(fds[0], "1234567\0", 8); /* with its NUL exactly the limit */
	CHECK_INT(frame_reader_fill(&reader, fds[1]), 8);
	CHECK_INT(frame_reader_fill(&reader, fds[1]), -ENOBUFS); /* nobody took it */
	CHECK_STR(frame_reader_next(&reader, &size), "1234567");
	CHECK(!frame_reader_next(&reader, &size));
	write_all(fds[0], "12345678\0", 9);
	CHECK_INT(frame_reader_fill(&reader, fds[1]), -EMSGSIZE);
	CHECK_INT(reader.size, 8);
	CHECK(!frame_reader_next(&reader, &size));
	CHECK_INT(frame_reader_fill(&reader, fds[1]), -EMSGSIZE);
	close(fds[0]);
	close(fds[1]);
}

static void an_idle_connection_keeps_little(void)
{
	static const char big[20000] = "x";
	_cleanup_(frame_reader_clear) struct frame_reader reader;
	_cleanup_(frame_writer_clear) struct frame_writer writer;
	size_t size;
	int fds[2];

	pair(fds);
	frame_reader_init(&reader, FRAME_REQUEST_MAX);
	frame_writer_init(&writer, FRAME_REQUEST_MAX);
	CHECK_INT(frame_writer_put(&writer, big, sizeof(big)), 0);
	CHECK(writer.allocated > sizeof(big));
	CHECK_INT(frame_writer_flush(&writer, fds[0]), 1);
	CHECK_INT(writer.allocated, 0);
	while (frame_reader_fill(&reader, fds[1]) > 0)
		;
	CHECK(reader.allocated > sizeof(big));
	while (frame_reader_next(&reader, &size))
		;
	CHECK_INT(reader.allocated, 0);
	close(fds[0]);
	close(fds[1]);
}

static void a_reader_that_fails_says_why(void)
{
	_cleanup_(frame_reader_clear) struct frame_reader reader;

	frame_reader_init(&reader, 8);
	CHECK_INT(frame_reader_fill(&reader, -1), -EBADF);
}

static void a_full_writer_takes_nothing_more(void)
{
	_cleanup_(frame_writer_clear) struct frame_writer writer;

	frame_writer_init(&writer, 8);
	CHECK_INT(frame_writer_put(&writer, "12345678", 8), -ENOBUFS);
	CHECK_INT(frame_writer_put(&writer, "123", 3), 0);
	CHECK_INT(frame_writer_put(&writer, "1234", 4), -ENOBUFS);
	CHECK_INT(frame_writer_put(&writer, "123", 3), 0);
	CHECK_INT(frame_writer_put(&writer, "", 0), -ENOBUFS);
	CHECK_INT(writer.size - writer.start, 8);
	CHECK_STR(writer.buffer, "123");
	CHECK_STR(writer.buffer + 4, "123");
}

/* The n-th of a row of messages, each of another letter and a byte shorter. */
static bool put_nth(struct frame_writer *writer, size_t n)
{
	char message[3000];

	memset(message, (int)('a' + n % 26), sizeof(message));
	return frame_writer_put(writer, message, sizeof(message) - n) == 0;
}

/* A peer that reads slowly: messages are put while older ones are half written. */
static void what_the_socket_does_not_take_waits(void)
{
	_cleanup_(frame_reader_clear) struct frame_reader reader;
	_cleanup_(frame_writer_clear) struct frame_writer writer;
	size_t size, put = 0, got = 0, partial = 0;
	int fds[2], tiny = 1;

	pair(fds);
	CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny)), 0);
	frame_reader_init(&reader, 4096);
	frame_writer_init(&writer, 16384);
	while (got < 200) {
		char *received;

		while (put < 200 && put_nth(&writer, put))
			put++;
		partial += frame_writer_flush(&writer, fds[0]) == 0;
		frame_reader_fill(&reader, fds[1]);
		while ((received = frame_reader_next(&reader, &size))) {
			CHECK_INT(size, 3000 - got);
			CHECK_INT(received[0], 'a' + (int)(got % 26));
			CHECK_INT(received[size - 1], 'a' + (int)(got % 26));
			got++;
		}
	}
	CHECK(partial > 0);
	CHECK_INT(frame_writer_flush(&writer, fds[0]), 1);
	close(fds[1]);
	CHECK_INT(frame_writer_put(&writer, "x", 1), 0);
	CHECK_INT(frame_writer_flush(&writer, fds[0]), -EPIPE); /* and no SIGPIPE */
	close(fds[0]);
}

int main(void)
{
	TEST(a_message_split_anywhere_is_whole);
	TEST(many_arrive_at_once_and_none_is_lost);
	TEST(a_message_over_the_limit_is_refused);
	TEST(an_idle_connection_keeps_little);
	TEST(a_reader_that_fails_says_why);
	TEST(a_full_writer_takes_nothing_more);
	TEST(what_the_socket_does_not_take_waits);
	return tap_done();
}
