/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"

/* Appends to the text. */
static void append(struct error *err, const char *fmt, ...) _printf_(2, 3);
static void append(struct error *err, const char *fmt, ...)
{
	size_t n = strlen(err->text);
	va_list ap;

	va_start(ap, fmt);
	text_vprint(err->text + n, sizeof(err->text) - n, fmt, ap);
	va_end(ap);
}

int error_set(struct error *err, int code, const char *id, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	err->id = id;
	text_vprint(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

int error_errno(struct error *err, int code, const char *id, const char *fmt, ...)
{
	char reason[128];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	err->id = id;
	text_vprint(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	append(err, ": %s", strerror_r(-code, reason, sizeof(reason)));
	return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
	struct error old;
	va_list ap;

	if (!err)
		return code;
	old = *err;
	va_start(ap, fmt);
	text_vprint(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	append(err, ": %s", old.text);
	return code;
}
