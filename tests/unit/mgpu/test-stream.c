/* SPDX-License-Identifier: MIT */
#include "mgpu/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../tap.h"
#include "base/macro.h"

static int fds[2];
static struct stream stream;

static void begin(void)
{
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	stream = (struct stream){ .fd = fds[0] };
}

static void put(const char *text)
{
	CHECK_INT(stream_put(&stream, text, strlen(text)), 0);
}

/* All that was sent. */
static const char *end(void)
{
	static char text[4096];
	ssize_t n;
	size_t size = 0;

	close(fds[0]);
	while ((n = read(fds[1], text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	text[size] = '\0';
	close(fds[1]);
	return text;
}

static void output_and_its_end(void)
{
	begin();
	put("a\n");
	put("");
	put("b\x1b\"\\");
	CHECK_INT(stream_end(&stream, "00000042", 3), 0);
	CHECK_STR(end(),
		"{\"type\": \"output\", \"data\": \"a\\n\"}\n"
		"{\"type\": \"output\", \"data\": \"b\\u001B\\\"\\\\\"}\n"
		"{\"type\": \"completion\", \"job_id\": \"00000042\", \"exit_code\": 3}\n");
}

static void characters_in_pieces(void)
{
	begin();
	put("\xe2");
	put("\x82");
	put("\xacx\xf0\x9f");
	put("\x98\x80");
	put("\xc3");
	stream_end(&stream, "1", 0);
	CHECK_STR(end(), "{\"type\": \"output\", \"data\": \"\\u20ACx\"}\n"
			 "{\"type\": \"output\", \"data\": \"\\uD83D\\uDE00\"}\n"
			 "{\"type\": \"output\", \"data\": \"?\"}\n"
			 "{\"type\": \"completion\", \"job_id\": \"1\", \"exit_code\": 0}\n");
}

static void what_is_no_character(void)
{
	begin();
	CHECK_INT(stream_put(&stream, "\xff\xc3(\0\x80\xed\xa0\x80", 8), 0);
	CHECK_STR(end(), "{\"type\": \"output\", \"data\": \"?"
			 "?(\\u0000????\"}\n");
	CHECK_INT(stream_character("a", 1), 1);
	CHECK_INT(stream_character("\0", 1), 1);
	CHECK_INT(stream_character("\xc3\xa4", 2), 2);
	CHECK_INT(stream_character("\xf0\x9f\x98", 3), 0);
	CHECK_INT(stream_character("\xf0(", 2), -1);
	CHECK_INT(stream_character("\xc0", 1), -1);
	CHECK_INT(stream_character("\xf8", 1), -1);
	CHECK_INT(stream_character("\x80", 1), -1);
}

static void nobody_reads(void)
{
	begin();
	close(fds[1]);
	CHECK_INT(stream_put(&stream, "x", 1), -EPIPE);
	close(fds[0]);
}

/* The first answer to an interactive client. */
static void a_descriptor_is_a_barrier(void)
{
	char text[4096];
	json_t *object = json_pack("{ss}", "status", "ok");

	begin();
	CHECK_INT(stream_send(fds[0], object, "", STDERR_FILENO), 0);
	put("x");
	json_decref(object);
	CHECK_INT(recv(fds[1], text, sizeof(text), 0), (ssize_t)strlen("{\"status\": \"ok\"}"));
	CHECK_STR(end(), "{\"type\": \"output\", \"data\": \"x\"}\n");
}

int main(void)
{
	TEST(output_and_its_end);
	TEST(characters_in_pieces);
	TEST(what_is_no_character);
	TEST(nobody_reads);
	TEST(a_descriptor_is_a_barrier);
	return tap_done();
}
