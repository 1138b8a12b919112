/* SPDX-License-Identifier: MIT */
/* Enums have one table of names; these make the two conversions from it. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/macro.h"

/* DEFINE_STRTAB(lease_kind, enum lease_kind, table) */
#define DEFINE_STRTAB_TO(prefix, type, table)              \
	const char *prefix##_to_string(type value)         \
	{                                                  \
		assert((size_t)value < ELEMENTSOF(table)); \
		return table[value];                       \
	}
#define DEFINE_STRTAB(prefix, type, table)                     \
	DEFINE_STRTAB_TO(prefix, type, table)                  \
	type prefix##_from_string(const char *s)               \
	{                                                      \
		for (size_t i = 0; i < ELEMENTSOF(table); i++) \
			if (strcmp(table[i], s) == 0)          \
				return (type)i;                \
		return (type)-EINVAL;                          \
	}
