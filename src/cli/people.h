/* SPDX-License-Identifier: MIT */
/*
 * Names of users. The daemon knows people by number only, because asking for names can take
 * forever; here somebody waits for the answer anyway. Names are asked for once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PERSON_SIZE 64

struct person {
	int64_t uid;
	char name[PERSON_SIZE];
};

struct people {
	struct person known[32];
	unsigned n; /* ever learnt: the oldest is forgotten first */
};

/* The name of a user, or the number as text. Valid until 32 others were asked for. */
const char *people_name(struct people *people, int64_t uid);

/* Copies text with every "uid 1000" replaced by the name of that user. What does not fit is cut. */
void people_rename(struct people *people, char *dst, size_t size, const char *text);

/* The number of a user, by name or number. */
bool people_find(const char *name, uint32_t *ret);
