/* SPDX-License-Identifier: MIT */
/*
 * Tables are drawn by libsmartcols, which is linked in the ordinary way: loading it costs 0.08 ms
 * of a start, dlopen when a table is drawn 0.11 ms of that start; the difference is not worth a
 * table of function pointers.
 */
#include "cli/table.h"

#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <string.h>

#include "base/parse.h"

static inline void unrefp(struct libscols_table **table)
{
	scols_unref_table(*table);
}

bool view_is_wide(const struct view *view)
{
	return view->term->width == 0 || view->term->width >= VIEW_WIDE;
}

void cell_printf(struct cell *cell, const char *fmt, ...)
{
	size_t n = strlen(cell->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cell->text + n, sizeof(cell->text) - n, fmt, ap);
	va_end(ap);
}

void cell_since(struct cell *cell, int64_t since_us, const struct view *view)
{
	char text[DURATION_TEXT_SIZE];

	if (!since_us)
		return;
	format_duration(text, MAX(view->now_us - since_us, 0));
	cell_printf(cell, "%s", text);
}

void cell_moment(struct cell *cell, int64_t us, const struct view *view)
{
	char text[MOMENT_SIZE] = "-";

	if (us)
		term_moment(text, us, view->now_us);
	cell_printf(cell, "%s", text);
}

void note_print(FILE *out, const struct view *view, struct cell *cell)
{
	term_fit(view->term, cell->text);
	fprintf(out, "%s!%s ", term_style(view->term, STYLE_WARN), term_plain(view->term));
	term_wrap(out, view->term, 2, cell->text);
}

void notes_add(struct notes *notes, struct cell *cell)
{
	if (notes->n++ == 0)
		fputc('\n', notes->out);
	note_print(notes->out, notes->view, cell);
}

static int put_cell(
	struct libscols_line *line, size_t column, const struct term *term, struct cell *from)
{
	struct libscols_cell *cell = scols_line_get_cell(line, column);

	if (!cell)
		return -ENOMEM;
	term_fit(term, from->text);
	if (term->color && from->style != STYLE_PLAIN)
		scols_cell_set_color(cell, term_style(term, from->style));
	return scols_cell_set_data(cell, from->text);
}

static int put_row(struct libscols_table *table, const struct view *view,
	const struct column *columns, size_t n, json_t *row, uint32_t *used)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);

	if (!line)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct cell cell = { .style = STYLE_PLAIN };

		columns[i].fill(&cell, view, row);
		if (*cell.text)
			*used |= UINT32_C(1) << i;
		if (put_cell(line, i, view->term, &cell) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void hide_unused(
	struct libscols_table *table, const struct column *columns, size_t n, uint32_t used)
{
	for (size_t i = 0; i < n; i++)
		if (columns[i].flags & COLUMN_IF_USED && !(used & UINT32_C(1) << i))
			scols_column_set_flags(scols_table_get_column(table, i), SCOLS_FL_HIDDEN);
}

static struct libscols_table *new_table(
	FILE *out, const struct term *term, const struct column *columns, size_t n)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		return NULL;
	scols_table_set_stream(table, out);
	scols_table_enable_colors(table, term->color);
	scols_table_set_column_separator(table, "  ");
	scols_table_set_termforce(
		table, term->width ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
	if (term->width)
		scols_table_set_termwidth(table, term->width);
	for (size_t i = 0; i < n; i++) {
		int flags = columns[i].flags & COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0;

		if (columns[i].flags & COLUMN_CUT && term->width)
			flags |= SCOLS_FL_TRUNC;
		scols_table_new_column(table, columns[i].title, 0, flags);
	}
	return table;
}

int table_draw(
	FILE *out, const struct view *view, const struct column *columns, size_t n, json_t *rows)
{
	_cleanup_(unrefp) struct libscols_table *table = NULL;
	uint32_t used = 0; /* a bit for each column */
	json_t *row;
	size_t i;

	table = new_table(out, view->term, columns, n);
	if (!table || scols_table_get_ncols(table) != n)
		return -ENOMEM;
	json_array_foreach (rows, i, row)
		if (put_row(table, view, columns, n, row, &used) < 0)
			return -ENOMEM;
	if (view->term->width)
		hide_unused(table, columns, n, used);
	return scols_print_table(table) < 0 ? -ENOMEM : 0;
}
