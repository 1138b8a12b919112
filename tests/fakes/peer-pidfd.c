/* SPDX-License-Identifier: MIT */
/*
 * Another kernel's answer to SO_PEERPIDFD: preloaded, it fails with the errno DIBS_PEERPIDFD.
 * ENOPROTOOPT is what Linux before 6.5 says; EINVAL or ESRCH is what later ones say of a process
 * that was waited for, until they learnt to give a pidfd even of such a one.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict size)
{
	int (*real)(int, int, int, void *, socklen_t *) =
		(int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
	const char *error = getenv("DIBS_PEERPIDFD");

	if (!error || level != SOL_SOCKET || name != SO_PEERPIDFD)
		return real(fd, level, name, value, size);
	errno = (int)strtol(error, NULL, 10);
	return -1;
}
