/* SPDX-License-Identifier: MIT */
/*
 * The table of settings: what config.h shows of it, and how a value is read, where it is kept, and
 * compared. Private to this folder.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"

#define CONFIG_ROWS_MAX 96

struct config_row;

struct config_type {
	/* Reads value into the field; says "must be ..." on failure. */
	int (*parse)(
		const struct config_row *row, const char *value, void *field, struct error *err);
	bool (*same)(const void *a, const void *b);
};

struct config_row {
	struct setting setting;
	const struct config_type *type;
	size_t offset;     /* of the field in struct config */
	uint64_t min, max; /* of counts; of durations, in seconds; of text, its length; max of
			      choices: how many there are */
	const char *const *choices;
};

/* NULL after the last. */
const struct config_row *config_row(size_t i);

static inline void *config_field(const struct config *config, const struct config_row *row)
{
	return (char *)config + row->offset;
}
