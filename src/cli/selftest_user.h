/* SPDX-License-Identifier: MIT */
/* A process of a test user in a cgroup, which does what it is told. It has given root up for good,
 * and ends with us. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct user {
	uid_t uid;
	pid_t pid; /* 0 = none */
	int pidfd;
	int socket;
};

#define USER_NONE ((struct user){ .pidfd = -1, .socket = -1 })

/* cgroup: where it lives; "" = where we are. */
int user_start(struct user *ret, uid_t uid, const char *cgroup, struct error *err);
void user_end(struct user *user);

/* Opens and closes a device. 0: it may (also where no driver answers); -EPERM, -EACCES: it may not;
 * another negative errno: who knows. */
int user_open(struct user *user, const char *path);

/* Opens a device, keeps it, and does not heed TERM any more. */
int user_keep(struct user *user, const char *path);

/* It ended by KILL within so many seconds. */
bool user_killed(struct user *user, int seconds);

/* It becomes root of a user namespace of its own. */
int user_unshare(struct user *user);

/* A hold of one GPU for a minute, at once or not at all. Returns the lease, or a negative errno
 * with a sentence. */
int64_t user_reserve(struct user *user, const char *socket, const char *gpu, struct error *err);
int user_release(struct user *user, const char *socket, int64_t lease, struct error *err);

/* How many GPUs nvidia-smi shows it; a negative errno. */
int user_count_gpus(struct user *user);
