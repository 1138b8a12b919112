/* SPDX-License-Identifier: MIT */
#include "cli/people.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/parse.h"
#include "base/text.h"

const char *people_name(struct people *people, int64_t uid)
{
	const unsigned size = ELEMENTSOF(people->known);
	struct person *person;
	struct passwd *pw = NULL;

	for (unsigned i = 0; i < MIN(people->n, size); i++)
		if (people->known[i].uid == uid)
			return people->known[i].name;
	if (uid >= 0 && uid < UINT32_MAX)
		pw = getpwuid((uid_t)uid);
	person = &people->known[people->n++ % size];
	person->uid = uid;
	if (pw && *pw->pw_name)
		text_copy(person->name, sizeof(person->name), pw->pw_name);
	else
		snprintf(person->name, sizeof(person->name), "%" PRId64, uid);
	text_sanitize(person->name);
	return person->name;
}

/* The number behind "uid " at s; -1 if that is not what stands there. */
static int64_t uid_at(const char *text, const char *s, const char **ret_end)
{
	char *end;
	long long uid;

	if (strncmp(s, "uid ", 4) != 0 || !isdigit((unsigned char)s[4]))
		return -1;
	if (s > text && isalnum((unsigned char)s[-1]))
		return -1;
	errno = 0;
	uid = strtoll(s + 4, &end, 10);
	if (errno || uid >= UINT32_MAX)
		return -1;
	*ret_end = end;
	return uid;
}

void people_rename(struct people *people, char *dst, size_t size, const char *text)
{
	size_t n = 0;

	for (const char *s = text; *s && n + 1 < size;) {
		int64_t uid = uid_at(text, s, &s);

		if (uid < 0) {
			dst[n++] = *s++;
			continue;
		}
		text_copy(dst + n, size - n, people_name(people, uid));
		n += strlen(dst + n);
	}
	dst[n] = '\0';
	text_sanitize(dst); /* a character may have been cut */
}

bool people_find(const char *name, uint32_t *ret)
{
	const struct passwd *pw = getpwnam(name);
	uint64_t uid;

	if (!pw && parse_uint(name, 0, UINT32_MAX - 1, &uid) < 0)
		return false;
	*ret = pw ? pw->pw_uid : (uint32_t)uid;
	return true;
}
