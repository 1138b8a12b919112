/* SPDX-License-Identifier: MIT */
/* Warns who uses more than its share of a GPU, and ends it when the grace is over. */
#pragma once

#include "daemon/manager.h"

/* After the processes of a sample were taken. */
void overuse_look(struct manager *m);
