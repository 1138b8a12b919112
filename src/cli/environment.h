/* SPDX-License-Identifier: MIT */
/* How a command, or a shell, learns which GPUs are its own. */
#pragma once

#include <stdio.h>

#include "proto/environment.h"

/* Puts it into the environment of this process. */
int environment_set(const struct environment *environment);

/* The line that does the same for the drivers in a shell: "export A=b C=d". */
int environment_print(const struct environment *environment, FILE *out);
