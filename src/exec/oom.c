/* SPDX-License-Identifier: MIT */
/*
 * What frameworks say when cudaMalloc() fails: PyTorch and CuPy the first, the driver API the
 * second, the runtime API the third, XLA (JAX, TensorFlow) the fourth.
 */
#include "exec/oom.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/parse.h"

#define TAIL_SIZE   65536
#define DEADLINE_MS 5000

static const char *const messages[] = {
	"CUDA out of memory",
	"CUDA_ERROR_OUT_OF_MEMORY",
	"cudaErrorMemoryAllocation",
	"RESOURCE_EXHAUSTED: Out of memory",
};

uint64_t oom_kills(int cgroup)
{
	char text[1024], *cursor = text, *line;
	uint64_t kills = 0;

	if (cgroup < 0 || read_file_at(cgroup, "memory.events", text, sizeof(text)) < 0)
		return 0;
	while ((line = strsep(&cursor, "\n")))
		if (strncmp(line, "oom_kill ", 9) == 0)
			parse_uint(line + 9, 0, UINT64_MAX, &kills);
	return kills;
}

bool oom_log_tells(int fd, int64_t offset)
{
	_cleanup_(freep) char *tail = malloc(TAIL_SIZE);
	struct stat st;
	ssize_t n;

	if (!tail || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	n = pread(fd, tail, TAIL_SIZE, MAX(offset, st.st_size - TAIL_SIZE));
	for (size_t i = 0; n > 0 && i < ELEMENTSOF(messages); i++)
		if (memmem(tail, (size_t)n, messages[i], strlen(messages[i])))
			return true;
	return false;
}

bool oom_log_tells_in_time(int fd, int64_t offset)
{
	pid_t pid = fork();
	siginfo_t info = { 0 };
	_cleanup_(closep) int pidfd = -1;
	struct pollfd ended = { .events = POLLIN };

	if (pid == 0) {
		/* Nobody must take us for the supervisor. */
		if (dup2(fd, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0u, 0) < 0)
			_exit(0);
		_exit(oom_log_tells(STDIN_FILENO, offset));
	}
	pidfd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (pidfd < 0)
		return false;
	ended.fd = pidfd;
	if (poll(&ended, 1, DEADLINE_MS) != 1) {
		kill(pid, SIGKILL);
		return false;
	}
	return waitid(P_PID, (id_t)pid, &info, WEXITED) == 0 && info.si_code == CLD_EXITED &&
	       info.si_status == 1;
}
