/* SPDX-License-Identifier: MIT */
/* Words as a shell would have to be given them. */
#pragma once

#include <stddef.h>

/* One word; the caller frees. NULL without memory. */
char *quote_word(const char *word);

/*
 * A command line to be shown: quoted, harmless for terminals, at most max bytes, cut at a
 * character. The caller frees. NULL without memory.
 */
char *quote_command(const char *const *argv, size_t max);
