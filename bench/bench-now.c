/* SPDX-License-Identifier: MIT */
/* Writes the moment of its start into a FIFO: bench-now PATH */
#include <fcntl.h>

#include "base/fd.h"
#include "measure.h"

int main(int argc, char **argv)
{
	int64_t ns = now_ns();
	int fd = argc == 2 ? open(argv[1], O_WRONLY | O_CLOEXEC) : -1;

	if (fd < 0 || write_all(fd, &ns, sizeof(ns)) < 0)
		fail("cannot write the time");
	return 0;
}
