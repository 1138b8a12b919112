/* SPDX-License-Identifier: MIT */
/*
 * Functions that have no safe use here. Included by the compiler command line (-include), so that
 * no file can forget it. What to use instead stands beside each name.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#undef sprintf /* macros of some C libraries */
#undef vsprintf
#undef strcpy
#undef strcat
#undef stpcpy
#undef strncpy
#undef strncat
#pragma GCC poison strcpy strcat stpcpy           /* snprintf, asprintf */
#pragma GCC poison strncpy strncat                /* text_copy */
#pragma GCC poison sprintf vsprintf               /* snprintf */
#pragma GCC poison strtok                         /* strsep, text_next */
#pragma GCC poison atoi atol atoll atof           /* parse_* */
#pragma GCC poison system popen                   /* spawn_* */
#pragma GCC poison gets tmpnam mktemp             /* getline, mkstemp */
#pragma GCC poison localtime gmtime ctime asctime /* localtime_r, gmtime_r */
