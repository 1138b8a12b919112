/* SPDX-License-Identifier: MIT */
#include "cli/process.h"

#include <string.h>

#include "cli/public.h"

enum standing process_standing(json_t *process)
{
	const char *text = wire_text(process, "standing");

	for (enum standing s = 0; s < STANDING_MAX; s++)
		if (strcmp(text, standing_to_string(s)) == 0)
			return s;
	return json_is_integer(json_object_get(process, "lease")) ? STANDING_LEASE
								  : STANDING_NO_LEASE;
}

bool process_is_foreign(json_t *process)
{
	return process_standing(process) >= STANDING_NO_LEASE;
}

static bool is_alike(json_t *a, json_t *b)
{
	return strcmp(wire_text(a, "command"), wire_text(b, "command")) == 0 &&
	       strcmp(wire_text(a, "container"), wire_text(b, "container")) == 0 &&
	       wire_int(a, "uid", -1) == wire_int(b, "uid", -1) &&
	       process_standing(a) == process_standing(b);
}

size_t process_alike(json_t *processes, size_t i)
{
	json_t *first = json_array_get(processes, i), *other;
	size_t n = 1;

	while ((other = json_array_get(processes, i + n)) && is_alike(first, other))
		n++;
	return n;
}

void process_put(struct cell *cell, const struct view *view, json_t *process, size_t n)
{
	const char *command = wire_text(process, "command");
	const char *container = wire_text(process, "container");

	cell_printf(cell, "%s", *command ? command : "?");
	if (n > 1)
		cell_printf(cell, " %s%zu", view->term->utf8 ? "×" : "x", n);
	if (*container)
		cell_printf(cell, " in %s", container);
}

const char *user_of(json_t *object, const struct view *view)
{
	if (!json_is_integer(json_object_get(object, "uid")))
		return "?";
	return people_name(view->people, wire_int(object, "uid", -1));
}
