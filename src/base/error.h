/* SPDX-License-Identifier: MIT */
/*
 * Why something failed, for people and for programs.
 *
 * Functions that can fail return a negative errno and, where a sentence helps, fill a struct error
 * that their caller owns. The id is stable ("config.unknown-key"); the text is one sentence that
 * says what happened, to what, and what to do now. A refusal (nobody failed, the answer is no) is
 * no error: see model/verdict.h.
 */
#pragma once

#include "base/macro.h"

#define ERROR_TEXT_SIZE 512

struct error {
	const char *id; /* static string; NULL = no error recorded */
	char text[ERROR_TEXT_SIZE];
};

/* Fills *err (NULL is fine) and returns code, so that callers can write: return error_set(err,
 * -EINVAL, ...). code is a negative errno. A text longer than the buffer is cut at a character. */
int error_set(struct error *err, int code, const char *id, const char *fmt, ...) _printf_(4, 5);

/* As error_set, but appends ": " and the description of the errno. */
int error_errno(struct error *err, int code, const char *id, const char *fmt, ...) _printf_(4, 5);

/* Puts "prefix: " before the text of an error that is passed on. Returns code. */
int error_prefix(struct error *err, int code, const char *fmt, ...) _printf_(3, 4);
