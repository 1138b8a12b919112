/* SPDX-License-Identifier: MIT */
/*
 * --user: where several people share an account, a reservation is still the account's, and says in
 * its note whose it is: "[NAME] text". Notes of this face that begin with '[' anyway get an empty
 * name in front, so that nobody is named by accident.
 */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "cli/public.h"
#include "compat/canhazgpu.h"

const char *chg_split_note(const char *note, char name[CHG_NAME_SIZE])
{
	const char *end = *note == '[' ? strchr(note, ']') : NULL;
	size_t n = end ? (size_t)(end - note) - 1 : 0;

	*name = '\0';
	if (!end || n >= CHG_NAME_SIZE || (end[1] && end[1] != ' '))
		return note;
	memcpy(name, note + 1, n);
	name[n] = '\0';
	return end + 1 + (end[1] == ' ');
}

int chg_join_note(const char *name, const char *text, char **ret, struct error *err)
{
	_cleanup_(freep) char *clean = strdup(name);

	if (!clean)
		return cli_no_memory(err);
	text_sanitize(clean);
	if (strlen(name) >= CHG_NAME_SIZE || strpbrk(name, "[]") || strcmp(clean, name) != 0)
		return error_set(err, -EINVAL, "usage.user",
			"--user takes a name of at most %d bytes without brackets and control "
			"characters",
			CHG_NAME_SIZE - 1);
	*ret = *name || *text == '[' ? text_format("[%s]%s%s", name, *text ? " " : "", text)
				     : strdup(text);
	return *ret ? 0 : cli_no_memory(err);
}

char *chg_user(json_t *lease, struct people *people)
{
	const char *user = people_name(people, wire_int(lease, "uid", -1));
	char name[CHG_NAME_SIZE];

	chg_split_note(wire_text(lease, "note"), name);
	return *name && strcmp(name, user) != 0 ? text_format("%s (%s)", user, name) : strdup(user);
}

bool chg_is_run(json_t *lease)
{
	const char *kind = wire_text(lease, "kind");

	return strcmp(kind, "run") == 0 || strcmp(kind, "job") == 0;
}
