/* SPDX-License-Identifier: MIT */
/* Tables of what the daemon replied: a column knows how to tell its cell from a row. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/people.h"
#include "cli/term.h"

/* How it is looked at; all borrowed. */
struct view {
	const struct term *term;
	struct people *people;
	int64_t now_us; /* CLOCK_REALTIME */
	json_t *leases; /* of the reply, for those that refer to them */
};

/* Is there room for everything? In a pipe there is. */
#define VIEW_WIDE 100 /* columns */
bool view_is_wide(const struct view *view);

struct cell {
	char text[1024];
	enum style style;
};

enum {
	COLUMN_RIGHT = 1,
	COLUMN_CUT = 2,     /* when there is no room */
	COLUMN_IF_USED = 4, /* left out on a terminal when all its cells are empty */
};

struct column {
	const char *title;
	int flags;
	void (*fill)(
		struct cell *cell, const struct view *view, json_t *row); /* of an empty cell */
};

/* Draws an array of rows. -ENOMEM. */
int table_draw(
	FILE *out, const struct view *view, const struct column *columns, size_t n, json_t *rows);

/* For fill functions. */
void cell_printf(struct cell *cell, const char *fmt, ...) _printf_(2, 3);      /* appends */
void cell_since(struct cell *cell, int64_t since_us, const struct view *view); /* 0: nothing */
void cell_moment(struct cell *cell, int64_t us, const struct view *view);      /* 0: "-" */

/* Sentences below a table, each marked as a warning; a blank line goes before the first. */
struct notes {
	FILE *out;
	const struct view *view;
	unsigned n;
};

void notes_add(struct notes *notes, struct cell *cell);
void note_print(
	FILE *out, const struct view *view, struct cell *cell); /* one, and no line before */

/* Draws leases: those that wait, in the order given; or any, with their users or without. */
int table_draw_queue(FILE *out, const struct view *view, json_t *leases);
int table_draw_leases(FILE *out, const struct view *view, json_t *leases, bool with_users);

/* Appends "(idle 3h)", if the lease is held for nothing. */
void lease_put_idle(struct cell *cell, const struct view *view, json_t *lease);

/* Says which leases are given back unless they are used. */
void lease_note_idle(struct notes *notes, json_t *leases);
