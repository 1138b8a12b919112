/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

void fail(const char *fmt, ...)
{
	int why = errno;
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s%s\n", why ? ": " : "", why ? strerror(why) : "");
	exit(EXIT_FAILURE);
}

unsigned number(const char *s, unsigned max)
{
	uint64_t n;

	errno = 0;
	if (parse_uint(s, 0, max, &n) < 0)
		fail("'%s' is not a number up to %u", s, max);
	return (unsigned)n;
}

int connect_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	text_copy(address.sun_path, sizeof(address.sun_path), path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("cannot connect to %s", path);
	return fd;
}

void exchange(int fd, const char *text, char *reply, size_t size)
{
	size_t used = 0;

	if (write_all(fd, text, strlen(text) + 1) < 0)
		fail("cannot send");
	do {
		ssize_t n = recv(fd, reply + used, size - used, 0);

		if (n <= 0)
			fail("no whole reply after %zu bytes", used);
		used += (size_t)n;
	} while (reply[used - 1]);
}

void print_samples(const int64_t *ns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%" PRId64 "%c", ns[i], i + 1 < n ? ' ' : '\n');
}
