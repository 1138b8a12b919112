/* SPDX-License-Identifier: MIT */
/* What the terminal can do, and how things look on it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/macro.h"

struct term {
	bool tty;
	bool color;
	bool utf8;
	unsigned width;  /* columns; 0 = as many as it takes (a pipe) */
	unsigned height; /* lines; 0 = as many as it takes */
};

/* color: "auto", "always", "never", or NULL for auto. -EINVAL with a sentence. */
int term_init(struct term *term, int fd, const char *color, struct error *err);

/* Asks for the size again, after SIGWINCH. $COLUMNS goes before what the terminal says. */
void term_measure(struct term *term, int fd);

enum style { STYLE_PLAIN, STYLE_GOOD, STYLE_BUSY, STYLE_WARN, STYLE_DIM, STYLE_BOLD, STYLE_MAX };

/* The escape sequence that starts a style, and the one that ends all; "" without colour. */
const char *term_style(const struct term *term, enum style style);
const char *term_plain(const struct term *term);

/* Makes text from elsewhere fit the terminal, in place: without UTF-8, other characters than ASCII
 * become '?'. */
void term_fit(const struct term *term, char *text);

/* Prints a line of text; on a terminal in as many lines as it takes, broken at blanks, all but the
 * first behind so many columns. The first begins behind as many that were printed already. */
void term_wrap(FILE *out, const struct term *term, unsigned indent, const char *text);

/* When something is or was, as people say it: "18:40", "Fri 18:40", "Nov 28 18:40", "2027-03-01".
 * Both times are CLOCK_REALTIME in microseconds. */
#define MOMENT_SIZE 32
void term_moment(char dst[MOMENT_SIZE], int64_t us, int64_t now_us);
