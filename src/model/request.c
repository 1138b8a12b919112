/* SPDX-License-Identifier: MIT */
#include "model/request.h"

#include <errno.h>
#include <string.h>

#include "base/strtab.h"

static const char *const bounds[BOUND_MAX] = {
	[BOUND_NOT] = "not",
	[BOUND_PROCESS] = "process",
	[BOUND_LOCK_FILE] = "lock-file",
};
DEFINE_STRTAB(request_bound, enum request_bound, bounds)

void request_clear(struct request *request)
{
	free(request->gpus);
	free(request->types);
	free(request->note);
	free(request->command);
	*request = (struct request){ 0 };
}

static int copy_string(const char *s, char **ret)
{
	*ret = s ? strdup(s) : NULL;
	return s && !*ret ? -ENOMEM : 0;
}

int request_copy(const struct request *request, struct request *ret)
{
	*ret = *request;
	ret->gpus = ret->types = ret->note = ret->command = NULL;
	if (copy_string(request->gpus, &ret->gpus) < 0 ||
		copy_string(request->types, &ret->types) < 0 ||
		copy_string(request->note, &ret->note) < 0 ||
		copy_string(request->command, &ret->command) < 0) {
		request_clear(ret);
		return -ENOMEM;
	}
	return 0;
}
