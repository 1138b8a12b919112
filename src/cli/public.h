/* SPDX-License-Identifier: MIT */
/*
 * The JSON that programs get from the command line. It is what the daemon sends, with names of
 * users beside their numbers and times as RFC 3339 in the local time zone; what is unknown is null.
 * Its field names are a promise.
 */
#pragma once

#include <jansson.h>

#include "cli/people.h"

/* New objects, owned by the caller; NULL without memory. */
json_t *public_status(json_t *wire, struct people *people);
json_t *public_lease(json_t *wire, struct people *people);

/* A lease and all that is known of its GPUs. */
json_t *public_gpus(json_t *lease, json_t *gpus, struct people *people);

/* A lease, and what is told of one that may have ended: submitted, ended, end. */
json_t *public_ended(json_t *wire, struct people *people);

/* The same of a reply of Show, with events. */
json_t *public_show(json_t *wire, struct people *people);

/* An array of the daemon, each of its members through one of those above. */
json_t *public_each(
	json_t *wire, struct people *people, json_t *(*fn)(json_t *wire, struct people *people));

/* A number of a reply, or fallback if it is null or missing. */
int64_t wire_int(json_t *object, const char *name, int64_t fallback);

/* A string of a reply, or "". */
const char *wire_text(json_t *object, const char *name);
