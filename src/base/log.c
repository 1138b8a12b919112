/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#include "base/fd.h"
#include "base/text.h"

/* One write a line, so that lines of two processes on one stderr do not mix. */
static void log_line(int priority, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void log_line(int priority, const char *fmt, va_list ap)
{
	char line[1024];
	int n = 0;

	if (getenv("JOURNAL_STREAM"))
		n = snprintf(line, sizeof(line), "<%d>", priority);
	text_vprint(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	text_sanitize(line);
	n = (int)strlen(line);
	line[n++] = '\n';
	write_all(STDERR_FILENO, line, (size_t)n);
}

#define DEFINE_LOG(name, priority)           \
	void name(const char *fmt, ...)      \
	{                                    \
		va_list ap;                  \
                                             \
		va_start(ap, fmt);           \
		log_line(priority, fmt, ap); \
		va_end(ap);                  \
	}

DEFINE_LOG(log_error, LOG_ERR)
DEFINE_LOG(log_warning, LOG_WARNING)
DEFINE_LOG(log_info, LOG_INFO)
