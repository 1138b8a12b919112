/* SPDX-License-Identifier: MIT */
/* The processes of GPUs whose hardware or driver does not list them: whoever has a node open counts
 * as using it. Memory figures are not to be had that way. */
#pragma once

#include "daemon/manager.h"

struct openers;

int openers_new(struct manager *m, struct openers **ret);
struct openers *openers_free(struct openers *openers);

/* After a sample was taken: looks again if it is time, a step at a time. */
void openers_look(struct manager *m);
