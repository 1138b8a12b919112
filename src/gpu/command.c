/* SPDX-License-Identifier: MIT */
#include "gpu/command.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/text.h"

#define COMMAND_SIZE 512 /* bytes looked at; more than is ever shown */

void command_read(const char *sysroot, pid_t pid, char *dst, size_t size)
{
	char path[PATH_MAX], line[COMMAND_SIZE];
	_cleanup_(closep) int fd = -1;
	ssize_t n;

	*dst = '\0';
	snprintf(path, sizeof(path), "%s/proc/%d/cmdline", sysroot ? sysroot : "", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	while (n > 0 && (line[n - 1] == '\0' || line[n - 1] == ' '))
		n--;
	if (n <= 0)
		return;
	for (ssize_t i = 0; i < n; i++)
		if (line[i] == '\0')
			line[i] = ' ';
	line[n] = '\0';
	text_sanitize(line);
	text_copy(dst, size, line);
}
