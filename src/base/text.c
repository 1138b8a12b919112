/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Decodes one character; returns its length in bytes, 0 if the bytes at s are not UTF-8 (or s is at
 * its end). */
static size_t decode(const unsigned char *s, uint32_t *ret)
{
	static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n;
	uint32_t c;

	if (s[0] < 0x80) {
		*ret = s[0];
		return s[0] ? 1 : 0;
	}
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < lowest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

static bool harmful(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0x200e ||
	       c == 0x200f || c == 0x061c || (c >= 0x202a && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void text_cut(char *s, size_t max)
{
	if (strlen(s) <= max)
		return;
	while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
		max--;
	s[max] = '\0';
}

void text_copy(char *dst, size_t size, const char *src)
{
	size_t n = strnlen(src, size);

	if (n == size) {
		n = size - 1;
		while (n > 0 && ((unsigned char)src[n] & 0xc0) == 0x80)
			n--;
	}
	memcpy(dst, src, n);
	dst[n] = '\0';
}

void text_vprint(char *dst, size_t size, const char *fmt, va_list ap)
{
	size_t start = size - 1;
	uint32_t c;

	if (vsnprintf(dst, size, fmt, ap) < (int)size)
		return;
	while (start > 0 && ((unsigned char)dst[start - 1] & 0xc0) == 0x80)
		start--;
	if (start > 0 && decode((unsigned char *)dst + start - 1, &c) == 0)
		dst[start - 1] = '\0';
}

bool text_is_utf8(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c;
	size_t n;

	while ((n = decode(p, &c)) > 0)
		p += n;
	return *p == '\0';
}

void text_sanitize(char *s)
{
	const unsigned char *in = (const unsigned char *)s;
	char *out = s;
	uint32_t c;

	while (*in) {
		size_t n = decode(in, &c);

		if (n == 0 || harmful(c)) {
			*out++ = '?';
		} else {
			memmove(out, in, n);
			out += n;
		}
		in += n ? n : 1;
	}
	*out = '\0';
}

char *text_next(char **cursor)
{
	return strsep(cursor, ",");
}

char *text_strip(char *s)
{
	size_t n;

	s += strspn(s, " \t");
	n = strlen(s);
	while (n > 0 && strchr(" \t", s[n - 1]))
		n--;
	s[n] = '\0';
	return s;
}

const char *text_list_next(const char **cursor, char *dst, size_t size)
{
	size_t n = strcspn(*cursor, ",");

	if (n == 0)
		return NULL;
	snprintf(dst, size, "%.*s", (int)n, *cursor);
	*cursor += n + ((*cursor)[n] == ',');
	return dst;
}

char *text_format(const char *fmt, ...)
{
	char *s;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : s;
}
