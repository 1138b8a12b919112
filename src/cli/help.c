/* SPDX-License-Identifier: MIT */
/* The texts of --help, written from the tables. */
#include <stdio.h>

#include "cli/options.h"

#define COLUMN 26 /* where explanations begin */

static void print_option(FILE *out, enum opt opt)
{
	const struct option *o = &options[opt];
	char letter[8] = "    ";
	int n;

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	n = fprintf(out, "  %s--%s%s%s", letter, o->name, o->argument ? " " : "",
		o->argument ? o->argument : "");
	fprintf(out, "%*s%s\n", n < COLUMN ? COLUMN - n : 1, "", o->help);
}

static void print_verbs(FILE *out, const char *parent, const struct verb *table)
{
	for (; table->name; table++) {
		int n = fprintf(out, "  %s%s%s %s", parent, *parent ? " " : "", table->name,
			table->arguments);

		/* What does not fit beside stands below. */
		if (n >= COLUMN)
			n = fprintf(out, "\n") - 1;
		fprintf(out, "%*s%s\n", COLUMN - n, "", table->summary);
	}
}

static void print_options(FILE *out, const struct verb *verb)
{
	fprintf(out, "\nOptions:\n");
	for (enum opt opt = OPT_JSON; opt < OPT_MAX; opt++)
		if (verb && verb_takes(verb, opt))
			print_option(out, opt);
	for (enum opt opt = 0; opt < OPT_JSON; opt++)
		print_option(out, opt);
}

static void print_all(FILE *out)
{
	fprintf(out, "Usage: dibs [COMMAND] [OPTIONS]\n\n"
		     "Shares the GPUs of this machine.\n\nCommands:\n");
	print_verbs(out, "", verbs);
	print_options(out, NULL);
	fprintf(out,
		"\nExit status: 0 done; 1 fault; 2 wrong usage, or never possible here; 3 "
		"refused;\n"
		"4 not free now; 5 no dibsd; 126, 127 the command cannot be run; else that of\n"
		"the command.\n"
		"\n'dibs COMMAND --help' says more, dibs(1) everything.\n");
}

void help_print(FILE *out, const struct verb *parent, const struct verb *verb)
{
	if (!verb) {
		print_all(out);
		return;
	}
	fprintf(out, "Usage: dibs %s%s%s%s%s%s\n\n%s.\n", parent ? parent->name : "",
		parent ? " " : "", verb->name, verb->verbs ? "" : " [OPTIONS]",
		*verb->arguments ? " " : "", verb->arguments, verb->summary);
	if (verb->help)
		fprintf(out, "%s\n", verb->help);
	if (verb->verbs) {
		fprintf(out, "\nCommands:\n");
		print_verbs(out, verb->name, verb->verbs);
	}
	print_options(out, verb);
}
