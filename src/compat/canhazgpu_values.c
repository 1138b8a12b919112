/* SPDX-License-Identifier: MIT */
/* Times and lists of numbers, as the original reads and prints them. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "compat/canhazgpu.h"

#define ID "usage.option"

int chg_parse_duration(const char *text, int64_t *ret_us, struct error *err)
{
	size_t n = strspn(text, "0123456789.");
	const char *point = strchr(text, '.');
	int64_t unit_us = text[n] == 'h' ? 3600 * USEC_PER_SEC : 86400 * USEC_PER_SEC;
	double us;

	if (!*text) {
		*ret_us = 8 * 3600 * USEC_PER_SEC;
		return 0;
	}
	if (!point && parse_duration(text, ret_us) == 0)
		return 0;
	if (!point || strchr(point + 1, '.') || n < 2 || !strchr("hd", text[n]) || !text[n] ||
		text[n + 1])
		return error_set(err, -EINVAL, ID,
			"invalid duration format: %s (use formats like 30s, 30m, 2h, 1d)", text);
	us = strtod(text, NULL) * (double)unit_us;
	if (us > (double)DURATION_MAX_US)
		return error_set(err, -EINVAL, ID, "%s is too long; ten years are the limit", text);
	*ret_us = (int64_t)us;
	return 0;
}

void chg_format_duration(char dst[CHG_DURATION_SIZE], int64_t us)
{
	int64_t seconds = MAX(us, 0) / USEC_PER_SEC;

	snprintf(dst, CHG_DURATION_SIZE, "%" PRId64 "h %" PRId64 "m %" PRId64 "s", seconds / 3600,
		seconds / 60 % 60, seconds % 60);
}

bool chg_is_int(const char *text)
{
	size_t n = strlen(text), sign = *text == '-' || *text == '+';

	return n > sign && n - sign <= 9 && strspn(text + sign, "0123456789") == n - sign;
}

json_t *chg_ids(const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);
	_cleanup_(json_decrefp) json_t *ids = json_array();
	char *cursor = copy, *piece;

	if (!copy)
		return NULL;
	while (*copy && (piece = text_next(&cursor)))
		if (json_array_append_new(ids, json_integer(strtoll(piece, NULL, 10))) < 0)
			return NULL;
	return TAKE_PTR(ids);
}

char *chg_format_ids(json_t *ids)
{
	_cleanup_(freep) char *list = text_format("%s", "");
	json_t *id;
	size_t i;

	json_array_foreach (ids, i, id) {
		char *more = text_format(
			"%s%s%lld", list, i ? " " : "", (long long)json_integer_value(id));

		if (!more)
			return NULL;
		free(list);
		list = more;
	}
	return list ? text_format("[%s]", list) : NULL;
}

int chg_check_ids(const char *text, struct error *err)
{
	_cleanup_(freep) char *copy = strdup(text);
	char *cursor = copy, *piece;
	bool seen[10000] = { 0 };

	if (!copy)
		return cli_no_memory(err);
	while (*copy && (piece = text_next(&cursor))) {
		long id;

		if (!chg_is_int(piece))
			return error_set(err, -EINVAL, ID, "'%s' is not a number", piece);
		id = strtol(piece, NULL, 10);
		if (id < 0)
			return error_set(
				err, -EINVAL, ID, "gpu id must be non-negative, got %ld", id);
		if (id >= (long)ELEMENTSOF(seen))
			return error_set(err, -EINVAL, ID, "GPU ID %ld is out of range", id);
		if (seen[id])
			return error_set(err, -EINVAL, ID, "duplicate gpu id: %ld", id);
		seen[id] = true;
	}
	return 0;
}
