/* SPDX-License-Identifier: MIT */
#include "base/program.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/text.h"

char *program_path(const char *beside, const char *installed)
{
	_cleanup_(freep) char *path = NULL;
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		path = text_format("%.*s/%s", (int)(strrchr(self, '/') - self), self, beside);
	}
	return path && access(path, X_OK) == 0 ? TAKE_PTR(path) : strdup(installed);
}
