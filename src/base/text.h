/* SPDX-License-Identifier: MIT */
/*
 * Text from outside: UTF-8 checked, harmless for terminals and logs, and cut without splitting a
 * character.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Copies src into dst of size bytes; what does not fit is cut at a character. dst is always
 * terminated. */
void text_copy(char *dst, size_t size, const char *src);

/* Shortens s in place to at most max bytes without splitting a UTF-8 character. */
void text_cut(char *s, size_t max);

/* vsnprintf that never leaves half a character at the end. */
void text_vprint(char *dst, size_t size, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF)? */
bool text_is_utf8(const char *s);

/*
 * Makes s safe to show, in place: control characters (C0, DEL, C1), line and paragraph separators
 * and the characters that change the direction of text become '?', as does every byte that is not
 * UTF-8. The length never grows.
 */
void text_sanitize(char *s);

/* Splits at commas: returns the next piece of *cursor (NUL-terminated in place, may be empty) or
 * NULL at the end. *cursor must be writable. */
char *text_next(char **cursor);

/* Cuts blanks and tabs off both ends: returns where the rest of s begins. */
char *text_strip(char *s);

/* Copies the next name of a list without blanks or empty names ("a,b"; "" has none) to dst, cut if
 * it is too long, and moves *cursor past it. Returns dst, or NULL at the end. */
const char *text_list_next(const char **cursor, char *dst, size_t size);

/* An asprintf that returns the string; NULL without memory. The caller frees. */
char *text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
