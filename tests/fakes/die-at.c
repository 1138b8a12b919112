/* SPDX-License-Identifier: MIT */
/*
 * Kills the program it is preloaded into at an exact point: DIBS_DIE_AT=7 is a kill -9 just before
 * the 4th of the calls below, 8 just after it. All of them are counted together: they are the ones
 * by which a program leaves a trace outside of itself (on disk, in a cgroup, with a client), so
 * dying before and after each of them is dying everywhere that makes a difference.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void pass_point(void)
{
	static unsigned long point;
	const char *at = getenv("DIBS_DIE_AT");

	if (at && ++point == strtoul(at, NULL, 10))
		kill(getpid(), SIGKILL);
}

/* A stand-in for the function of that name in the C library. */
#define FATAL(type, name, parameters, arguments)                                      \
	type name parameters;                                                         \
	type name parameters                                                          \
	{                                                                             \
		type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
		type result;                                                          \
                                                                                      \
		pass_point();                                                         \
		result = real arguments;                                              \
		pass_point();                                                         \
		return result;                                                        \
	}

FATAL(int, fdatasync, (int fd), (fd))
FATAL(int, fsync, (int fd), (fd))
FATAL(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
FATAL(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
FATAL(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
FATAL(int, mkdir, (const char *path, mode_t mode), (path, mode))
FATAL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
