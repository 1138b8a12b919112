/* SPDX-License-Identifier: MIT */
/* Tells users something on their terminals, as wall(1) does. */
#pragma once

#include <sys/types.h>

/* Writes text (which is sanitized, a line or two) to every pseudo terminal of uid that takes
 * messages (mesg y). Never blocks; returns how many it reached. */
unsigned terminal_tell(uid_t uid, const char *text);
