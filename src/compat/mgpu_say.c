/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "compat/mgpu.h"

void mgpu_say(const char *program, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_sanitize(text);
	fprintf(stderr, "%s: %s\n", program, text);
}

void mgpu_say_unused(const char *program)
{
	static const char *const names[] = { "MGPU_MASTER_HOST", "MGPU_MASTER_PORT",
		"MGPU_NODE_PORT", "MGPU_SESSION_TIMEOUT", "MGPU_CONNECTION_TIMEOUT",
		"MGPU_MAX_WAIT_TIME", "MGPU_HEARTBEAT_INTERVAL", "MGPU_NODE_TIMEOUT" };
	char list[256] = "";
	size_t n = 0;

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (getenv(names[i]))
			n += (size_t)snprintf(
				list + n, sizeof(list) - n, "%s%s", n ? ", " : "", names[i]);
	if (n > 0)
		mgpu_say(program, "not used here, where all jobs are those of this machine: %s",
			list);
}
