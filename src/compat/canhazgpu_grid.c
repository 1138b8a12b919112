/* SPDX-License-Identifier: MIT */
/*
 * In a pipe all columns are there. On a terminal that is too narrow some are left out, and then the
 * last one is cut: a row that wraps cannot be read.
 */
#include "compat/canhazgpu_grid.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/text.h"

#define SHORT 8 /* columns; less says nothing */

/* Columns of text; what cannot be told counts as one for each byte. */
static size_t width_of(const char *text)
{
	size_t width = 0, n;

	for (const char *s = text; *s; s += n) {
		mbstate_t state = { 0 };
		wchar_t c;
		int w;

		n = mbrtowc(&c, s, MB_CUR_MAX, &state);
		if (n == 0 || n > 16) {
			/* A locale that is not UTF-8: count characters, not bytes. */
			n = 1;
			width += ((unsigned char)*s & 0xc0) != 0x80;
			continue;
		}
		w = wcwidth(c);
		width += w > 0 ? (size_t)w : 0;
	}
	return width;
}

bool grid_is_ascii(const struct term *term)
{
	return term->tty && !term->utf8;
}

void grid_add(struct grid *grid, size_t row, unsigned column, const char *color, const char *text)
{
	struct box *box;

	while (!grid->failed && row >= grid->n_room) {
		size_t room = grid->n_room * 2 + 8;
		struct box *more = reallocarray(grid->boxes, room * grid->n_columns, sizeof(*more));

		grid->failed = !more;
		if (!more)
			return;
		memset(more + grid->n_room * grid->n_columns, 0,
			(room - grid->n_room) * grid->n_columns * sizeof(*more));
		grid->boxes = more;
		grid->n_room = room;
	}
	grid->n_rows = MAX(grid->n_rows, row + 1);
	box = &grid->boxes[row * grid->n_columns + column];
	*box = (struct box){ strdup(text), color };
	if (!box->text)
		grid->failed = true;
	else if (grid_is_ascii(grid->term))
		term_fit(grid->term, box->text);
}

void grid_clear(struct grid *grid)
{
	for (size_t i = 0; i < grid->n_room * grid->n_columns; i++)
		free(grid->boxes[i].text);
	free(grid->boxes);
}

static const char *text_at(const struct grid *grid, size_t row, unsigned column)
{
	const char *text = grid->boxes[row * grid->n_columns + column].text;

	return text ? text : "";
}

static size_t measure(const struct grid *grid, const bool *hidden, size_t *widths)
{
	size_t sum = 0;

	for (unsigned c = 0; c < grid->n_columns; c++) {
		widths[c] = 0;
		for (size_t row = 0; row < grid->n_rows; row++)
			widths[c] = MAX(widths[c], width_of(text_at(grid, row, c)));
		if (!hidden[c])
			sum += widths[c] + 2 + (sum > 0);
	}
	return sum;
}

/* Cuts the texts of the last column by so many columns. */
static void shorten(struct grid *grid, unsigned column, size_t to)
{
	const char *mark = grid_is_ascii(grid->term) ? "+" : "…";

	for (size_t row = 1; row < grid->n_rows; row++) {
		char *text = grid->boxes[row * grid->n_columns + column].text, *cut;

		if (width_of(text) <= to)
			continue;
		while (*text && width_of(text) >= to)
			text_cut(text, strlen(text) - 1);
		cut = text_format("%s%s", text, mark);
		if (!cut)
			continue;
		free(text);
		grid->boxes[row * grid->n_columns + column].text = cut;
	}
}

static void fit(struct grid *grid, const char *const *drop, bool *hidden, size_t *widths)
{
	size_t room = grid->term->tty ? grid->term->width : 0, sum = measure(grid, hidden, widths);
	unsigned last = grid->n_columns - 1;

	if (!room)
		return;
	for (; sum - widths[last] + MIN(widths[last], SHORT) > room && *drop; drop++) {
		for (unsigned c = 0; c < grid->n_columns; c++)
			hidden[c] |= strcmp(text_at(grid, 0, c), *drop) == 0;
		sum = measure(grid, hidden, widths);
	}
	for (; sum > room && last > 0; last--) {
		if (hidden[last])
			continue;
		if (widths[last] >= sum - room + SHORT)
			shorten(grid, last, widths[last] - (sum - room));
		else
			hidden[last] = true;
		sum = measure(grid, hidden, widths);
	}
}

static void draw_box(FILE *out, const struct grid *grid, const struct box *box, size_t width)
{
	bool color = grid->term->color && box->color;
	const char *text = box->text ? box->text : "";

	fprintf(out, " %s%s%s%*s ", color ? box->color : "", text, color ? GRID_PLAIN : "",
		(int)(width - width_of(text)), "");
}

static void draw_line(FILE *out, const struct grid *grid, const bool *hidden, const size_t *widths)
{
	bool ascii = grid_is_ascii(grid->term), first = true;

	for (unsigned c = 0; c < grid->n_columns; c++) {
		if (hidden[c])
			continue;
		fputs(first ? "" : ascii ? "+" : "┼", out);
		first = false;
		for (size_t i = 0; i < widths[c] + 2; i++)
			fputs(ascii ? "-" : "─", out);
	}
	fputc('\n', out);
}

void grid_draw(FILE *out, struct grid *grid, const char *const *drop)
{
	bool hidden[GRID_COLUMNS_MAX] = { 0 };
	size_t widths[GRID_COLUMNS_MAX];

	if (grid->failed || grid->n_rows == 0)
		return;
	fit(grid, drop, hidden, widths);
	for (size_t row = 0; row < grid->n_rows; row++) {
		bool first = true;

		for (unsigned c = 0; c < grid->n_columns; c++) {
			if (hidden[c])
				continue;
			fputs(first ? "" : grid_is_ascii(grid->term) ? "|" : "│", out);
			first = false;
			draw_box(out, grid, &grid->boxes[row * grid->n_columns + c], widths[c]);
		}
		fputc('\n', out);
		if (row == 0)
			draw_line(out, grid, hidden, widths);
	}
}
