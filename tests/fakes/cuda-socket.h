/* SPDX-License-Identifier: MIT */
/* Where the helper thread of a process listens that uses CUDA, as far as our fakes can tell. */
#pragma once

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static inline socklen_t cuda_address(int pid, struct sockaddr_un *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "dibs-fake-cuda-%d", pid);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret->sun_path + 1));
}
