/* SPDX-License-Identifier: MIT */
/* Tables as canhazgpu draws them: cells between blanks, parted by lines, no border. */
#pragma once

#include "cli/term.h"

#define GRID_COLUMNS_MAX 9

struct box {
	char *text;        /* owned */
	const char *color; /* NULL: plain */
};

struct grid {
	const struct term *term;
	unsigned n_columns;
	size_t n_rows, n_room;
	struct box *boxes; /* owned; the first row has the titles */
	bool failed;       /* out of memory: nothing is drawn */
};

/* Is what is drawn to be ASCII, too? On a terminal without UTF-8. */
bool grid_is_ascii(const struct term *term);

/* Sets a cell, once. text is copied, color is borrowed. */
void grid_add(struct grid *grid, size_t row, unsigned column, const char *color, const char *text);

/* drop: titles of the columns that go first where there is no room; to a NULL. Then the last ones
 * are cut, or go, too. */
void grid_draw(FILE *out, struct grid *grid, const char *const *drop);
void grid_clear(struct grid *grid);

#define GRID_PLAIN "\033[0m" /* ends a colour */
