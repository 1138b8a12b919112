/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"

static void set(struct error *err, const char *id, const char *fmt, va_list ap)
{
	err->id = id;
	if (vsnprintf(err->text, sizeof(err->text), fmt, ap) >= (int)sizeof(err->text))
		text_cut(err->text, sizeof(err->text) - 1);
}

int error_set(struct error *err, int code, const char *id, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	set(err, id, fmt, ap);
	va_end(ap);
	return code;
}

int error_errno(struct error *err, int code, const char *id, const char *fmt, ...)
{
	char reason[128];
	size_t n;
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	set(err, id, fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	snprintf(err->text + n, sizeof(err->text) - n, ": %s",
		strerror_r(-code, reason, sizeof(reason)));
	return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
	struct error old;
	size_t n;
	va_list ap;

	if (!err)
		return code;
	old = *err;
	va_start(ap, fmt);
	set(err, old.id, fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	if (snprintf(err->text + n, sizeof(err->text) - n, ": %s", old.text) >=
		(int)(sizeof(err->text) - n))
		text_cut(err->text, sizeof(err->text) - 1);
	return code;
}
