/* SPDX-License-Identifier: MIT */
/*
 * A Redis that nobody vouches for: what it answers is bounded in size and time, and it is only ever
 * read. Values and names of keys are bytes of any kind.
 */
#pragma once

#include <hiredis/hiredis.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/macro.h"

#define REDIS_CONNECT_SEC 5
#define REDIS_COMMAND_SEC 10
#define REDIS_TOTAL_SEC   600
#define REDIS_REPLY_MAX   (8 << 20) /* bytes */

struct redis {
	redisContext *context; /* owned */
	char where[256];       /* for sentences */
	int64_t end_ms;        /* CLOCK_MONOTONIC: by then all has to be done */
};

DEFINE_CLEANUP(redisReply *, freeReplyObject)

/* host_port: "localhost:6379", "[::1]:6379"; password: NULL for none. Negative errno with a
 * sentence; *ret is written only on success. */
int redis_open(const char *host_port, const char *password, unsigned db, struct redis *ret,
	struct error *err);
void redis_close(struct redis *redis);

/*
 * Sends a command, which format makes (%s: a string, %b: a pointer and a size_t, %d), and waits for
 * its reply, owned by the caller. -EBADMSG: a key is of another type than that; the connection can
 * be used on. Anything else: it cannot; err has a sentence.
 */
int redis_call(struct redis *redis, redisReply **ret, struct error *err, const char *format, ...);

/* Is it an array of so many replies of this type, or of any number (-1)? */
bool redis_is_array(const redisReply *reply, int n);
