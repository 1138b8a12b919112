/* SPDX-License-Identifier: MIT */
/*
 * Of hiredis this uses what connects, what makes commands and what parses replies. Reading is done
 * here: its own would wait for as long as every read brings a byte, and grow for as long as there
 * are more.
 */
#include "import/redis.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"

#define ID "redis"

struct address {
	char host[200];
	uint64_t port;
};

static int parse_address(const char *text, struct address *ret, struct error *err)
{
	const char *colon = strrchr(text, ':'), *host = text;
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(ret->host) || parse_uint(colon + 1, 1, 65535, &ret->port) < 0)
		return error_set(err, -EINVAL, ID,
			"'%.100s' is not HOST:PORT, as localhost:6379 or [::1]:6379", text);
	memcpy(ret->host, host, n);
	ret->host[n] = '\0';
	return 0;
}

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, ID, "out of memory");
}

static int connect_to(struct redis *redis, const char *host_port, struct error *err)
{
	struct timeval connecting = { .tv_sec = REDIS_CONNECT_SEC };
	struct timeval sending = { .tv_sec = REDIS_COMMAND_SEC };
	struct address address;
	int r = parse_address(host_port, &address, err);

	if (r < 0)
		return r;
	text_copy(redis->where, sizeof(redis->where), host_port);
	redis->context = redisConnectWithTimeout(address.host, (int)address.port, connecting);
	if (!redis->context)
		return no_memory(err);
	if (redis->context->err)
		return error_set(err, -ECONNREFUSED, ID, "cannot reach the Redis at %s: %s",
			redis->where, redis->context->errstr);
	if (redisSetTimeout(redis->context, sending) != REDIS_OK)
		return error_errno(err, -errno, ID, "cannot set a timeout");
#if HIREDIS_MAJOR >= 1
	redis->context->reader->maxelements = REDIS_REPLY_MAX / 4; /* none is shorter: ":1\r\n" */
#endif
	return 0;
}

static int authenticate(struct redis *redis, const char *password, struct error *err)
{
	_cleanup_(freeReplyObjectp) redisReply *reply = NULL;
	int r = password ? redis_call(redis, &reply, err, "AUTH %s", password) : 0;

	return r < 0 ? error_prefix(err, r, "the password in REDISCLI_AUTH") : 0;
}

int redis_open(const char *host_port, const char *password, unsigned db, struct redis *ret,
	struct error *err)
{
	_cleanup_(redis_close) struct redis redis = {
		.end_ms = clock_monotonic_ms() + REDIS_TOTAL_SEC * 1000,
	};
	_cleanup_(freeReplyObjectp) redisReply *reply = NULL;
	int r = connect_to(&redis, host_port, err);

	if (r == 0)
		r = authenticate(&redis, password, err);
	if (r == 0)
		r = redis_call(&redis, &reply, err, "SELECT %d", (int)db);
	if (r < 0)
		return r;
	*ret = redis;
	redis.context = NULL;
	return 0;
}

void redis_close(struct redis *redis)
{
	if (redis->context)
		redisFree(redis->context);
	redis->context = NULL;
}

bool redis_is_array(const redisReply *reply, int n)
{
	return reply->type == REDIS_REPLY_ARRAY && (n < 0 || reply->elements == (size_t)n);
}

/* What it says when it does not do as it was told. */
static int refused(const struct redis *redis, const redisReply *reply, struct error *err)
{
	if (strncmp(reply->str, "WRONGTYPE", strlen("WRONGTYPE")) == 0)
		return error_set(err, -EBADMSG, ID, "it is of another type than canhazgpu's");
	if (strncmp(reply->str, "NOAUTH", strlen("NOAUTH")) == 0)
		return error_set(err, -EACCES, ID,
			"the Redis at %s wants a password: put it into the environment as "
			"REDISCLI_AUTH",
			redis->where);
	return error_set(
		err, -EREMOTEIO, ID, "the Redis at %s refuses: %.200s", redis->where, reply->str);
}

static int send_command(struct redis *redis, struct error *err)
{
	int done = 0;

	while (!done)
		if (redisBufferWrite(redis->context, &done) != REDIS_OK)
			return error_set(err, -EIO, ID, "cannot write to the Redis at %s: %s",
				redis->where, redis->context->errstr);
	return 0;
}

/* What there is by now, or in a moment. Returns how many bytes it was. */
static ssize_t receive_some(struct redis *redis, int64_t end_ms, struct error *err)
{
	struct pollfd fd = { .fd = redis->context->fd, .events = POLLIN };
	int64_t left = end_ms - clock_monotonic_ms();
	char buffer[16384];
	ssize_t n;

	if (left <= 0 || poll(&fd, 1, (int)left) == 0)
		return error_set(err, -ETIMEDOUT, ID, "the Redis at %s does not answer in time",
			redis->where);
	n = read(fd.fd, buffer, sizeof(buffer));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return error_errno(
			err, -errno, ID, "cannot read from the Redis at %s", redis->where);
	if (n == 0)
		return error_set(err, -ECONNRESET, ID, "the Redis at %s hung up", redis->where);
	if (redisReaderFeed(redis->context->reader, buffer, (size_t)n) != REDIS_OK)
		return no_memory(err);
	return n;
}

static int receive(struct redis *redis, redisReply **ret, struct error *err)
{
	int64_t end_ms = MIN(clock_monotonic_ms() + REDIS_COMMAND_SEC * 1000, redis->end_ms);
	void *reply = NULL;
	size_t size = 0;

	while (redisReaderGetReply(redis->context->reader, &reply) == REDIS_OK) {
		ssize_t n;

		if (reply) {
			*ret = reply;
			return 0;
		}
		n = receive_some(redis, end_ms, err);
		if (n < 0)
			return (int)n;
		size += (size_t)n;
		if (size > REDIS_REPLY_MAX)
			return error_set(err, -EMSGSIZE, ID,
				"the Redis at %s answers with more than %d MiB", redis->where,
				REDIS_REPLY_MAX >> 20);
	}
	return error_set(err, -EPROTO, ID, "what answers at %s is no Redis: %s", redis->where,
		redis->context->reader->errstr);
}

int redis_call(struct redis *redis, redisReply **ret, struct error *err, const char *format, ...)
{
	_cleanup_(freeReplyObjectp) redisReply *reply = NULL;
	va_list ap;
	int r;

	va_start(ap, format);
	r = redisvAppendCommand(redis->context, format, ap);
	va_end(ap);
	if (r != REDIS_OK)
		return no_memory(err);
	r = send_command(redis, err);
	if (r == 0)
		r = receive(redis, &reply, err);
	if (r == 0 && reply->type == REDIS_REPLY_ERROR)
		r = refused(redis, reply, err);
	if (r == 0)
		*ret = TAKE_PTR(reply);
	return r;
}
