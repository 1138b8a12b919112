/* SPDX-License-Identifier: MIT */
#include "model/verdict.h"

#include <stdarg.h>

#include "base/text.h"

struct verdict verdict_ok(void)
{
	return (struct verdict){ .kind = VERDICT_OK };
}

struct verdict verdict_make(enum verdict_kind kind, const char *id, const char *fmt, ...)
{
	struct verdict v = { .kind = kind, .id = id };
	va_list ap;

	va_start(ap, fmt);
	text_vprint(v.text, sizeof(v.text), fmt, ap);
	va_end(ap);
	return v;
}
