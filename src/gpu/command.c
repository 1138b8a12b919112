/* SPDX-License-Identifier: MIT */
#include "gpu/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/text.h"

#define COMMAND_SIZE 512 /* bytes looked at; more than is ever shown */

void command_read(pid_t pid, char *dst, size_t size)
{
	char path[64], line[COMMAND_SIZE];
	_cleanup_(closep) int fd = -1;
	ssize_t n;

	*dst = '\0';
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
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
