/* SPDX-License-Identifier: MIT */
/*
 * The faces of the tools that dibs replaces: programs of their names that take their options, print
 * their lines and end with their exit codes, and do what dibs does. They are links to dibs.
 */
#pragma once

struct face {
	const char *name; /* of the program */

	/* As main(); returns the exit status. */
	int (*run)(int argc, char **argv);
};

/* The face of the program that was called by this name, a path or its last component; NULL: it is
 * dibs itself. */
const struct face *face_find(const char *name);
