/* SPDX-License-Identifier: MIT */
/* Where our other programs are. */
#pragma once

/* The one at this path from the directory of the running program, as in a build tree, else the
 * installed one. The caller frees; NULL without memory. */
char *program_path(const char *beside, const char *installed);
