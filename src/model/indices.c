/* SPDX-License-Identifier: MIT */
/*
 * What was typed may be in any order and have steps, so its members are added one by one; there are
 * at most INDICES_MAX of them. Ranges are kept disjoint and not adjacent by construction: add()
 * joins neighbours, remove() splits.
 */
#include "model/indices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/parse.h"
#include "base/text.h"

void indices_clear(struct indices *indices)
{
	free(indices->ranges);
	*indices = (struct indices){ 0 };
}

/* The first range that ends at index or later. */
static size_t place_of(const struct indices *indices, int64_t index)
{
	size_t low = 0, high = indices->n_ranges;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (indices->ranges[middle].last < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Makes room for one more range at place. */
static int insert(struct indices *indices, size_t place, struct index_range range)
{
	size_t n = indices->n_ranges;
	struct index_range *larger = reallocarray(indices->ranges, n + 1, sizeof(*indices->ranges));

	if (!larger)
		return -ENOMEM;
	memmove(larger + place + 1, larger + place, (n - place) * sizeof(*larger));
	larger[place] = range;
	indices->ranges = larger;
	indices->n_ranges = n + 1;
	return 0;
}

static void drop(struct indices *indices, size_t place)
{
	indices->n_ranges--;
	memmove(indices->ranges + place, indices->ranges + place + 1,
		(indices->n_ranges - place) * sizeof(*indices->ranges));
}

static int add(struct indices *indices, int64_t index)
{
	size_t place = place_of(indices, index);
	struct index_range *next = place < indices->n_ranges ? &indices->ranges[place] : NULL;
	struct index_range *before = place > 0 ? &indices->ranges[place - 1] : NULL;
	bool after_before = before && before->last == index - 1;

	if (next && next->first <= index)
		return -EEXIST;
	if (next && next->first == index + 1) {
		next->first = index;
		if (after_before) {
			before->last = next->last;
			drop(indices, place);
		}
		return 0;
	}
	if (after_before) {
		before->last = index;
		return 0;
	}
	return insert(indices, place, (struct index_range){ index, index });
}

/* "3", "0-9" or "0-9:2" */
static int parse_piece(char *piece, uint64_t *first, uint64_t *last, uint64_t *step)
{
	char *cursor = piece, *colon = strchr(piece, ':'), *from;
	int r;

	*step = 1;
	if (colon) {
		*colon = '\0';
		r = parse_uint(colon + 1, 0, INDICES_INDEX_MAX, step);
		if (r < 0 || *step == 0)
			return r < 0 ? r : -EINVAL;
	}
	from = strsep(&cursor, "-");
	r = parse_uint(from, 0, INDICES_INDEX_MAX, first);
	*last = *first;
	if (r >= 0 && cursor)
		r = parse_uint(cursor, 0, INDICES_INDEX_MAX, last);
	if (r >= 0 && (*last < *first || (colon && !cursor)))
		return -EINVAL;
	return r;
}

static int add_piece(struct indices *indices, char *piece, size_t *n)
{
	uint64_t first, last, step;
	int r = parse_piece(piece, &first, &last, &step);

	for (uint64_t index = first; r >= 0 && index <= last; index += step) {
		if (++*n > INDICES_MAX)
			return -ERANGE;
		r = add(indices, (int64_t)index);
		if (indices->n_ranges > INDICES_RANGES_MAX)
			return -ERANGE;
	}
	return r;
}

int indices_parse(const char *s, struct indices *ret)
{
	_cleanup_(indices_clear) struct indices indices = { 0 };
	_cleanup_(freep) char *copy = strdup(s);
	char *cursor = copy;
	size_t n = 0;

	if (!copy)
		return -ENOMEM;
	for (char *piece; (piece = text_next(&cursor));) {
		int r = add_piece(&indices, piece, &n);

		if (r < 0)
			return r;
	}
	*ret = indices;
	indices = (struct indices){ 0 };
	return 0;
}

char *indices_format(const struct indices *indices)
{
	size_t size = indices->n_ranges * (2 * sizeof("9223372036854775807")) + 1, n = 0;
	char *text = malloc(size);

	if (!text)
		return NULL;
	*text = '\0';
	for (size_t i = 0; i < indices->n_ranges; i++) {
		const struct index_range *range = &indices->ranges[i];

		n += (size_t)snprintf(
			text + n, size - n, "%s%" PRId64, n > 0 ? "," : "", range->first);
		if (range->last > range->first)
			n += (size_t)snprintf(text + n, size - n, "-%" PRId64, range->last);
	}
	return text;
}

size_t indices_count(const struct indices *indices)
{
	size_t n = 0;

	for (size_t i = 0; i < indices->n_ranges; i++)
		n += (size_t)(indices->ranges[i].last - indices->ranges[i].first) + 1;
	return n;
}

bool indices_has(const struct indices *indices, int64_t index)
{
	size_t place = place_of(indices, index);

	return place < indices->n_ranges && indices->ranges[place].first <= index;
}

int64_t indices_first(const struct indices *indices)
{
	return indices->n_ranges > 0 ? indices->ranges[0].first : -1;
}

int indices_remove(struct indices *indices, int64_t index)
{
	size_t place = place_of(indices, index);
	struct index_range *range = &indices->ranges[place];
	int r;

	if (!indices_has(indices, index))
		return -ENOENT;
	if (range->first == range->last) {
		drop(indices, place);
	} else if (range->first == index) {
		range->first++;
	} else if (range->last == index) {
		range->last--;
	} else {
		r = insert(indices, place + 1, (struct index_range){ index + 1, range->last });
		if (r < 0)
			return r;
		indices->ranges[place].last = index - 1;
	}
	return 0;
}

int indices_copy(const struct indices *indices, struct indices *ret)
{
	struct index_range *ranges = NULL;

	if (indices->n_ranges > 0) {
		ranges = reallocarray(NULL, indices->n_ranges, sizeof(*ranges));
		if (!ranges)
			return -ENOMEM;
		memcpy(ranges, indices->ranges, indices->n_ranges * sizeof(*ranges));
	}
	*ret = (struct indices){ ranges, indices->n_ranges };
	return 0;
}
