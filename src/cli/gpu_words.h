/* SPDX-License-Identifier: MIT */
/* The GPUs of a lease as words for the command lines of other programs. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"

/* Writes one line without its end. form is OPT_UUID, OPT_INDEX, OPT_DOCKER or OPT_CDI. What cannot
 * be said in that form is complained of; then what was written is not to be used. */
enum client_exit gpu_words(FILE *out, enum opt form, json_t *lease, json_t *gpus);
