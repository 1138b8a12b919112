/* SPDX-License-Identifier: MIT */
/* JSON is sent as ASCII: clients decode each piece that they receive by itself. */
#include "mgpu/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

int stream_character(const char *s, size_t n)
{
	unsigned char first = (unsigned char)*s;
	size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	char text[5] = "";

	if (first == '\0')
		return 1;
	if (size <= n) {
		memcpy(text, s, size);
		return text_is_utf8(text) ? (int)size : -1;
	}
	/* More may come, unless what is there cannot begin a character. */
	for (size_t i = 1; i < n; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return -1;
	return first >= 0xc2 && first < 0xf5 ? 0 : -1;
}

static int send_all(int socket, const char *text, size_t size, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	while (size > 0) {
		struct iovec piece = { (char *)text, size };
		struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
		ssize_t n;

		if (fd >= 0) {
			message.msg_control = &control;
			message.msg_controllen = sizeof(control);
		}
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		text += MAX(n, 0);
		size -= (size_t)MAX(n, 0);
	}
	return 0;
}

int stream_send(int socket, json_t *object, const char *end, int fd)
{
	_cleanup_(freep) char *text = object ? json_dumps(object, JSON_ENSURE_ASCII) : NULL;
	_cleanup_(freep) char *whole = text ? text_format("%s%s", text, end) : NULL;

	return whole ? send_all(socket, whole, strlen(whole), fd) : -ENOMEM;
}

static int send_output(struct stream *stream, const char *text, size_t n)
{
	json_t *object;
	int r;

	if (n == 0)
		return 0;
	object = json_pack("{ss so}", "type", "output", "data", json_stringn(text, n));
	r = stream_send(stream->fd, object, "\n", -1);
	json_decref(object);
	return r;
}

int stream_put(void *userdata, const char *text, size_t n)
{
	struct stream *stream = userdata;
	_cleanup_(freep) char *whole = malloc(stream->n_rest + n);
	size_t size = stream->n_rest + n, i = 0;

	if (!whole)
		return -ENOMEM;
	memcpy(whole, stream->rest, stream->n_rest);
	memcpy(whole + stream->n_rest, text, n);
	stream->n_rest = 0;
	while (i < size) {
		int r = stream_character(whole + i, size - i);

		if (r == 0)
			break;
		if (r < 0)
			whole[i] = '?';
		i += (size_t)MAX(r, 1);
	}
	stream->n_rest = size - i;
	memcpy(stream->rest, whole + i, stream->n_rest);
	return send_output(stream, whole, i);
}

int stream_end(struct stream *stream, const char *id, int code)
{
	json_t *object =
		json_pack("{ss ss si}", "type", "completion", "job_id", id, "exit_code", code);
	int r = send_output(stream, "???", stream->n_rest);

	stream->n_rest = 0;
	if (r == 0)
		r = stream_send(stream->fd, object, "\n", -1);
	json_decref(object);
	return r;
}
