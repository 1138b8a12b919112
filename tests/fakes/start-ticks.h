/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

/* Field 22 of /proc/PID/stat, which tells a recycled pid; 0 if the process is gone or a zombie. */
static inline unsigned long long start_ticks(pid_t pid)
{
	char path[32], stat[1024] = "", state, *after;
	unsigned long long ticks;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(stat, sizeof(stat), file))
		stat[0] = '\0';
	fclose(file);
	/* The name in field 2 may contain anything, also ")". */
	after = strrchr(stat, ')');
	if (!after ||
		sscanf(after + 1,
			" %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
			"%*d %llu",
			&state, &ticks) != 2 ||
		state == 'Z' || state == 'X')
		return 0;
	return ticks;
}
